"""The parallel kernel against plain sequential gradient steps, and its schedule against the laws it promises."""

import itertools

import numba as nb
import numpy as np
import pytest
from shops import pools_of, random_positives

from recsys.cf.models.bpr_kernel import (
    HARDNESS,
    LOSS,
    ORDERED,
    Regularization,
    aligned_copy,
    balanced_blocks,
    largest_magnitude,
    run_epoch,
    schedule_epoch,
    tournament,
)
from recsys.cf.sampling.dual import draw_negatives

REG = Regularization(user=0.01, positive=0.02, negative=0.05)


def make_schedule(n_workers=4, samples=3, seed=0, n_users=60, n_items=40):
    pools = pools_of(random_positives(n_users, n_items, 8, seed))
    negatives, _, _ = draw_negatives(pools, mode="uniform", hard_ratio=0.0, samples=samples, key=seed)
    random = np.random.default_rng(seed)
    user_block = balanced_blocks(np.ones(n_users), n_workers, random)
    item_block = balanced_blocks(pools.item_weight, 2 * n_workers, random)
    schedule = schedule_epoch(
        pools.positive_users, pools.positive_items, negatives, user_block, item_block, n_workers
    )
    drawn = np.column_stack(
        [np.repeat(pools.positive_users, samples), np.repeat(pools.positive_items, samples), negatives]
    )
    return schedule, drawn, n_users, n_items


def random_factors(n_users, n_items, factors, seed=5):
    random = np.random.default_rng(seed)
    return tuple(random.normal(0, 0.3, (n, factors)).astype(np.float32) for n in (n_users, n_items))


def sequential_sgd(U, V, triplets, lr, reg, bias_column=None):
    """Plain BPR steps in float64, one triplet after the other (Rendle et al. 2009, figure 4)."""
    U, V = U.astype(np.float64), V.astype(np.float64)
    loss = hardness = ordered = 0.0
    for u, i, j in triplets:
        x = U[u] @ (V[i] - V[j])
        g = 1.0 / (1.0 + np.exp(x))
        loss += np.log1p(np.exp(-x))
        hardness += g
        ordered += x > 0
        old_u, old_i, old_j = U[u].copy(), V[i].copy(), V[j].copy()
        U[u] += lr * (g * (old_i - old_j) - reg.user * old_u)
        V[i] += lr * (g * old_u - reg.positive * old_i)
        V[j] += lr * (-g * old_u - reg.negative * old_j)
        if bias_column is not None:
            U[u, bias_column] = 1.0
    return U, V, (loss, hardness, ordered)


@pytest.mark.parametrize("factors", [1, 7, 32, 50, 64])
def test_epoch_equals_sequential_steps_on_the_same_triplets(factors):
    schedule, _, n_users, n_items = make_schedule()
    U0, V0 = random_factors(n_users, n_items, factors)
    U, V = aligned_copy(U0), aligned_copy(V0)
    sums = run_epoch(U, V, schedule, 0.05, REG)
    U_slow, V_slow, (loss, hardness, ordered) = sequential_sgd(U0, V0, schedule.triplets, 0.05, REG)
    np.testing.assert_allclose(U[:, :factors], U_slow, atol=2e-5)
    np.testing.assert_allclose(V[:, :factors], V_slow, atol=2e-5)
    assert not U[:, factors:].any(), "the padding must stay zero"
    assert not V[:, factors:].any()
    assert sums[LOSS] == pytest.approx(loss, rel=1e-4)
    assert sums[HARDNESS] == pytest.approx(hardness, rel=1e-4)
    assert sums[ORDERED] == ordered


def test_item_bias_is_a_column_against_a_constant_one():
    schedule, _, n_users, n_items = make_schedule()
    U0, V0 = random_factors(n_users, n_items, 6)
    U0[:, 5] = 1.0
    U, V = aligned_copy(U0), aligned_copy(V0)
    run_epoch(U, V, schedule, 0.05, REG, bias_column=5)
    U_slow, V_slow, _ = sequential_sgd(U0, V0, schedule.triplets, 0.05, REG, bias_column=5)
    assert (U[:, 5] == 1.0).all()
    np.testing.assert_allclose(V[:, :6], V_slow, atol=2e-5)
    np.testing.assert_allclose(U[:, :6], U_slow, atol=2e-5)


