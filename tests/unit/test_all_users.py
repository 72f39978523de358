"""Exact top lists of many users against the definition: every unseen item by its exact score, ties by item_idx."""

from fractions import Fraction

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from item_sets import item_sets

from recsys.cf.data.dataset import UserItemSets
from recsys.cf.scoring import all_users
from recsys.cf.scoring.all_users import ExactSearch
from recsys.errors import DivergedError
from recsys.exact_scores import exact_scores, row_norms, score_error


def by_definition(U, V, seen, user, k):
    scores = exact_scores(U[user], V)
    unseen = np.setdiff1d(np.arange(len(V)), seen.row(user))
    best = unseen[np.lexsort((unseen, -scores[unseen]))][:k]
    padding = k - len(best)
    items = np.concatenate([best, np.full(padding, -1)])
    return items.tolist(), [*scores[best].tolist(), *[None] * padding]


def found(U, V, seen, k, users=None):
    users = np.arange(len(U), dtype=np.int32) if users is None else np.asarray(users, dtype=np.int32)
    blocks = list(ExactSearch(V).lists(U, users, seen, k))
    items = np.concatenate([block.items for block in blocks])
    scores = np.concatenate([block.scores for block in blocks])
    assert items.dtype == np.int32
    assert scores.dtype == np.float32
    return items, scores


def assert_as_defined(U, V, seen, k):
    items, scores = found(U, V, seen, k)
    for user in range(len(U)):
        told = [None if np.isnan(score) else score for score in scores[user].tolist()]
        assert (items[user].tolist(), told) == by_definition(U, V, seen, user, k), user


def random_seen(rng, n_users, n_items, most):
    rows = [rng.choice(n_items, rng.integers(0, most + 1), replace=False).tolist() for _ in range(n_users)]
    return item_sets(rows)


@given(
    seed=st.integers(0, 2**32 - 1),
    n_users=st.integers(1, 140),
    n_items=st.integers(1, 300),
    n_factors=st.integers(1, 9),
    k=st.integers(1, 60),
    kind=st.sampled_from(["normal", "few values", "mostly zero"]),
)
def test_lists_are_what_the_definition_says(seed, n_users, n_items, n_factors, k, kind):
    rng = np.random.default_rng(seed)
    U, V = (rng.standard_normal((n, n_factors)).astype(np.float32) for n in (n_users, n_items))
    if kind != "normal":  # ties everywhere
        U, V = np.round(U), np.round(V)
    if kind == "mostly zero":
        U[rng.random(n_users) < 0.5] = 0
        V[rng.random(n_items) < 0.9] = 0
    assert_as_defined(U, V, random_seen(rng, n_users, n_items, min(n_items, 20)), k)


@pytest.mark.parametrize("k", [1, 10, 33, 400])
def test_lists_over_several_tiles_of_items(monkeypatch, k):
    monkeypatch.setattr(all_users, "TILE_ITEMS", 128)
    rng = np.random.default_rng(k)
    U, V = (rng.standard_normal((n, 16)).astype(np.float32) for n in (150, 1000))
    assert_as_defined(U, V, random_seen(rng, 150, 1000, 700), k)


def test_nearly_equal_scores_are_ordered_by_the_exact_one():
    # 300 items whose scores differ in the last bits alone: a float32 product would order them at random
    rng = np.random.default_rng(0)
    base = rng.standard_normal(64).astype(np.float32)
    V = np.repeat(base[np.newaxis], 300, axis=0)
    V[np.arange(300), rng.integers(0, 64, 300)] *= np.float32(1 + 2**-20)
    assert_as_defined(rng.standard_normal((130, 64)).astype(np.float32), V, item_sets([[]] * 130), 10)


def test_lists_depend_neither_on_threads_nor_on_the_users_asked_for_together():
    rng = np.random.default_rng(2)
    U, V = (rng.standard_normal((n, 32)).astype(np.float32) for n in (1500, 5000))
    seen = random_seen(rng, 1500, 5000, 30)
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        items, scores = found(U, V, seen, 10)
        numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
        again, same = found(U, V, seen, 10)
        users = rng.permutation(1500)[:777]
        some, theirs = found(U, V, seen, 10, users)
    finally:
        numba.set_num_threads(before)
    assert items.tobytes() == again.tobytes()
    assert scores.tobytes() == same.tobytes()
    assert items[users].tobytes() == some.tobytes()
    assert scores[users].tobytes() == theirs.tobytes()


def test_a_user_who_has_seen_everything_gets_nothing():
    items, scores = found(np.ones((1, 2), np.float32), np.ones((3, 2), np.float32), item_sets([[0, 1, 2]]), 2)
    assert items.tolist() == [[-1, -1]]
    assert np.isnan(scores).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, 3e38])
def test_unusable_factors_are_an_error_that_names_the_row(bad):
    good, rotten = np.ones((3, 2), np.float32), np.ones((3, 2), np.float32)
    rotten[1, 0] = bad
    seen = item_sets([[]] * 3)
    with pytest.raises(DivergedError, match="user_idx 1"):
        found(rotten, good * 2, seen, 1)
    if not np.isfinite(bad):
        with pytest.raises(DivergedError, match="item_idx 1"):
            found(good, rotten, seen, 1)


def test_k_below_one_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        found(np.ones((1, 2), np.float32), np.ones((3, 2), np.float32), item_sets([[]]), 0)


@given(seed=st.integers(0, 2**32 - 1), n_factors=st.integers(1, 200), spread=st.integers(0, 30))
def test_no_float32_product_is_further_from_the_exact_score_than_the_bound(seed, n_factors, spread):
    rng = np.random.default_rng(seed)
    u, V = rng.standard_normal(n_factors), rng.standard_normal((7, n_factors))
    u, V = (m * 10.0 ** rng.integers(-spread, 5, m.shape) for m in (u, V))
    u, V = u.astype(np.float32), V.astype(np.float32)
    error = score_error(n_factors, row_norms(u[np.newaxis]), float(row_norms(V).max()))[0]
    exact = exact_scores(u, V).astype(np.float64)
    assert (np.abs((V @ u).astype(np.float64) - exact) <= error).all()
    truth = [
        float(sum(Fraction(float(a)) * Fraction(float(b)) for a, b in zip(u, v, strict=True))) for v in V
    ]
    np.testing.assert_allclose(exact, truth, rtol=0, atol=error)


def test_a_negative_zero_is_no_score():
    zero = exact_scores(np.zeros(3, np.float32), -np.ones((1, 3), np.float32))
    assert not np.signbit(zero).any()


def test_seen_sets_may_be_memory_mapped(tmp_path):
    rng = np.random.default_rng(3)
    U, V = (rng.standard_normal((n, 4)).astype(np.float32) for n in (200, 50))
    seen = random_seen(rng, 200, 50, 10)
    for name, array in {"U": U, "V": V, "indptr": seen.indptr, "indices": seen.indices}.items():
        np.save(tmp_path / name, array)
    mapped = {path.stem: np.load(path, mmap_mode="r") for path in tmp_path.iterdir()}
    sets = UserItemSets(mapped["indptr"], mapped["indices"])
    for ours, theirs in zip(found(U, V, seen, 5), found(mapped["U"], mapped["V"], sets, 5), strict=True):
        assert ours.tobytes() == theirs.tobytes()
