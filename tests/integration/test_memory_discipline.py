"""What large arrays cost: written and read through files, never held twice."""

import json
from pathlib import Path

import numpy as np
import pytest
from memory_growth import run_measured, start_measured
from scipy.sparse import csr_matrix

from recsys.cf.data.npz import MAPPED_ABOVE_BYTES, write_csr
from recsys.config.schema import TrainingConfig
from recsys.errors import IntegrityError
from recsys.pipeline.fit_files import get_factors, put_factors
from recsys.pipeline.run import _load_dataset, load_dataset, open_run
from recsys.storage.local import LocalStore
from recsys.storage.memory import MemoryStore
from recsys.types import Factors

ROWS, COLUMNS = 800_000, 64  # 205 MB
BYTES = ROWS * COLUMNS * 4


def test_saving_a_checkpoint_takes_no_copy_of_its_arrays(tmp_path):
    growth = run_measured(
        """
        import sys, numpy as np
        from pathlib import Path
        from recsys.cf.models.base import Checkpoint
        from recsys.cf.models.checkpoint import StoreCheckpoints
        from recsys.storage.local import LocalStore
        matrix = np.full((int(sys.argv[2]), int(sys.argv[3])), 0.5, np.float32)
        checkpoints = StoreCheckpoints(LocalStore(Path(sys.argv[1])), "checkpoints")
        checkpoints.save(Checkpoint(1, {"user_factors": matrix[:1]}, {}))
        with Growth() as saving:
            checkpoints.save(Checkpoint(2, {"user_factors": matrix}, {}))
        del matrix
        before = private()["Anonymous"]
        loaded = checkpoints.load()
        assert float(loaded.arrays["user_factors"].sum(dtype=np.float64)) == 0.5 * loaded.arrays["user_factors"].size
        tell(saving=saving.peak, loaded=private()["Anonymous"] - before)
        """,
        *(tmp_path, ROWS, COLUMNS),
    )
    assert growth["saving"] < 0.3 * BYTES
    assert growth["loaded"] < 0.1 * BYTES  # mapped pages, which the kernel takes back when it needs them


def test_factors_go_to_the_store_and_come_back_without_a_copy_in_memory(tmp_path):
    growth = run_measured(
        """
        import sys, numpy as np
        from pathlib import Path
        from recsys.pipeline.fit_files import get_factors, put_factors
        from recsys.storage.local import LocalStore
        from recsys.types import Factors
        store = LocalStore(Path(sys.argv[1]))
        U = np.full((int(sys.argv[2]), int(sys.argv[3])), 0.5, np.float32)
        factors = Factors(U, U[:10].copy())
        sha256 = factors.sha256()
        put_factors(store, "small", Factors(U[:10], U[:10]))
        with Growth() as writing:
            put_factors(store, "run", factors)
        del U, factors
        before = private()["Anonymous"]
        read = get_factors(store, "run", sha256)
        mapped = private()["Anonymous"] - before
        read.user_factors[0, 0] = 2.0  # libraries insist on arrays that they may write to
        again = get_factors(store, "run", sha256)
        tell(writing=writing.peak, mapped=mapped, value=float(again.user_factors[0, 0]))
        """,
        *(tmp_path, ROWS, COLUMNS),
    )
    assert growth["writing"] < 0.3 * BYTES
    assert growth["mapped"] < 0.1 * BYTES
    assert growth["value"] == 0.5


_WORKER = """
    import sys, numpy as np
    from pathlib import Path
    from recsys.cf.data.npz import read_csr
    from recsys.cf.models.als_confidence import scale_confidence
    from recsys.config.schema import AlsConfig
    before = private()
    matrix = read_csr(Path(sys.argv[1]))
    scaled = scale_confidence(matrix, matrix, AlsConfig(preset="default", preference_threshold=3.0))
    assert scaled.indices.flags.writeable and scaled.indptr.flags.writeable  # `implicit` insists
    total = int(scaled.indices.sum()) + int(scaled.indptr.sum()) + float(matrix.data.sum())
    after = private()
    print(json.dumps({name: after[name] - before[name] for name in after}), flush=True)
    sys.stdin.read()
"""


