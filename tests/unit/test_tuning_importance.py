"""Importance against sums of squares worked out by hand."""

from itertools import product

import pytest

from recsys.cf.tuning.importance import importance
from recsys.cf.tuning.space import TrialPoint


def trials_of(settings_and_values):
    return [
        TrialPoint(number, "s", settings, value, True)
        for number, (settings, value) in enumerate(settings_and_values)
    ]


def test_an_additive_grid_is_explained_by_its_main_effects():
    # value = 3 a + b on {0, 1} x {0, 1}: sums of squares 9 and 1 of 10
    found = importance(trials_of(({"m.a": a, "m.b": b}, 3 * a + b) for a, b in product((0, 1), (0, 1))))
    assert found == pytest.approx({"m.a": 0.9, "m.b": 0.1})
    assert list(found) == ["m.a", "m.b"]


def test_an_interaction_belongs_to_no_setting():
    found = importance(trials_of(({"m.a": a, "m.b": b}, a != b) for a, b in product((0, 1), (0, 1))))
    assert found == pytest.approx({"m.a": 0.0, "m.b": 0.0})


def test_settings_with_one_value_pruned_trials_and_flat_surfaces_are_left_out():
    rows = [({"m.a": a, "m.c": 5}, float(a)) for a in (0, 1, 2)]
    assert importance(trials_of(rows)) == pytest.approx({"m.a": 1.0})
    pruned = [TrialPoint(9, "s", {"m.a": 0, "m.c": 6}, 100.0, False)]
    assert importance(trials_of(rows) + pruned) == pytest.approx({"m.a": 1.0})
    assert importance(trials_of(({"m.a": a}, 1.0) for a in range(5))) == {}
    assert importance([]) == {}


def test_many_numbers_are_put_into_four_bins():
    # a step at the middle of twelve values: the bins (3 each) tell it exactly
    found = importance(trials_of(({"m.x": float(x), "m.y": "k"}, float(x >= 6)) for x in range(12)))
    assert found == pytest.approx({"m.x": 1.0})
