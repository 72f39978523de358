"""Every command takes --json, and what it then writes to stdout is one JSON document."""

import json

import pytest

from recsys.cf.data.demo import write_demo_shop
from recsys.cf.data.latest import latest_version
from recsys.cf.data.prepare import prepare
from recsys.cli.main import run
from recsys.cli.reference import commands
from recsys.config.reference import render_reference
from recsys.config.schema import DataConfig
from recsys.storage.local import LocalStore

COMMANDS = dict(commands())


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Return a store with two data versions."""
    folder = tmp_path_factory.mktemp("shop")
    shop = write_demo_shop(folder, size="small", seed=2, users=400, interactions=2_500)
    store = LocalStore(folder / "store")
    for least in (5, 3):
        prepare(store, shop.reviews, None, DataConfig(min_item_positives=least), seed=0)
    return store


def called(capsys, *arguments, code=0):
    with pytest.raises(SystemExit) as done:
        run([str(one) for one in arguments])
    captured = capsys.readouterr()
    assert (done.value.code, captured.err) == (code, captured.err)
    return captured.out


def test_the_walk_sees_the_commands():
    assert {"prepare", "data show", "registry list", "tune", "tune export", "config reference"} <= {*COMMANDS}
    assert len(COMMANDS) > 40


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_takes_json(path):
    assert "--json" in [name for option in COMMANDS[path].params for name in option.opts]


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_data_show_writes_json_in_any_case(capsys, store, more):
    shown = json.loads(called(capsys, "data", "show", "--store", store.uri, *more))
    assert (shown["version"], shown["rows_in"]) == (latest_version(store), 2_500)


def test_the_reference_of_settings_comes_as_json_too(capsys):
    document = json.loads(called(capsys, "config", "reference", "--json"))
    assert document["markdown"] == render_reference() == called(capsys, "config", "reference")


def test_set_latest_goes_back_and_forth(capsys, store):
    later = latest_version(store)
    listed = json.loads(called(capsys, "data", "list", "--json", "--store", store.uri))["versions"]
    (earlier,) = (one["version"] for one in listed if one["version"] != later)
    for to, before in ((earlier, later), (later, earlier)):
        moved = called(capsys, "data", "set-latest", to.rsplit("_")[-1], "--json", "--store", store.uri)
        assert json.loads(moved) == {"version": to, "before": before}
        assert latest_version(store) == to
    assert called(capsys, "data", "set-latest", later, "--store", store.uri) == f"{later} is the latest\n"


def test_set_latest_refuses_what_is_missing_or_damaged(capsys, store):
    later = latest_version(store)
    called(capsys, "data", "set-latest", "f" * 12, "--store", store.uri, code=3)
    listed = json.loads(called(capsys, "data", "list", "--json", "--store", store.uri))["versions"]
    (earlier,) = (one["version"] for one in listed if one["version"] != later)
    damaged = store.root / "data" / "versions" / earlier / "items.parquet"
    damaged.chmod(0o644)
    damaged.write_bytes(b"damaged")
    told = called(capsys, "data", "set-latest", earlier, "--json", "--store", store.uri, code=3)
    assert "items.parquet" in json.loads(told)["error"]["message"]
    assert latest_version(store) == later
