"""Where BPR starts: random rows, and known rows of an earlier model."""

import numpy as np
import pytest
from shops import pools_of, random_positives

from recsys.cf.models.bpr import fit_bpr
from recsys.cf.models.bpr_start import WarmStart, start_factors
from recsys.config.schema import BprConfig
from recsys.errors import TrainingError
from recsys.types import Factors


def test_start_is_normal_with_the_configured_deviation():
    start = start_factors(3000, 500, BprConfig(factors=16, init_std=0.02), 1, None)
    assert start.user_factors.std() == pytest.approx(0.02, rel=0.02)
    assert start.item_factors.std() == pytest.approx(0.02, rel=0.05)
    assert abs(start.user_factors.mean()) < 0.001


def test_item_bias_adds_one_column():
    start = start_factors(5, 4, BprConfig(factors=3, item_bias=True), 1, None)
    assert start.n_factors == 4
    assert (start.user_factors[:, 3] == 1).all()
    assert (start.item_factors[:, 3] == 0).all()


def test_known_rows_come_from_the_earlier_model_and_new_ones_are_random():
    cold = start_factors(4, 3, BprConfig(factors=2), 1, None)
    earlier = Factors(np.full((4, 2), 7, np.float32), np.full((3, 2), 8, np.float32))
    known_users, known_items = np.array([True, False, True, False]), np.array([False, True, True])
    start = start_factors(4, 3, BprConfig(factors=2), 1, WarmStart(earlier, known_users, known_items))
    assert (start.user_factors[known_users] == 7).all()
    assert (start.item_factors[known_items] == 8).all()
    assert (start.user_factors[~known_users] == cold.user_factors[~known_users]).all()
    assert (start.item_factors[~known_items] == cold.item_factors[~known_items]).all()


def test_another_number_of_factors_is_an_error():
    earlier = Factors(np.zeros((4, 2), np.float32), np.zeros((3, 2), np.float32))
    with pytest.raises(TrainingError, match="warm_start"):
        start_factors(4, 3, BprConfig(factors=5), 1, WarmStart(earlier, np.ones(4, bool), np.ones(3, bool)))


def test_a_warm_fit_starts_where_the_earlier_one_ended():
    pools = pools_of(random_positives(200, 60, 6, seed=1))
    config = BprConfig(factors=8, epochs=15, negative_sampling="uniform", learning_rate=0.1)
    first = fit_bpr(pools, config, seed=1)
    warm = WarmStart(first.factors, np.ones(200, bool), np.ones(60, bool))
    second = fit_bpr(pools, config, seed=2, warm=warm)
    assert second.history[0]["loss"] < 0.7 * first.history[0]["loss"]
    assert second.history[0]["loss"] == pytest.approx(first.history[-1]["loss"], rel=0.15)


@pytest.mark.parametrize("mode", ["adaptive", "uniform"])
def test_item_bias_and_adaptive_draws_work_in_a_fit(mode):
    pools = pools_of(random_positives(100, 40, 6, seed=1))
    config = BprConfig(
        factors=7, epochs=6, item_bias=True, negative_sampling=mode, adaptive_refreshes=2, learning_rate=0.1
    )
    fit = fit_bpr(pools, config, seed=1)
    assert fit.factors.n_factors == 8
    assert (fit.factors.user_factors[:, 7] == 1).all()
    assert fit.factors.item_factors[:, 7].any()
    assert fit.history[-1]["loss"] < fit.history[0]["loss"]
    assert fit.history[0][f"share_{mode}"] == 1.0
    assert fit.history[0]["triplets"] == pools.n_positives * 5
    assert fit_bpr(pools, config, seed=1).factors.sha256() == fit.factors.sha256()


@pytest.mark.parametrize(
    ("earlier_bias", "bias"), [(True, False), (False, True), (True, True), (False, False)]
)
def test_a_bias_that_one_model_lacks_is_left_out_of_a_warm_start(earlier_bias, bias):
    earlier = start_factors(4, 3, BprConfig(factors=2, item_bias=earlier_bias), 1, None)
    if earlier_bias:
        earlier.item_factors[:, 2] = 5.0
    warm = WarmStart(earlier, np.ones(4, bool), np.ones(3, bool))
    start = start_factors(4, 3, BprConfig(factors=2, item_bias=bias), 2, warm)
    np.testing.assert_array_equal(start.user_factors[:, :2], earlier.user_factors[:, :2])
    np.testing.assert_array_equal(start.item_factors[:, :2], earlier.item_factors[:, :2])
    if bias:
        assert (start.user_factors[:, 2] == 1).all()
        assert (start.item_factors[:, 2] == (5.0 if earlier_bias else 0.0)).all()


def test_one_more_factor_is_not_taken_for_a_bias():
    earlier = start_factors(4, 3, BprConfig(factors=3), 1, None)
    with pytest.raises(TrainingError, match=r"bpr\.factors"):
        start_factors(4, 3, BprConfig(factors=2), 1, WarmStart(earlier, np.ones(4, bool), np.ones(3, bool)))
