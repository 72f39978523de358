"""The search of the auto presets on surfaces whose optimum is known."""

from datetime import UTC, datetime

import numpy as np
import pytest

from recsys.cf.models.base import FitResult
from recsys.cf.tuning.auto import ALS_SPACE, BPR_SPACE, MIN_VALIDATION_USERS, choose_settings
from recsys.errors import DivergedError
from recsys.types import Factors

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NOTHING = Factors(np.zeros((1, 1), np.float32), np.zeros((1, 1), np.float32))
ALL = frozenset(ALS_SPACE.ladders)


def surface(best):
    """Return a fit whose metric falls with the number of ladder steps from ``best``."""
    tried = []

    def fit(settings):
        tried.append(dict(settings))
        steps = sum(
            abs(ladder.index(settings[name]) - ladder.index(best[name]))
            for name, ladder in ALS_SPACE.ladders.items()
            if name in settings
        )
        row = {"iteration": 1, "ndcg@10": 1.0 / (1 + steps), "recall@10": 0.5, "loss": 0.0, "seconds": 0.0}
        return FitResult(NOTHING, (row,), 1, False, NOW, NOW, "cpu", None)

    return fit, tried


@pytest.mark.parametrize(
    "best",
    [
        {"regularization": 0.01, "alpha": 1.0, "factors": 16},
        {"regularization": 200.0, "alpha": 100.0, "factors": 128},
        {"regularization": 25.0, "alpha": 3.0, "factors": 64},
    ],
)
def test_finds_the_optimum_of_a_smooth_surface(best):
    fit, tried = surface(best)
    choice = choose_settings(ALS_SPACE, ALL, None, 1000, fit)
    assert choice.settings == best
    assert len(tried) == len({tuple(sorted(one.items())) for one in tried}), "a setting was tried twice"
    assert [t["settings"] for t in choice.trials if t["chosen"]] == [best]


def test_warm_start_tries_only_the_neighbourhood():
    best = {"regularization": 25.0, "alpha": 3.0, "factors": 64}
    fit, tried = surface(best)
    choice = choose_settings(ALS_SPACE, ALL, best, 1000, fit)
    assert choice.settings == best
    assert len(tried) == 7  # itself and two neighbours on each of three ladders
    assert "warm" in choice.note


def test_fixed_fields_are_not_searched():
    fit, tried = surface({"regularization": 25.0, "alpha": 3.0, "factors": 64})
    choice = choose_settings(ALS_SPACE, frozenset({"alpha"}), None, 1000, fit)
    assert set(choice.settings) == {"alpha"}
    assert all(set(one) == {"alpha"} for one in tried)
    assert choose_settings(ALS_SPACE, frozenset(), None, 1000, fit).settings == {}


def test_too_few_validation_users_keep_the_first_guess_without_a_trial():
    fit, tried = surface(dict(ALS_SPACE.start))
    choice = choose_settings(ALS_SPACE, ALL, None, MIN_VALIDATION_USERS - 1, fit)
    assert choice.settings == dict(ALS_SPACE.start)
    assert not tried
    assert str(MIN_VALIDATION_USERS - 1) in choice.note


def test_a_diverging_setting_loses_and_does_not_end_the_night():
    fit, _ = surface({"regularization": 25.0, "alpha": 3.0, "factors": 64})

    def fragile(settings):
        if settings["alpha"] > 3.0:
            raise DivergedError("too much")
        return fit(settings)

    assert choose_settings(ALS_SPACE, ALL, None, 1000, fragile).settings["alpha"] == 3.0


def test_spaces_are_consistent():
    for space in (ALS_SPACE, BPR_SPACE):
        assert set(space.start) == set(space.ladders)
        for name, values in space.coarse.items():
            assert set(values) <= set(space.ladders[name])
        for name, value in space.start.items():
            assert value in space.ladders[name]
