"""RECSYS_METRICS_FILE: every way a night ends leaves its metrics there; a place that refuses ends no night."""

import logging
import time
from datetime import datetime
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from recsys.cf.data.demo import write_demo_shop
from recsys.cf.data.prepare import prepare
from recsys.config.load import load_config
from recsys.errors import DivergedError, TrainingError
from recsys.pipeline import fit
from recsys.pipeline.nightly import run_nightly
from recsys.registry.catalogue import Registry
from recsys.storage.local import LocalStore

SETTINGS = [
    *("als.preset=default", "als.factors=8", "als.iterations=4", "als.regularization=30"),
    *("bpr.preset=original", "bpr.factors=8", "bpr.epochs=4", "bpr.negative_sampling=uniform"),
]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    raw = write_demo_shop(tmp_path / "raw", size="small", seed=5, users=600, interactions=3_000)
    prepare(LocalStore(tmp_path / "store"), raw.reviews, raw.products, load_config(None, []).data, seed=1)
    monkeypatch.setenv("RECSYS_METRICS_FILE", str(tmp_path / "collector" / "train_cf.prom"))
    monkeypatch.setenv("RECSYS_STATE", str(tmp_path / "state"))
    return str(tmp_path / "store")


def samples(tmp_path: Path) -> dict[str, list[tuple[dict[str, str], float]]]:
    text = (tmp_path / "collector" / "train_cf.prom").read_text()
    return {
        family.name.removeprefix("train_cf_"): sorted(
            ((one.labels, one.value) for one in family.samples), key=lambda sample: sorted(sample[0].items())
        )
        for family in text_string_to_metric_families(text)
    }


def test_a_night_its_repetition_and_a_skipped_night(shop: str, tmp_path: Path) -> None:
    result = run_nightly(shop, load_config(None, SETTINGS))
    found = samples(tmp_path)
    for model in ("als", "bpr"):
        expected = result["models"][model]["metrics"]["recall@10"]
        assert ({"model": model, "k": "10"}, expected) in found["recall"]
    dropped = sum(count for _, count in found["rows_dropped"])
    assert found["rows_in"][0][1] - dropped == found["rows_out"][0][1]
    assert found["champion_info"] == [({"model_id": result["decision"]["champion"]}, 1.0)]
    entry = Registry(LocalStore(Path(shop))).show("champion")
    [(_, registered)] = found["champion_timestamp_seconds"]
    assert registered == datetime.fromisoformat(entry.registered_at).timestamp()
    assert time.time() - 300 < registered < found["run_timestamp_seconds"][0][1] <= time.time()

    (tmp_path / "collector" / "train_cf.prom").unlink()
    assert run_nightly(shop, load_config(None, SETTINGS))["reused"]
    again = samples(tmp_path)
    assert (found["promoted"], again.pop("promoted")) == ([({}, 1.0)], [({}, 0.0)])
    assert again.pop("run_timestamp_seconds")[0][1] > found["run_timestamp_seconds"][0][1]
    assert again == {name: found[name] for name in again}

    registry = Registry(LocalStore(Path(shop)))
    sibling = next(one for one in registry.list() if one.model_id != entry.model_id)
    registry.promote(sibling.model_id, reasons=["by hand"])
    assert run_nightly(shop, load_config(None, SETTINGS))["reused"]
    serving = samples(tmp_path)
    assert serving["champion_info"] == [({"model_id": sibling.model_id}, 1.0)]
    registered = datetime.fromisoformat(sibling.registered_at).timestamp()
    assert serving["champion_timestamp_seconds"] == [({}, registered)]
    registry.rollback("no good")

    run_nightly(shop, load_config(None, [*SETTINGS, "runtime.min_data_change=0.5", "runtime.seed=7"]))
    skipped = samples(tmp_path)
    assert skipped["trained_models"] == [({}, 0.0)]
    assert skipped["champion_timestamp_seconds"] == found["champion_timestamp_seconds"]


def test_a_failed_training_shows(shop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(*_arguments: object, **_options: object) -> None:
        raise DivergedError("loss is NaN")

    monkeypatch.setattr("recsys.pipeline.nightly.fit_model", _failing("bpr", diverge))
    with pytest.raises(TrainingError, match="bpr"):
        run_nightly(shop, load_config(None, SETTINGS))
    found = samples(tmp_path)
    assert found["failed_trainings"] == [({}, 1.0)]
    assert found["trained_models"] == [({}, 1.0)]


def _failing(failing, diverge):
    def fit_or_fail(run, model, **options):
        return diverge() if model == failing else fit.fit_model(run, model, **options)

    return fit_or_fail


def test_a_place_that_cannot_be_written_is_a_warning(
    shop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RECSYS_METRICS_FILE", str(tmp_path / "file" / "train_cf.prom"))
    with caplog.at_level(logging.WARNING, logger="recsys"):
        result = run_nightly(shop, load_config(None, SETTINGS))
    assert result["decision"] is not None
    assert [record.levelname for record in caplog.records if "RECSYS_METRICS_FILE" in record.getMessage()]
