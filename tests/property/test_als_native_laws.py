"""Laws of the native ALS over random interactions: rows are solved alone, exactly, whatever else is there."""

import numpy as np
from als_reference import dense_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from recsys.cf.models.als_native_sweep import padded, solve_side
from recsys.cf.models.als_objective import Prior, build_objective
from recsys.config.schema import AlsConfig
from recsys.types import Factors

QUICK = settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def problems(draw):
    """Return (interactions, config, item factors): small, of any density, with any setting of the objective."""
    n_users, n_items = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    observed = random.random((n_users, n_items)) < draw(st.sampled_from([0.0, 0.1, 0.4, 1.0]))
    values = random.uniform(1, 40, (n_users, n_items)) * np.where(
        random.random((n_users, n_items)) < 0.8, 1, -1
    )
    config = AlsConfig(
        solver="native",
        factors=draw(st.sampled_from([1, 2, 8, 16, 17, 33])),
        regularization=draw(st.sampled_from([0.01, 1.0, 100.0])),
        regularization_exponent=draw(st.sampled_from([0.0, 0.5, 1.0])),
        unobserved_weight=draw(st.sampled_from([0.01, 0.3, 1.0])),
    )
    V = random.normal(0, 0.5, (n_items, config.factors)).astype(np.float32)
    V[~observed.any(axis=0)] = 0
    return csr_matrix(np.where(observed, values, 0).astype(np.float32)), config, V


def users_of(user_items, config, V, dual_entries=None):
    """Return the users that one half-sweep finds."""
    out = padded(np.zeros((user_items.shape[0], config.factors), np.float32))
    solve_side(
        build_objective(user_items, config).users,
        padded(V),
        out,
        factors=config.factors,
        unobserved_weight=config.unobserved_weight,
        dual_entries=dual_entries,
    )
    return out[:, : config.factors].copy()


@QUICK
@given(problems())
def test_no_other_users_are_better(problem):
    user_items, config, V = problem
    dense = dense_of(user_items, config, prior=Prior())
    found = dense.loss(Factors(users_of(user_items, config, V), V))
    best = dense.loss(Factors(dense.best_users(V).astype(np.float32), V))
    worth = (dense.C * dense.P**2).sum()  # what float32 rounds
    assert found <= best + 2e-6 * worth


@QUICK
@given(problems(), st.integers(0, 2**32 - 1))
def test_the_order_of_users_changes_no_bit_of_any(problem, seed):
    user_items, config, V = problem
    order = np.random.default_rng(seed).permutation(user_items.shape[0])
    shuffled = csr_matrix(user_items[order])
    assert (users_of(shuffled, config, V) == users_of(user_items, config, V)[order]).all()


@QUICK
@given(problems())
def test_equal_users_are_equal_to_the_bit(problem):
    user_items, config, V = problem
    twice = csr_matrix(np.vstack([user_items.toarray(), user_items.toarray()]))
    U = users_of(twice, config, V)
    assert (U[: len(U) // 2] == U[len(U) // 2 :]).all()


@QUICK
@given(problems(), st.sampled_from([1, 2, 7, 16, 24]))
def test_primal_and_dual_agree(problem, dual_entries):
    user_items, config, V = problem
    primal, dual = (users_of(user_items, config, V, entries) for entries in (1, dual_entries))
    scale = max(1.0, float(np.abs(primal).max()))
    np.testing.assert_allclose(dual, primal, rtol=5e-3, atol=5e-4 * scale)
