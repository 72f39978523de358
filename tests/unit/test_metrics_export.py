"""The Prometheus text of a run, read by the parser of prometheus_client; the file, replaced at once."""

import math
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from report_example import IDS, POPULARITY, example_result

from recsys.reporting.metrics_export import render_metrics, write_metrics

ROOT = Path(__file__).resolve().parents[2]
CHAMPION = {"model_id": IDS["bpr"], "registered_at": "2026-11-25T01:02:03+00:00"}


def read(metrics: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return the samples by name and labels; fails on one that occurs twice."""
    found = {}
    for family in text_string_to_metric_families(metrics):
        assert family.type == "gauge", family.name
        assert family.documentation
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found
            found[key] = sample.value
    return found


def value(samples, name, **labels):
    return samples[f"train_cf_{name}", frozenset(labels.items())]


def test_every_number_a_shop_watches_is_there() -> None:
    result = example_result()
    samples = read(render_metrics(result, CHAMPION))
    model = result["models"]["als"]
    assert value(samples, "recall", model="als", k="10") == model["metrics"]["recall@10"]
    assert value(samples, "ndcg", model="bpr", k="20") == result["models"]["bpr"]["metrics"]["ndcg@20"]
    assert value(samples, "mrr", model="popularity") == POPULARITY["mrr"]
    assert value(samples, "coverage", model="random", k="10") == 1.0
    assert value(samples, "recall", model="champion", k="10") == POPULARITY["recall@10"] * 3.42
    assert value(samples, "stage_seconds", stage="total") == 12.0
    assert value(samples, "gate_passed", model="als", gate="coverage") == 1.0
    assert value(samples, "rows_in") == 369_099
    assert value(samples, "rows_dropped", step="read", reason="rating outside [1, 5]") == 12
    moment = datetime(2026, 11, 25, 1, 2, 3, tzinfo=UTC).timestamp()
    assert value(samples, "run_timestamp_seconds") == moment
    assert value(samples, "champion_timestamp_seconds") == moment
    assert value(samples, "champion_info", model_id=IDS["bpr"]) == 1.0
    assert value(samples, "promoted") == 1.0
    assert value(samples, "trained_models") == 2


def test_a_result_that_was_found_again_tells_of_now() -> None:
    result = example_result() | {"reused": True}
    serving = {"model_id": IDS["als"], "registered_at": "2026-11-20T00:00:00+00:00"}
    samples = read(render_metrics(result, serving, ended_at="2026-11-26T01:00:00+00:00"))
    assert value(samples, "run_timestamp_seconds") == datetime(2026, 11, 26, 1, tzinfo=UTC).timestamp()
    assert value(samples, "champion_info", model_id=IDS["als"]) == 1.0
    assert ("train_cf_champion_info", frozenset({("model_id", IDS["bpr"])})) not in samples
    assert value(samples, "promoted") == 0.0


def test_a_refusal_and_a_failure_show() -> None:
    result = example_result(promote=False)
    result["failures"] = {"bpr": "DivergedError: NaN"}
    samples = read(render_metrics(result))
    assert value(samples, "promoted") == 0.0
    assert value(samples, "gate_passed", model="als", gate="coverage") == 0.0
    assert value(samples, "failed_trainings") == 1
    assert not any(name == "train_cf_champion_timestamp_seconds" for name, _ in samples)


def test_what_is_missing_or_no_number_is_left_out() -> None:
    assert read(render_metrics({}))["train_cf_trained_models", frozenset()] == 0
    result = example_result()
    result["models"]["als"]["metrics"] |= {"recall@10": math.nan, "odd name{}": 1.0, "mrr": None}
    names = {
        (name, dict(labels).get("model"))
        for name, labels in read(render_metrics(result, {"registered_at": "yesterday"}))
    }
    assert ("train_cf_recall", "als") in names  # recall@20
    assert ("train_cf_mrr", "als") not in names
    assert not any("odd" in name for name, _ in names)


@given(st.text(), st.text(), st.integers(0, 2**53))
def test_any_reason_survives_the_format(step: str, reason: str, count: int) -> None:
    result = {"data": {"funnel": [{"step": step, "reason": reason, "rows": count}]}}
    samples = read(render_metrics(result))
    assert value(samples, "rows_dropped", step=step, reason=reason) == count


def test_equal_steps_and_gates_are_one_sample() -> None:
    gates = [{"name": "g", "passed": True}, {"name": "g", "passed": False}, None]
    rows = [{"step": "s", "reason": "r", "rows": count} for count in (1, 2)]
    result = {"data": {"funnel": rows}, "decision": {"gates": {"als_1": gates}}}
    samples = read(render_metrics(result))
    assert value(samples, "rows_dropped", step="s", reason="r") == 3
    assert value(samples, "gate_passed", model="als", gate="g") == 0.0


def test_the_file_is_replaced_at_once_and_readable_by_the_collector(tmp_path: Path) -> None:
    path = tmp_path / "collector" / "train_cf.prom"
    write_metrics(path, "old 1\n")
    with path.open() as reader:  # a collector that has begun to read
        write_metrics(path, "new 2\n")
        assert reader.read() == "old 1\n"
    assert path.read_text() == "new 2\n"
    assert [one.name for one in path.parent.iterdir()] == ["train_cf.prom"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_failed_write_leaves_no_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_source: object, _target: object) -> None:
        raise PermissionError("refused")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(PermissionError):
        write_metrics(tmp_path / "train_cf.prom", "new 2\n")
    assert list(tmp_path.iterdir()) == []


def test_alerts_ask_for_metrics_that_exist() -> None:
    rules = yaml.safe_load((ROOT / "deployments" / "prometheus-alerts.yaml").read_text())
    asked = {
        name
        for group in rules["groups"]
        for rule in group["rules"]
        for name in re.findall(r"train_cf_\w+", rule["expr"])
    }
    exported = {name for name, _ in read(render_metrics(example_result(), CHAMPION))}
    assert asked
    assert asked <= exported
