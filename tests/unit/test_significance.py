import itertools
import json

import numba
import numpy as np
import pytest

from recsys.cf.evaluation.significance import holm, paired_bootstrap, permutation_test, smallest_detectable


def bootstrap(a, b, seed=0, resamples=2000):
    return paired_bootstrap(np.asarray(a), np.asarray(b), resamples=resamples, level=0.95, seed=seed)


def test_the_interval_covers_the_true_difference_as_often_as_it_says():
    rng = np.random.default_rng(17)
    n_trials, n_users, inside, relative_inside = 1000, 300, 0, 0
    for trial in range(n_trials):
        ease = rng.random(n_users)  # shared by both models: the values are paired
        a, b = (ease < 0.35).astype(float), (ease * rng.choice([1.0, 1.6], n_users) < 0.3).astype(float)
        interval = bootstrap(a, b, seed=trial, resamples=1000)
        true_b = (0.3 + 0.3 / 1.6) / 2
        inside += interval.low <= 0.35 - true_b <= interval.high
        relative_inside += interval.relative_low <= 0.35 / true_b - 1 <= interval.relative_high
    assert 0.93 <= inside / n_trials <= 0.97
    assert 0.93 <= relative_inside / n_trials <= 0.97


def test_the_interval_is_that_of_resampled_users():
    rng = np.random.default_rng(4)
    a, b = rng.integers(0, 3, 400) / 2, rng.integers(0, 3, 400) / 3
    draws = rng.integers(0, 400, (20_000, 400))
    differences = a[draws].mean(axis=1) - b[draws].mean(axis=1)
    naive = np.quantile(differences, [0.025, 0.975])
    interval = bootstrap(a, b, resamples=20_000)
    width = naive[1] - naive[0]
    assert abs(interval.low - naive[0]) < 0.03 * width
    assert abs(interval.high - naive[1]) < 0.03 * width
    assert interval.difference == pytest.approx(a.mean() - b.mean())
    assert interval.relative == pytest.approx((a.mean() - b.mean()) / b.mean())


def test_pairing_removes_what_both_share():
    rng = np.random.default_rng(6)
    b = rng.random(500)
    paired, unpaired = bootstrap(b + 0.01, b), bootstrap(rng.permutation(b + 0.01), b)
    assert paired.low == pytest.approx(0.01)
    assert paired.high == pytest.approx(0.01)
    assert unpaired.high - unpaired.low > 0.04


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    rng = np.random.default_rng(9)
    a, b = rng.random(50), rng.random(50)
    assert bootstrap(a, b, seed=1) == bootstrap(a, b, seed=1) != bootstrap(a, b, seed=2)


def test_a_baseline_of_zero_has_no_relative_difference():
    interval = bootstrap([0.0, 1.0, 1.0], [0.0, 0.0, 0.0])
    assert (interval.relative, interval.relative_low, interval.relative_high) == (None, None, None)
    assert interval.difference == pytest.approx(2 / 3)


def test_an_infinite_bound_is_null_in_json():
    interval = bootstrap([1.0] * 30, [1.0] + [0.0] * 29)
    assert interval.relative_high == np.inf
    assert json.loads(json.dumps(interval.to_json(), allow_nan=False))["relative_high"] is None


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [([1.0], [1.0, 2.0], "same users"), ([], [], "same users"), ([1.0], [np.nan], "finite")],
)
@pytest.mark.parametrize(
    "test", [bootstrap, lambda a, b: permutation_test(np.array(a), np.array(b), permutations=10, seed=0)]
)
def test_values_that_are_not_paired_or_finite_are_refused(test, a, b, message):
    with pytest.raises(ValueError, match=message):
        test(a, b)


@pytest.mark.parametrize("shift", [0.0, 0.4, 1.0])
def test_the_p_value_is_that_of_all_sign_flips(shift):
    a = np.array([0.1, 0.1, 0.5, 0.0, 0.3, 0.9, 0.2, 0.5, 0.5, 0.0]) + shift
    b = np.array([0.3, 0.0, 0.5, 0.2, 0.1, 0.1, 0.2, 0.9, 0.0, 0.3])
    differences = a - b
    flips = np.array(list(itertools.product([-1, 1], repeat=len(a))))
    exact = (np.abs(flips @ differences) >= abs(differences.sum()) - 1e-9).mean()
    p_value = permutation_test(a, b, permutations=40_000, seed=3)
    assert p_value == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 40_000) + 1e-4)


def test_p_values_of_equal_models_are_uniform():
    rng = np.random.default_rng(12)
    p_values = np.array(
        [
            permutation_test(*rng.integers(0, 2, (2, 200)).astype(float), permutations=500, seed=trial)
            for trial in range(1000)
        ]
    )
    # the statistic is discrete, which makes the test a little conservative
    assert 0.03 <= (p_values <= 0.05).mean() <= 0.07


def test_equal_values_have_a_p_value_of_one_and_none_is_zero():
    ones = np.ones(20)
    assert permutation_test(ones, ones, permutations=100, seed=0) == 1.0
    assert permutation_test(ones, np.zeros(20), permutations=100, seed=0) == pytest.approx(1 / 101)


def test_the_smallest_detectable_difference_is_seen_in_four_cases_of_five():
    rng = np.random.default_rng(23)
    n_users, n_trials = 400, 1000
    b = rng.random((n_trials, n_users))
    noise = rng.normal(0, 0.3, (n_trials, n_users))
    shift = smallest_detectable(b[0] + noise[0], b[0], level=0.95)
    assert shift == pytest.approx((1.96 + 0.8416) * 0.3 / np.sqrt(n_users), rel=0.1)
    exact = (1.95996 + 0.84162) * 0.3 / np.sqrt(n_users)
    seen = sum(
        bootstrap(b[trial] + noise[trial] + exact, b[trial], seed=trial, resamples=1000).low > 0
        for trial in range(n_trials)
    )
    # standard error of the share: sqrt(0.8 x 0.2 / 1000) = 0.013
    assert 0.75 <= seen / n_trials <= 0.85


def test_equal_differences_leave_nothing_to_detect():
    assert smallest_detectable(np.full(9, 0.5), np.full(9, 0.25), level=0.95) == 0


def test_intervals_and_p_values_do_not_depend_on_the_threads():
    rng = np.random.default_rng(2)
    a, b = rng.random(500), rng.random(500)
    before = numba.get_num_threads()
    found = []
    for threads in (1, before):
        numba.set_num_threads(threads)
        found.append((bootstrap(a, b), permutation_test(a, b, permutations=999, seed=1)))
    numba.set_num_threads(before)
    assert found[0] == found[1]


def test_holm_steps_down_and_never_decreases():
    # sorted 0.005 x 4, 0.01 x 3, 0.03 x 2, 0.04 x 1, the last raised to its predecessor
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
