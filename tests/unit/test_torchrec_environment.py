"""What is said where TorchRec is not: before anything is trained, with the way out. Needs no torch."""

import subprocess
import sys

import pytest
from shops import pools_of, random_positives

from recsys.cf.models import torchrec_ranks
from recsys.cf.models.base import FitControl
from recsys.cf.models.torchrec_fit import batch_size_of, fit_bpr_torchrec
from recsys.cf.models.torchrec_job import JobFiles, Process, is_defect
from recsys.cf.models.torchrec_ranks import Ranks, require_torchrec, working_directory
from recsys.config.load import load_config
from recsys.config.schema import BprConfig, TorchRecConfig
from recsys.errors import ConfigError, TrainingError, WorkerLost


def test_fit_without_the_extra_names_what_is_missing_and_how_to_get_it(monkeypatch):
    find = torchrec_ranks.importlib.util.find_spec
    hidden = ("torchrec", "fbgemm_gpu")
    monkeypatch.setattr(
        torchrec_ranks.importlib.util, "find_spec", lambda name: None if name in hidden else find(name)
    )
    monkeypatch.setattr(torchrec_ranks, "_NEEDED", ("numba", *hidden))
    with pytest.raises(ConfigError, match="torchrec, fbgemm_gpu") as told:
        fit_bpr_torchrec(
            pools_of(random_positives(5, 4, 2, seed=1)), BprConfig(), settings=TorchRecConfig(), seed=1
        )
    assert "make torchrec" in str(told.value)
    assert "--no-deps torchrec" in str(told.value)


def test_who_asks_for_a_fit_needs_no_torch():
    modules = "recsys.cf.models.torchrec_fit, recsys.cf.models.torchrec_hybrid_fit"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_another_python_is_asked_itself(monkeypatch):
    monkeypatch.setattr(torchrec_ranks, "_NEEDED", ("json", "no_such_package_at_all"))
    with pytest.raises(ConfigError, match="no_such_package_at_all"):
        require_torchrec(TorchRecConfig(python=sys.executable))
    monkeypatch.setattr(torchrec_ranks, "_NEEDED", ("json",))
    require_torchrec(TorchRecConfig(python=sys.executable))


def test_python_that_is_none_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"torchrec\.python"):
        require_torchrec(TorchRecConfig(python=str(tmp_path / "python")))


def test_settings_that_cannot_work_are_refused_before_a_night():
    with pytest.raises(ConfigError, match="rendezvous"):
        load_config(None, ["torchrec.hosts=2"])
    with pytest.raises(ConfigError, match="shared_directory"):
        load_config(None, ["torchrec.hosts=2", "torchrec.rendezvous=a:1"])


@pytest.mark.parametrize(("n_items", "expected"), [(1, 256), (522, 512), (2_200, 2_048), (10**7, 16_384)])
def test_batch_follows_the_number_of_items(n_items, expected):
    class Pools:
        pass

    pools = Pools()
    pools.n_items = n_items
    assert batch_size_of(pools) == expected


def test_process_is_told_from_a_later_one_of_its_number():
    this = Process.this()
    assert not this.is_gone()
    assert Process(this.host, this.pid, this.started - 100).is_gone()
    assert not Process("another-host", this.pid, 0.0).is_gone(), "nobody can see that"


def test_everything_that_ranks_import_is_asked_for():
    """What an environment without torch can import of the ranks' files, in a process of its own."""
    modules = "recsys.cf.models.torchrec_job"
    code = (
        f"import sys, {modules}\n"
        "found = {name.partition('.')[0] for name in sys.modules}\n"
        "print(*sorted(found & {'polars', 'psutil', 'pydantic', 'scipy', 'numba'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"polars", "psutil"} <= set(done.stdout.split()) <= set(torchrec_ranks._NEEDED)


class DistNetworkError(type("DistError", (RuntimeError,), {})):
    """Its ancestors have the names of torch's."""


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TypeError("unsupported operand"), True),
        (ImportError("cannot import name 'EmbeddingCollection'"), True),
        (NotImplementedError("no kernel"), True),
        (RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"), True),
        (
            RuntimeError("[../gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:4711"),
            False,
        ),
        (RuntimeError("Socket Timeout"), False),
        (DistNetworkError("gone"), False),
        (ConnectionResetError("reset"), False),
        (ValueError("Default process group has not been initialized"), False),
    ],
)
def test_a_defect_is_told_from_a_lost_neighbour(error, expected):
    assert is_defect(error) is expected


@pytest.mark.parametrize(
    ("exit_codes", "told", "expected"),
    [
        ((1,), TypeError("unsupported operand"), TrainingError),
        ((1, -15), TypeError("unsupported operand"), TrainingError),  # torchrun ended the neighbour
        ((1, -9), TypeError("unsupported operand"), WorkerLost),
        ((1, -9), None, WorkerLost),
        ((1,), None, WorkerLost),
    ],
)
def test_a_defect_of_a_rank_is_not_run_again(tmp_path, exit_codes, told, expected):
    files = JobFiles(tmp_path)
    files.log.write_text("".join(f"  exitcode  : {code} (pid: 7)\n" for code in exit_codes))
    if told is not None:
        files.fail(0, told)
    error = Ranks(files, TorchRecConfig(), FitControl())._loss()
    assert type(error) is expected
    assert error.retryable is (expected is WorkerLost)
    assert told is None or expected is WorkerLost or "TypeError: unsupported operand" in str(error)


def test_the_working_directory_of_one_host_is_swept_and_a_shared_one_is_left(tmp_path):
    with working_directory(TorchRecConfig()) as files:
        assert files.directory.name.startswith("train-cf-scratch-")
    with working_directory(TorchRecConfig(shared_directory=str(tmp_path))) as files:
        assert files.directory.parent == tmp_path
        assert files.directory.name.startswith("train-cf-torchrec-")
    assert list(tmp_path.iterdir()) == []
