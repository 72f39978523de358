"""The commands of batch recommendations: what they print, copy and remove, and how they refuse."""

import json
from contextlib import ExitStack

import polars as pl
import pytest
from listed_models import store_with_champion

from recsys.cli.main import run
from recsys.config.load import load_config
from recsys.pipeline import list_parts
from recsys.pipeline.list_set import open_set
from recsys.storage.local import LocalStore


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def store(tmp_path):
    return store_with_champion(tmp_path / "store")


def command(capsys, *words):
    with pytest.raises(SystemExit) as left:
        run(list(words))
    told = capsys.readouterr()
    return left.value.code, told.out, told.err


def test_the_command_writes_copies_and_reports(store, tmp_path, capsys):
    out = tmp_path / "copy"
    common = ("--store", store.uri)
    code, told, _ = command(capsys, "recommend-all", *common, "--k", "5", "--output", str(out), "--json")
    result = json.loads(told)
    assert code == 0
    assert result["settings"]["k"] == 5
    assert sorted(path.name for path in out.iterdir()) == ["manifest.json", "part-00000.parquet"]
    assert pl.read_parquet(out / "*.parquet").height == 300
    code, told, _ = command(capsys, "recommend-all", *common, "--k", "5")
    assert code == 0
    assert "300 users, k=5, exact, of 80 items" in told
    assert "found, made before" in told
    code, told, _ = command(capsys, "recommendations", "list", *common, "--json")
    assert [one["set_id"] for one in json.loads(told)["sets"]] == [result["set_id"]]
    assert command(capsys, "recommendations", "gc", *common)[1] == "nothing to remove\n"


def test_the_gc_command_tells_what_went_and_not_what_was_taken_up_meanwhile(store, capsys, monkeypatch):
    killed = []
    for k in (7, 8):
        killed.append(open_set(store.uri, load_config(None, [f"recommend.k={k}"])))
        list_parts.write_part(killed[-1], 0)
    apply = ("recommendations", "gc", "--store", store.uri, "--set", "registry.grace_hours=0", "--apply")
    delete, taken_up = LocalStore.delete, ExitStack()

    def take_up(self, key):
        if key.startswith(killed[0].prefix):
            taken_up.enter_context(killed[1].lease())
        delete(self, key)

    with monkeypatch.context() as patch, taken_up:
        patch.setattr(LocalStore, "delete", take_up)
        told = command(capsys, *apply)[1]
    assert told.startswith(f"removed {killed[0].prefix}: ")
    assert told.count("\n") == 1
    assert command(capsys, *apply)[1].startswith(f"removed {killed[1].prefix}: ")


def test_bad_input_is_one_line(store, tmp_path, capsys):
    code, _, error = command(capsys, "recommend-all", "--store", store.uri, "--method", "guess")
    assert code == 2
    assert "recommend.method" in error
    code, _, error = command(capsys, "recommend-all", "--store", store.uri, "--model", "nobody")
    assert code == 4
    assert "nobody" in error
    (tmp_path / "thesis.txt").write_text("years of work")
    code, _, error = command(
        capsys, "recommend-all", "--store", store.uri, "--output", str(tmp_path / "thesis.txt")
    )
    assert code == 2
    assert "name a directory that can be written" in error
