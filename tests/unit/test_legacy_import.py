"""The predecessor's files become an ordinary data version, once, with every dropped row counted."""

import json
import os
import pickle

import numpy as np
import polars as pl
import pytest
from scipy.sparse import csr_matrix, save_npz

from recsys.cf.data.demo import write_demo_shop
from recsys.cf.data.latest import latest_version
from recsys.cf.data.legacy import import_legacy
from recsys.cf.data.load import content_findings, load_processed_data
from recsys.cf.data.prepare import prepare
from recsys.cf.data.version import list_versions, verify_version
from recsys.config.schema import DataConfig
from recsys.errors import ConfigError, EmptyDataError, RawDataError
from recsys.storage.memory import MemoryStore

CONFIG = DataConfig()
# User 0 of the original sorts last by id, item 2 is one of its dead columns, user 3 has nothing it liked.
USER_IDS, ITEM_IDS = ["z", "a", "m", "cold"], ["i9", "i1", "dead", "i5"]
CONFIDENCE = {(0, 0): 5.9, (0, 1): 4.0, (1, 1): 6.0, (1, 3): 2.5, (2, 0): 5.0, (2, 3): 4.4, (3, 0): 2.0}
POSITIVES = {0: {0}, 1: {1}, 2: {0, 3}, 3: set()}


def write_matrix(folder, name, entries):
    users, items = np.array(list(entries)).T
    matrix = csr_matrix((np.array(list(entries.values()), np.float32), (users, items)), shape=(4, 4))
    save_npz(folder / f"{name}.npz", matrix)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "legacy"
    folder.mkdir()
    write_matrix(folder, "X_train_confidence", CONFIDENCE)
    (folder / "user_pos_train.pkl").write_bytes(
        pickle.dumps({user: {np.int64(one) for one in items} for user, items in POSITIVES.items()})
    )
    mappings = {
        "user_to_idx": {one: idx for idx, one in enumerate(USER_IDS)},
        "item_to_idx": {one: idx for idx, one in enumerate(ITEM_IDS)},
    }
    (folder / "mappings.json").write_text(json.dumps(mappings))
    rows = {"user_idx": [0, 1, 1, 2, 3], "item_idx": [3, 0, 1, 1, 1], "rating": [5, 5, 5, 2, 5]}
    (folder / "test_interactions.pkl").write_bytes(pickle.dumps({k: np.array(v) for k, v in rows.items()}))
    return folder


def imported(folder, config=CONFIG):
    store = MemoryStore()
    version, stats = import_legacy(store, folder, config)
    assert verify_version(store, version) == content_findings(store, version) == []
    drops = {step["reason"]: step["rows"] for step in stats["funnel"] if step["rows"]}
    assert stats["rows_in"] == stats["rows_out"] + sum(drops.values())
    return load_processed_data(store), drops


def test_an_imported_version_holds_the_lawful_rows_under_new_indices(folder):
    data, drops = imported(folder)
    assert list(data.mappings.user_ids) == ["a", "m", "z"]
    assert list(data.mappings.item_ids) == ["i1", "i5", "i9"]
    entries = data.X_train_confidence.tocoo()
    ids = [
        (data.mappings.user_ids[u], data.mappings.item_ids[i])
        for u, i in zip(entries.row, entries.col, strict=True)
    ]
    found = dict(zip(ids, entries.data.round(4).tolist(), strict=True))
    expected = {
        (USER_IDS[u], ITEM_IDS[i]): pytest.approx(c, abs=1e-4) for (u, i), c in CONFIDENCE.items() if u != 3
    }
    assert found == expected
    positives = {
        data.mappings.user_ids[u]: {data.mappings.item_ids[i] for i in data.user_pos_train[u]}
        for u in range(3)
    }
    assert positives == {"a": {"i1"}, "m": {"i5", "i9"}, "z": {"i9"}}
    assert set(data.test_interactions.select("user_id", "item_id").rows()) == {("z", "i5"), ("a", "i9")}
    assert drops == {
        "held_out_row_is_no_positive": 1,
        "held_out_row_is_in_train": 1,
        "user_without_train_positive": 2,
    }


def test_the_ratings_follow_from_confidence_and_positives(folder):
    store = MemoryStore()
    version, _ = import_legacy(store, folder, CONFIG)
    key = f"data/versions/{version}/interactions.parquet"
    rows = pl.read_parquet(store.get(key).data).filter(pl.col("split") == "train")
    stars = {(user, item): (rating, round(quality, 3)) for user, item, rating, quality in rows.select(
        "user_id", "item_id", "rating", "comment_quality").rows()}  # fmt: skip
    assert stars == {
        ("z", "i9"): (5, 0.9), ("z", "i1"): (3, 1.0), ("a", "i1"): (5, 1.0), ("a", "i5"): (2, 0.5),
        ("m", "i9"): (5, 0.0), ("m", "i5"): (4, 0.4),
    }  # fmt: skip
    assert rows["timestamp"].null_count() == rows.height


