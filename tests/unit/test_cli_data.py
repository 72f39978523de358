"""The commands about data as people and programs call them."""

import hashlib
import json
import pickle

import numpy as np
import pytest
from scipy.sparse import csr_matrix, save_npz

from recsys.cf.data.demo import write_demo_shop
from recsys.cli.main import run


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return write_demo_shop(
        tmp_path_factory.mktemp("raw"), size="small", seed=2, users=400, interactions=2_500
    )


@pytest.fixture
def store(tmp_path):
    return str(tmp_path / "store")


def called(capsys, *arguments, code=0):
    with pytest.raises(SystemExit) as done:
        run([str(one) for one in arguments])
    captured = capsys.readouterr()
    assert done.value.code == code, captured.err
    return captured.out


def document(capsys, *arguments, code=0):
    return json.loads(called(capsys, *arguments, "--json", code=code))


def halves(shop, folder):
    header, *lines = shop.reviews.read_text("utf-8").splitlines(keepends=True)
    for name, part in (("old", lines[:1_500]), ("new", lines[1_500:])):
        (folder / f"{name}.csv").write_text(header + "".join(part), "utf-8")


def test_prepare_takes_several_files_and_tells_samples(capsys, shop, store, tmp_path):
    halves(shop, tmp_path)
    header, rest = (tmp_path / "new.csv").read_text("utf-8").split("\n", 1)
    (tmp_path / "new.csv").write_text(f"{header}\nsomeone,something,excellent,2024-01-01,\n{rest}", "utf-8")
    found = document(capsys, "prepare", f"{tmp_path}/*.csv", "--items", shop.products, "--store", store)
    assert found["created"]
    assert found["rows_in"] == 2_501 == found["rows_out"] + sum(step["rows"] for step in found["funnel"])
    by_reason = {step["reason"]: step for step in found["funnel"]}
    sample = by_reason["no_rating"]["samples"][0]
    assert (sample["rating"], sample["file"], sample["row"]) == ("excellent", "new.csv", 1)
    shown = called(
        capsys,
        "prepare",
        tmp_path / "new.csv",
        tmp_path / "old.csv",
        "--items",
        shop.products,
        "--store",
        store,
    )
    assert "exists already" in shown
    assert "excellent" in shown


def test_appending_and_comparing_nights(capsys, shop, store, tmp_path):
    halves(shop, tmp_path)
    first = document(capsys, "prepare", tmp_path / "old.csv", "--items", shop.products, "--store", store)
    second = document(
        capsys,
        "prepare",
        tmp_path / "new.csv",
        "--items",
        shop.products,
        "--append-to",
        "latest",
        "--store",
        store,
    )
    whole = document(
        capsys,
        "prepare",
        tmp_path / "old.csv",
        tmp_path / "new.csv",
        "--items",
        shop.products,
        "--store",
        store,
    )
    assert (whole["version"], whole["created"]) == (second["version"], False)
    drift = document(capsys, "data", "diff", first["version"], "latest", "--store", store)
    assert (drift["before"], drift["after"]) == (first["version"], second["version"])
    assert 0 < drift["changes"]["rows"] < 1
    shown = called(capsys, "data", "diff", first["version"], "latest", "--store", store)
    assert "popularity" in shown
    assert f"{drift['changes']['rows']:.4f}" in shown


def test_data_gc_says_first_and_removes_when_told(capsys, shop, store, tmp_path):
    halves(shop, tmp_path)
    for name in ("old", "new"):
        document(capsys, "prepare", tmp_path / f"{name}.csv", "--store", store)
    options = ("--store", store, "--set", "registry.keep_data_versions=1")
    assert document(capsys, "data", "gc", *options)["items"] == []  # younger than the grace period
    options += ("--set", "registry.grace_hours=0")
    planned = document(capsys, "data", "gc", *options)
    assert planned["dry_run"]
    assert len(planned["items"]) == 1
    assert len(document(capsys, "data", "list", "--store", store)["versions"]) == 2
    removed = document(capsys, "data", "gc", "--apply", *options)
    assert [one["version"] for one in removed["items"]] == [one["version"] for one in planned["items"]]
    (left,) = document(capsys, "data", "list", "--store", store)["versions"]
    assert left["is_latest"]
    assert called(capsys, "data", "gc", *options) == "nothing to remove\n"


def test_verify_reads_the_content_too(capsys, shop, store, tmp_path):
    version = document(capsys, "prepare", shop.reviews, "--store", store)["version"]
    assert document(capsys, "data", "verify", "--store", store) == {
        "ok": True,
        "version": version,
        "findings": [],
    }
    folder = tmp_path / "store" / "data" / "versions" / version
    counts, manifest = folder / "item_train_counts.npy", folder / "manifest.json"
    for path in (counts, manifest):
        path.chmod(0o644)
    np.save(counts, np.load(counts) + 1)
    described = json.loads(manifest.read_text())
    described["files"][counts.name]["sha256"] = hashlib.sha256(counts.read_bytes()).hexdigest()
    manifest.write_text(json.dumps(described))
    with pytest.raises(SystemExit) as done:
        run(["data", "verify", "--store", store])
    assert done.value.code == 3
    assert "item_train_counts differ" in capsys.readouterr().out


def test_import_legacy_makes_a_version(capsys, store, tmp_path):
    folder = tmp_path / "legacy"
    folder.mkdir()
    save_npz(folder / "X_train_confidence.npz", csr_matrix(np.array([[5.5, 0], [5.2, 4.8]], np.float32)))
    (folder / "user_pos_train.pkl").write_bytes(pickle.dumps({0: {0}, 1: {0, 1}}))
    (folder / "mappings.json").write_text(json.dumps({"idx_to_user": ["b", "a"], "idx_to_item": ["x", "y"]}))
    (folder / "test_interactions.json").write_text(json.dumps([{"user_idx": 0, "item_idx": 1}]))
    found = document(capsys, "data", "import-legacy", folder, "--store", store)
    assert found["sizes"]["train"] == 3
    assert found["version"] in called(capsys, "data", "import-legacy", folder, "--store", store)
    assert document(capsys, "data", "verify", "--store", store)["ok"]
