"""Tonight's data against what the champion was trained on: a night without change trains nothing."""

from datetime import UTC, datetime

import pytest
from sample_models import write_model

from recsys.cf.data.demo import write_demo_shop
from recsys.cf.data.prepare import prepare
from recsys.cf.data.version import list_versions
from recsys.config.load import load_config
from recsys.config.schema import DataConfig
from recsys.pipeline import data_drift
from recsys.pipeline.data_drift import drift_since_last, unchanged_since_champion
from recsys.pipeline.data_needed import is_needed, needed_data_versions
from recsys.pipeline.decide import skip_run
from recsys.pipeline.nightly import run_nightly
from recsys.pipeline.run import finished_result, open_run
from recsys.registry.artifact import new_version, stage_model
from recsys.registry.catalogue import Registry
from recsys.registry.lease import running
from recsys.storage.local import LocalStore
from recsys.storage.memory import MemoryStore

GATED = load_config(None, ["runtime.min_data_change=0.1"])


@pytest.fixture
def nights(tmp_path, monkeypatch):
    """Return (store, versions): three nights, the second and third a few and many reviews larger."""
    store = LocalStore(tmp_path / "store")
    shop = write_demo_shop(tmp_path / "raw", size="small", seed=2, users=400, interactions=3_000)
    header, *lines = shop.reviews.read_text("utf-8").splitlines(keepends=True)
    versions = []
    for n_lines in (1_500, 1_520, 3_000):
        path = tmp_path / f"{n_lines}.csv"
        path.write_text(header + "".join(lines[:n_lines]), "utf-8")
        versions.append(prepare(store, path, None, DataConfig(), seed=0).version)
    return store, versions


def crown(store, tmp_path, data_version):
    """Make a champion that was trained on that data version."""
    registry = Registry(store)
    model_id = stage_model(
        store, "als", new_version(), write_model(tmp_path / "model"), facts={"run_id": "r"}
    )
    registry.register(model_id, "als", data_version=data_version, run_id="r", metrics={"recall@10": 0.2})
    registry.promote(model_id, reasons=["test"])
    return model_id


def test_the_report_compares_with_the_version_before(nights):
    store, versions = nights
    runs = [open_run(store.uri, GATED, data_version=version) for version in versions]
    assert drift_since_last(runs[0]) is None
    small, large = drift_since_last(runs[1]), drift_since_last(runs[2])
    assert (small["before"], small["after"]) == (versions[0], versions[1])
    assert (large["before"], large["after"]) == (versions[1], versions[2])
    assert small["largest"]["change"] < large["largest"]["change"]


def test_a_night_without_change_trains_nothing_and_keeps_the_champion(nights, tmp_path):
    store, versions = nights
    champion = crown(store, tmp_path, versions[0])
    result = run_nightly(store.uri, GATED, data_version=versions[0])
    assert result["models"] == {}
    assert result["decision"]["champion"] == champion
    (reason,) = result["decision"]["reasons"]
    assert reason.startswith("nothing trained: the data moved by 0.000")
    assert Registry(store).state().champion == champion
    assert "nothing trained" in store.get(result["report"].removeprefix(f"{store.uri}/")).data.decode()
    # It is no result: the night is asked again.
    assert finished_result(open_run(store.uri, GATED, data_version=versions[0])) is None


def test_the_gate_opens_with_the_change_the_champion_and_the_setting(nights, tmp_path):
    store, versions = nights

    def asked(version, config=GATED):
        return unchanged_since_champion(open_run(store.uri, config, data_version=version))

    assert asked(versions[0]) is None, "without a champion there is something to train"
    crown(store, tmp_path, versions[0])
    assert asked(versions[0]) is not None
    assert asked(versions[2]) is None, "twice the rows are a change"
    assert asked(versions[0], load_config(None)) is None, "no threshold, no gate"


def test_a_champion_whose_data_are_gone_is_no_obstacle(nights, tmp_path):
    store, versions = nights
    crown(store, tmp_path, "v_20200101T000000Z_000000000000")
    assert unchanged_since_champion(open_run(store.uri, GATED, data_version=versions[0])) is None


def damage(store, version):
    """Spoil a small file of a data version; its manifest tells."""
    (store.root / "data" / "versions" / version / "user_metadata.parquet").write_bytes(b"x")


def test_a_champion_whose_data_are_damaged_is_no_obstacle(nights, tmp_path, caplog):
    store, versions = nights
    crown(store, tmp_path, versions[0])
    damage(store, versions[0])
    assert unchanged_since_champion(open_run(store.uri, GATED, data_version=versions[1])) is None
    assert f"{versions[0]} of the champion" in caplog.text
    assert "user_metadata.parquet" in caplog.text


def test_a_damaged_version_before_costs_the_night_its_drift_and_nothing_else(nights, caplog):
    store, versions = nights
    damage(store, versions[0])
    settings = ["runtime.models=[als]", "als.preset=default", "als.factors=8", "als.iterations=1"]
    result = run_nightly(store.uri, load_config(None, settings), data_version=versions[1])
    assert result["data"]["drift"] is None
    assert Registry(store).show(result["models"]["als"]["model_id"]).run_id == result["run_id"]
    assert finished_result(open_run(store.uri, load_config(None, settings), data_version=versions[1]))
    assert "the change of the data is not told" in caplog.text
    assert "user_metadata.parquet" in caplog.text


def test_a_version_that_is_collected_meanwhile_costs_the_drift_alone(nights, monkeypatch):
    store, versions = nights

    def listed_then_collected(of):
        found = list_versions(of)
        (store.root / "data" / "versions" / versions[0] / "manifest.json").unlink()
        return found

    monkeypatch.setattr(data_drift, "list_versions", listed_then_collected)
    assert drift_since_last(open_run(store.uri, GATED, data_version=versions[1])) is None


def test_data_of_champions_and_running_nights_are_needed(nights, tmp_path):
    store, versions = nights
    crown(store, tmp_path, versions[0])
    run = open_run(store.uri, GATED, data_version=versions[1])
    with running(store, run.run_id):
        now = datetime.now(UTC)
        assert needed_data_versions(store, now) == {versions[0], versions[1]}
        assert [is_needed(store, version, now) for version in versions] == [True, True, False]
    now = datetime.now(UTC)
    assert needed_data_versions(store, now) == {versions[0]}
    assert [is_needed(store, version, now) for version in versions] == [True, False, False]


def test_whether_a_version_is_needed_reads_no_lease_of_other_data(tmp_path):
    store, now = MemoryStore(), datetime.now(UTC)
    with running(store, "r_aaaaaaaaaaaa_00000000"), running(store, "st_bbbbbbbbbbbb_00000000_x"):
        before = len(store.calls)
        found = [is_needed(store, f"v_20260101T000000Z_{digit * 12}", now) for digit in "abc"]
        read = [
            key for operation, key in store.calls[before:] if operation == "get" and key.startswith("runs/")
        ]
    assert found == [True, True, False]
    assert [key.split("/")[1] for key in read] == ["r_aaaaaaaaaaaa_00000000", "st_bbbbbbbbbbbb_00000000_x"]


def test_skipping_is_written_down(nights, tmp_path):
    store, versions = nights
    run = open_run(store.uri, GATED, data_version=versions[0])
    skip_run(run, "because")
    assert [info.key.rsplit(".", 1)[1] for info in store.list(f"{run.prefix}/skipped/")] == ["html", "json"]
