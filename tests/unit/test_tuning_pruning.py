"""Pruning: curves that fall behind end early, good ones never do."""

import sys

import pytest

from recsys.cf.tuning.pruning import TrialPruned, Watch
from recsys.errors import ConfigError

METRIC = "ndcg@10"


def curve(values, state="complete", rungs=None):
    history = [{"epoch": step, METRIC: value} for step, value in enumerate(values, start=1)]
    return {"state": state, "value": max(values), "history": history, "rungs": rungs or {}}


def steps_of(watch, values):
    """Return after how many steps the trial was ended, or None when it reached its end."""
    for step, value in enumerate(values, start=1):
        try:
            watch({"epoch": step, "loss": 1.0, METRIC: value})
        except TrialPruned:
            return step
    return None


@pytest.fixture(autouse=True)
def _optuna(request):
    if "missing" not in request.node.name:
        pytest.importorskip("optuna")


def peers():
    return [curve([0.1 * level + 0.01 * step for step in range(12)]) for level in range(1, 8)]


def test_median_ends_a_trial_below_the_median_of_earlier_ones_after_the_warm_up():
    watch = Watch("median", peers(), objective=METRIC, warmup=4)
    assert steps_of(watch, [0.05] * 12) == 4
    better = Watch("median", peers(), objective=METRIC, warmup=4)
    assert steps_of(better, [0.05, 0.05, 0.05, 0.6] + [0.7] * 8) is None


def test_too_few_earlier_trials_prune_nothing():
    watch = Watch("median", peers()[:3], objective=METRIC, warmup=4)
    assert steps_of(watch, [0.0001] * 12) is None


def test_diverged_trials_are_no_yardstick():
    diverged = [{"state": "diverged", "value": 0.0, "history": [], "rungs": {}}] * 20
    assert steps_of(Watch("median", diverged, objective=METRIC, warmup=2), [0.1] * 6) is None


def test_halving_lets_the_best_third_on_and_hands_its_rungs_to_later_trials():
    ended = []
    for level in (9, 8, 7, 6, 5, 4, 3, 2, 1):
        watch = Watch("halving", ended, objective=METRIC, warmup=2)
        values = [0.1 * level] * 12
        step = steps_of(watch, values)
        ended.append(curve(values[: step or 12], "pruned" if step else "complete", watch.rungs))
        assert watch.rungs["completed_rung_0"] == pytest.approx(0.1 * level)
    # the first ones were the best so far; from then on each is below the best third
    assert [one["state"] for one in ended].count("complete") < 5
    assert ended[-1]["state"] == "pruned"
    assert len(ended[-1]["history"]) == 2, "the last of nine must end at the first rung"


def test_rows_without_the_metric_and_no_pruner_pass():
    watch = Watch("none", peers(), objective=METRIC, warmup=1)
    assert steps_of(watch, [0.0] * 12) is None
    assert watch.rungs == {}
    Watch("median", peers(), objective=METRIC, warmup=1)({"epoch": 9, "loss": 2.0})


def test_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"train-cf\[tune\]"):
        Watch("median", [], objective=METRIC, warmup=1)
    Watch("none", [], objective=METRIC, warmup=1)