def test_importing_again_finds_the_version(folder):
    store = MemoryStore()
    first, second = (import_legacy(store, folder, CONFIG)[0] for _ in range(2))
    assert first == second
    assert len(list_versions(store)) == 1


def test_importing_again_leaves_a_later_version_the_latest(folder, caplog):
    store = MemoryStore()
    first, _ = import_legacy(store, folder, CONFIG)
    second, _ = import_legacy(store, folder, DataConfig(top_popular_items=2))
    assert first != second
    assert import_legacy(store, folder, CONFIG)[0] == first
    assert latest_version(store) == second
    assert f"a later version stays the latest ({second})" in caplog.text


def test_nothing_is_appended_to_an_imported_version(folder, tmp_path):
    """Its rows have no times; and the version of the new reviews alone must not be taken for the union."""
    store = MemoryStore()
    shop = write_demo_shop(tmp_path, size="small", seed=1, users=400, interactions=2_500)
    version, _ = import_legacy(store, folder, CONFIG)
    for _ in range(2):
        before = {info.key: info.etag for info in store.list()}
        with pytest.raises(ConfigError, match=rf"{version} was imported.*without --append-to"):
            prepare(store, shop.reviews, None, CONFIG, seed=0, append_to=version)
        assert {info.key: info.etag for info in store.list()} == before
        prepare(store, shop.reviews, None, CONFIG, seed=0)


def test_the_binary_matrix_and_other_formats_serve_as_well(folder):
    expected, _ = imported(folder)
    (folder / "user_pos_train.pkl").unlink()
    write_matrix(folder, "X_train_binary", {(u, i): 1 for u, items in POSITIVES.items() for i in items})
    mappings = {
        f"idx_to_{kind}": dict(enumerate(ids)) for kind, ids in (("user", USER_IDS), ("item", ITEM_IDS))
    }
    (folder / "mappings.json").unlink()
    (folder / "id_mappings.pkl").write_bytes(pickle.dumps(mappings))
    pl.DataFrame({"user_id": ["z", "a", "a"], "item_id": ["i5", "i9", "i1"]}).write_csv(
        folder / "test_interactions.csv"
    )
    (folder / "test_interactions.pkl").unlink()
    found, _ = imported(folder)
    assert (found.X_train_confidence != expected.X_train_confidence).nnz == 0
    assert found.mappings == expected.mappings
    assert found.held_out("test").indices.tolist() == expected.held_out("test").indices.tolist()


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["user_pos_train.pkl", "mappings.pkl", "test_interactions.pkl"])
def test_a_malicious_pickle_stops_the_import_and_creates_nothing(folder, tmp_path, name):
    (folder / "mappings.json").unlink()
    mappings = {
        f"{kind}_to_idx": {one: idx for idx, one in enumerate(ids)}
        for kind, ids in (("user", USER_IDS), ("item", ITEM_IDS))
    }
    (folder / "mappings.pkl").write_bytes(pickle.dumps(mappings))
    target, store = tmp_path / "created", MemoryStore()
    (folder / name).write_bytes(pickle.dumps({"user_idx": [Payload(target)]}))
    with pytest.raises(RawDataError, match=rf"{name}: refused: it wants to call posix\.mkdir"):
        import_legacy(store, folder, CONFIG)
    assert not target.exists()
    assert list(store.list()) == []
    pickle.loads((folder / name).read_bytes())
    assert target.exists(), "the payload must be real"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("X_train_confidence.npz", None, "does not exist"),
        ("X_train_confidence.npz", b"no archive", "cannot be read"),
        ("mappings.json", None, "has no mappings or"),
        ("mappings.json", b"[1]", "expected .user_to_idx"),
        ("mappings.json", b'{"user_to_idx": {"a": 0, "b": 2}, "item_to_idx": {}}', "numbers are not 0, 1, 2"),
        ("user_pos_train.pkl", pickle.dumps({0: {99}}), r"within \(4, 4\)"),
        ("user_pos_train.pkl", pickle.dumps([1]), "expected .user_idx"),
        ("test_interactions.pkl", pickle.dumps({"user_idx": [0]}), "no column item_idx"),
        ("test_interactions.pkl", pickle.dumps({"user_idx": [9], "item_idx": [0]}), r"outside 0\.\.3"),
        ("test_interactions.pkl", pickle.dumps(7), "holds no rows"),
    ],
)
def test_files_that_cannot_be_right_are_named(folder, name, content, message):
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    with pytest.raises(RawDataError, match=message) as caught:
        import_legacy(MemoryStore(), folder, CONFIG)
    assert str(folder) in str(caught.value)


def test_nothing_to_test_and_no_directory_are_told(folder, tmp_path):
    (folder / "test_interactions.pkl").unlink()
    with pytest.raises(EmptyDataError, match="no usable test row"):
        import_legacy(MemoryStore(), folder, CONFIG)
    with pytest.raises(RawDataError, match="is not a directory"):
        import_legacy(MemoryStore(), tmp_path / "none", CONFIG)