def test_loss_is_right_for_extreme_margins():
    schedule, _, n_users, n_items = make_schedule()
    U0, V0 = (matrix * 4 for matrix in random_factors(n_users, n_items, 16))
    sums = run_epoch(aligned_copy(U0), aligned_copy(V0), schedule, 0.0, Regularization(0, 0, 0))
    u, i, j = schedule.triplets.T
    x = np.einsum("tf,tf->t", U0[u].astype(np.float64), (V0[i] - V0[j]).astype(np.float64))
    assert np.abs(x).max() > 20
    assert sums[LOSS] == pytest.approx(np.logaddexp(0, -x).sum(), rel=1e-4)


def test_same_bytes_at_any_number_of_threads():
    results = []
    available = nb.config.NUMBA_NUM_THREADS
    for threads in {1, min(2, available), available}:
        nb.set_num_threads(threads)
        schedule, _, n_users, n_items = make_schedule(n_users=500, n_items=120, n_workers=8)
        U, V = (aligned_copy(matrix) for matrix in random_factors(n_users, n_items, 24))
        sums = run_epoch(U, V, schedule, 0.05, REG)
        results.append((U.tobytes(), V.tobytes(), sums.tobytes()))
    nb.set_num_threads(available)
    assert len(set(results)) == 1


@pytest.mark.parametrize("n_workers", [1, 2, 3, 8])
def test_tournament_pairs_every_two_blocks_once_and_nobody_twice_at_a_time(n_workers):
    n_blocks = 2 * n_workers
    table = tournament(n_workers)
    for pairing in range(n_blocks - 1):
        pairs = [(a, b) for a, b in itertools.combinations(range(n_blocks), 2) if table[a, b, 0] == pairing]
        assert sorted(block for pair in pairs for block in pair) == list(range(n_blocks))
        assert len({table[a, b, 1] for a, b in pairs}) == n_workers
    for a in range(n_blocks):
        assert table[a, a, 0] == 0
        partner = next(b for b in range(n_blocks) if b != a and table[a, b, 0] == 0)
        assert table[a, a, 1] == table[a, partner, 1]


@pytest.mark.parametrize(("n_workers", "seed"), [(1, 0), (3, 1), (8, 2)])
def test_schedule_keeps_every_triplet_and_rounds_share_no_row(n_workers, seed):
    schedule, drawn, _, _ = make_schedule(n_workers=n_workers, seed=seed)
    assert sorted(map(tuple, schedule.triplets)) == sorted(map(tuple, drawn))
    for first in range(0, len(schedule.start) - 1, n_workers):
        slots = [
            schedule.triplets[schedule.start[first + w] : schedule.start[first + w + 1]]
            for w in range(n_workers)
        ]
        for a, b in itertools.combinations(slots, 2):
            assert not set(a[:, 0]) & set(b[:, 0]), "two workers of a round share a user"
            assert not set(a[:, 1:].ravel()) & set(b[:, 1:].ravel()), "two workers of a round share an item"


def test_missing_negatives_are_left_out():
    pools = pools_of(random_positives(20, 10, 3, seed=4))
    negatives, _, _ = draw_negatives(pools, mode="uniform", hard_ratio=0.0, samples=2, key=1)
    negatives[::3] = -1
    random = np.random.default_rng(0)
    blocks = balanced_blocks(np.ones(20), 2, random), balanced_blocks(np.ones(10), 4, random)
    schedule = schedule_epoch(pools.positive_users, pools.positive_items, negatives, *blocks, 2)
    assert len(schedule.triplets) == (negatives >= 0).sum()


def test_blocks_are_balanced_by_weight():
    weights = 1.0 / np.arange(1, 2001)
    block = balanced_blocks(weights, 4, np.random.default_rng(0))
    totals = np.bincount(block, weights=weights, minlength=4)
    assert totals.max() - totals.min() <= 2 * weights.max()


def test_rows_are_aligned_and_padded():
    for columns in (1, 31, 32, 33, 64, 100):
        copy = aligned_copy(np.ones((5, columns), dtype=np.float32))
        assert copy.ctypes.data % 128 == 0
        assert copy.strides[0] % 128 == 0
        assert (copy[:, :columns] == 1).all()
        assert not copy[:, columns:].any()


@pytest.mark.parametrize("planted", [-7.0, np.inf, -np.inf, np.nan])
def test_largest_magnitude_is_that_of_numpy(planted):
    matrix = np.random.default_rng(0).normal(size=(37, 128)).astype(np.float32)
    assert largest_magnitude(matrix) == np.abs(matrix).max()
    matrix[11, 3] = planted
    np.testing.assert_equal(largest_magnitude(matrix), np.abs(matrix).max())