def test_workers_of_a_host_share_the_pages_of_a_matrix(tmp_path):
    """Each has its own values, scaled, and shares indices and confidences with the others."""
    random, n = np.random.default_rng(0), 8_000_000
    indptr = np.linspace(0, n, 100_001).astype(np.int32)
    indices = np.sort(random.integers(0, 10**6, n).astype(np.int32).reshape(-1, 80), axis=1).reshape(-1)
    matrix = csr_matrix((random.uniform(1, 6, n).astype(np.float32), indices, indptr), (100_000, 10**6))
    write_csr(tmp_path / "m.npz", matrix)
    workers, measured = [], []
    for _ in range(2):  # one after the other: the last to measure shares the file's pages with the first
        workers.append(start_measured(_WORKER, tmp_path / "m.npz"))
        measured.append(json.loads(workers[-1].stdout.readline()))
    first, second = measured
    for worker in workers:
        worker.communicate("")
        assert worker.returncode == 0
    own, file = n * 4, n * 8
    for found in (first, second):
        assert found["Anonymous"] < 1.3 * own
    assert second["Private_Clean"] + second["Private_Dirty"] < 1.3 * own
    assert second["Pss"] < 1.3 * own + 0.6 * file
    assert second["Shared_Clean"] + second["Shared_Dirty"] > 0.9 * file


def test_a_night_maps_the_hosts_copy_where_there_is_a_state_folder(tmp_path, monkeypatch, contents):
    store = LocalStore(tmp_path / "store")
    for key, data in contents.items():
        store.put_new(key, data)
    config = TrainingConfig()
    monkeypatch.delenv("RECSYS_STATE", raising=False)
    run = open_run(store.uri, config)
    assert load_dataset(run).n_users
    assert not (tmp_path / "state").exists()
    _load_dataset.cache_clear()
    monkeypatch.setenv("RECSYS_STATE", str(tmp_path / "state"))
    data = load_dataset(run)
    copy = tmp_path / "state" / "data" / run.data_version / "X_train_confidence.npz"
    mapped = Path("/proc/self/maps").read_text()
    assert str(copy) in mapped
    inode = copy.stat().st_ino
    _load_dataset.cache_clear()
    again = load_dataset(run)
    assert copy.stat().st_ino == inode  # not fetched again
    assert again.X_train_confidence.nnz == data.X_train_confidence.nnz
    _load_dataset.cache_clear()


def stored(rows=50):
    random = np.random.default_rng(3)
    return Factors(*(random.normal(size=(n, 8)).astype(np.float32) for n in (rows, 20)))


def test_the_stored_bytes_are_those_of_numpy_and_writing_again_changes_nothing(tmp_path):
    store, factors = LocalStore(tmp_path / "store"), stored()
    put_factors(store, "run/als", factors)
    key, other = (info.key for info in store.list())
    assert key.startswith("run/als/")
    assert other == key.replace("U.npy", "V.npy")
    np.save(tmp_path / "U.npy", factors.user_factors)
    assert store.get(key).data == (tmp_path / "U.npy").read_bytes()
    first = store.head(key).modified_at
    put_factors(store, "run/als", factors)
    assert store.head(key).modified_at == first


def test_other_bytes_of_a_killed_attempt_of_other_code_are_replaced():
    store, factors = MemoryStore(), stored()
    put_factors(store, "run/als", factors)
    key = next(store.list()).key
    store.delete(key)
    store.put_new(key, b"half a file")
    put_factors(store, "run/als", factors)
    assert get_factors(store, "run/als", factors.sha256()).sha256() == factors.sha256()


@pytest.mark.parametrize("limit", [0, MAPPED_ABOVE_BYTES])  # mapped and read
def test_damaged_factors_are_an_integrity_error(monkeypatch, limit):
    monkeypatch.setattr("recsys.cf.data.npz.MAPPED_ABOVE_BYTES", limit)
    store, factors = MemoryStore(), stored()
    put_factors(store, "run/als", factors)
    assert get_factors(store, "run/als", factors.sha256()).sha256() == factors.sha256()
    key = next(store.list()).key
    whole = store.get(key).data
    for damaged in (b"", whole[:40], whole[:-4], whole[:-1] + bytes([whole[-1] ^ 1]), b"no array at all"):
        store.delete(key)
        store.put_new(key, damaged)
        with pytest.raises(IntegrityError, match="delete it and rerun"):
            get_factors(store, "run/als", factors.sha256())
