"""What the next trials are: the same whatever order trials end in, and wherever a study was killed."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.cf.tuning.sampling import next_batch, planned_trials
from recsys.cf.tuning.space import Space, TrialPoint

GRID = {
    "name": "grid",
    "model": "als",
    "stages": [
        {"name": "coarse", "search": {"als.factors": [8, 16, 32], "als.regularization": [1.0, 10.0, 100.0]}},
        {
            "name": "fine",
            "refine": {"als.regularization": "midpoints"},
            "search": {"als.alpha": [1.0, 10.0]},
        },
    ],
}
RANGES = {"als.regularization": {"low": 0.1, "high": 1000.0, "log": True}, "als.factors": [8, 16, 32]}


def sampled(sampler, trials=40):
    stage = {"name": "s", "sampler": sampler, "trials": trials, "search": RANGES, "fixed": {"als.alpha": 3.0}}
    return Space.model_validate({"name": sampler, "model": "als", "stages": [stage]})


def objective(settings):
    """Return a smooth surface with its top at regularization 30, 32 factors and alpha 10."""
    from math import log10

    distance = abs(log10(settings["als.regularization"] / 30)) + (32 - settings["als.factors"]) / 32
    return 1.0 / (1.0 + distance + abs(settings.get("als.alpha", 10.0) - 10.0) / 10)


def run(space, *, batch, seed=1, kill_after=None, order=None):
    """Return all trials of a study whose batches end in a random order; stop after ``kill_after`` trials."""
    random_order = random.Random(order)
    trials = []
    while planned := next_batch(space, trials, batch=batch, seed=seed):
        planned = random_order.sample(planned, len(planned)) if order is not None else planned
        for one in planned:
            if kill_after is not None and len(trials) == kill_after:
                return trials
            trials.append(TrialPoint(one.number, one.stage, one.settings, objective(one.settings), True))
    return trials


def table(trials):
    return sorted((one.number, one.stage, tuple(sorted(one.settings.items()))) for one in trials)


def resume(space, trials, *, batch, seed=1):
    trials = list(trials)
    while planned := next_batch(space, trials, batch=batch, seed=seed):
        trials += [
            TrialPoint(one.number, one.stage, one.settings, objective(one.settings), True) for one in planned
        ]
    return trials


@pytest.mark.parametrize("sampler", ["grid", "random", "tpe"])
@settings(max_examples=20)  # an example is three whole studies
@given(st.data())
def test_order_of_ending_and_kills_change_nothing(sampler, data):
    if sampler == "tpe":
        pytest.importorskip("optuna")
    space = Space.model_validate(GRID) if sampler == "grid" else sampled(sampler, trials=17)
    batch = data.draw(st.integers(1, 9))
    whole = table(run(space, batch=batch))
    killed = run(
        space, batch=batch, order=data.draw(st.integers(0, 9)), kill_after=data.draw(st.integers(0, 16))
    )
    assert table(resume(space, killed, batch=batch)) == whole


def test_a_grid_is_tried_once_and_stages_follow_each_other():
    space = Space.model_validate(GRID)
    trials = run(space, batch=4)
    assert [one.number for one in trials] == list(range(9 + 6))
    assert len({tuple(sorted(one.settings.items())) for one in trials}) == len(trials)
    assert [one.stage for one in trials] == ["coarse"] * 9 + ["fine"] * 6
    best = max(trials[:9], key=lambda one: one.value)
    assert {one.settings["als.factors"] for one in trials[9:]} == {best.settings["als.factors"]}
    assert planned_trials(space, []) is None
    assert planned_trials(space, trials[:9]) == planned_trials(space, trials) == 15
    # the batch size of a grid moves nothing
    assert table(run(space, batch=100)) == table(trials)


def test_a_fine_stage_leaves_out_what_the_coarse_one_tried():
    document = {
        **GRID,
        "stages": [GRID["stages"][0], {"name": "fine", "search": {"als.factors": [8, 16, 64]}}],
    }
    trials = run(Space.model_validate(document), batch=3)
    best = max(trials[:9], key=lambda one: one.value)
    assert best.settings["als.factors"] == 32
    fine = [one.settings["als.factors"] for one in trials[9:]]
    assert fine == [64], "8 and 16 with the best regularization are known already"


def test_random_draws_stay_inside_and_follow_the_seed():
    space = sampled("random", trials=200)
    trials = run(space, batch=50)
    drawn = [one.settings["als.regularization"] for one in trials]
    assert all(0.1 <= one <= 1000.0 for one in drawn)
    # log-uniform over four decades: half lie below 10
    assert sum(one < 10.0 for one in drawn) == pytest.approx(100, abs=3 * 50**0.5)
    assert {one.settings["als.factors"] for one in trials} == {8, 16, 32}
    assert {one.settings["als.alpha"] for one in trials} == {3.0}
    assert table(run(space, batch=50, seed=2)) != table(trials)


def test_tpe_draws_towards_the_top_of_the_surface():
    pytest.importorskip("optuna")
    trials = run(sampled("tpe", trials=48), batch=8)
    early = sum(one.value for one in trials[:16]) / 16
    late = sum(one.value for one in trials[-16:]) / 16
    assert late > early
    at_random = run(sampled("random", trials=48), batch=8)
    assert late > sum(one.value for one in at_random) / 48
