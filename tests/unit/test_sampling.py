"""The sampler against the distribution of the specification."""

import numpy as np
import pytest
from scipy import stats
from scipy.sparse import csr_matrix
from shops import pools_of, random_positives

from recsys.cf.sampling.adaptive import draw_adaptive
from recsys.cf.sampling.dual import ADAPTIVE, KINDS, MODES, NO_NEGATIVE, draw_negatives
from recsys.cf.sampling.pools import alias_table
from recsys.errors import EmptyDataError

EXPLICIT, IMPLICIT, POPULARITY, UNIFORM = range(4)


def draw(pools, mode, samples=200, key=1, ratio=0.3):
    negatives, kinds, _ = draw_negatives(pools, mode=mode, hard_ratio=ratio, samples=samples, key=key)
    users = np.repeat(pools.positive_users, samples)
    return users, negatives, kinds


@pytest.mark.parametrize("mode", MODES)
def test_no_negative_was_seen_but_explicit_ones(mode):
    positives = random_positives(40, 30, 6, seed=1)
    explicit = [[(u * 7) % 30] if (u * 7) % 30 not in positives[u].indices else [] for u in range(40)]
    implicit = [[i for i in (0, 1, 2) if i not in positives[u].indices] for u in range(40)]
    pools = pools_of(positives, explicit, implicit)
    users, negatives, kinds = draw(pools, mode)
    dense = positives.toarray()
    assert not dense[users, negatives].any(), "a positive was drawn as a negative"
    by_chance = kinds >= POPULARITY
    assert not any(j in pools.seen[u] for u, j in zip(users[by_chance], negatives[by_chance], strict=True))
    for u, j, kind in zip(users, negatives, kinds, strict=True):
        if kind == EXPLICIT:
            assert j in pools.explicit[u]
        if kind == IMPLICIT:
            assert j in pools.implicit[u]


def test_hard_mixed_shares_are_15_15_70():
    positives = csr_matrix(np.eye(50, 60, dtype=np.float32))
    pools = pools_of(positives, [[50 + u % 10] for u in range(50)], [[(u + 1) % 50] for u in range(50)])
    _, _, kinds = draw(pools, "hard_mixed", samples=2000)
    counts = draw_negatives(pools, mode="hard_mixed", hard_ratio=0.3, samples=2000, key=1).counts
    assert (counts == np.bincount(kinds, minlength=len(KINDS))).all()
    shares = counts / len(kinds)
    assert shares == pytest.approx([0.15, 0.15, 0.0, 0.70, 0.0], abs=0.005)


@pytest.mark.parametrize("mode", ["hard_mixed", "hard_merged"])
def test_a_missing_kind_gives_its_share_to_the_other_and_none_to_popularity(mode):
    positives = csr_matrix(np.eye(3, 20, dtype=np.float32))
    pools = pools_of(positives, [[10, 11], [], []], [[], [12], []])
    users, _, kinds = draw(pools, mode, samples=20_000)
    for user, hard_kind in ((0, EXPLICIT), (1, IMPLICIT), (2, POPULARITY)):
        drawn = np.bincount(kinds[users == user], minlength=len(KINDS)) / 20_000
        assert drawn[hard_kind] == pytest.approx(0.3, abs=0.015)
        assert drawn[UNIFORM] == pytest.approx(0.7, abs=0.015)


def test_hard_merged_draws_uniformly_from_the_union():
    positives = csr_matrix(np.eye(1, 20, dtype=np.float32))
    pools = pools_of(positives, [[10]], [[11, 12, 13]])
    _, negatives, kinds = draw(pools, "hard_merged", samples=40_000)
    hard = negatives[kinds <= IMPLICIT]
    counts = np.bincount(hard, minlength=20)[10:14]
    assert stats.chisquare(counts).pvalue > 1e-4


def test_uniform_draws_are_uniform_over_unseen_items():
    positives = csr_matrix(np.array([[1, 0, 1, 0, 0, 0, 0, 0]], dtype=np.float32))
    _, negatives, _ = draw(pools_of(positives), "uniform", samples=60_000)
    counts = np.bincount(negatives, minlength=8)
    assert counts[[0, 2]].sum() == 0
    assert stats.chisquare(counts[[1, 3, 4, 5, 6, 7]]).pvalue > 1e-4


def test_popularity_draws_follow_the_weights():
    positives = random_positives(300, 12, 4, seed=2)
    lonely = csr_matrix(np.eye(1, 13, 12, dtype=np.float32))  # its only item is one that nobody else has
    matrix = csr_matrix(np.vstack([np.pad(positives.toarray(), ((0, 0), (0, 1))), lonely.toarray()]))
    pools = pools_of(matrix)
    users, negatives, _ = draw(pools, "popularity", samples=50_000)
    mine = negatives[users == matrix.shape[0] - 1]
    weights = np.log1p(np.bincount(matrix.indices, minlength=13))[:12]
    observed = np.bincount(mine, minlength=13)[:12]
    assert stats.chisquare(observed, weights / weights.sum() * len(mine)).pvalue > 1e-4


def test_a_user_who_saw_everything_gets_no_negative():
    positives = csr_matrix(np.array([[1, 1, 1], [1, 0, 0]], dtype=np.float32))
    users, negatives, _ = draw(pools_of(positives), "uniform", samples=50)
    assert (negatives[users == 0] == NO_NEGATIVE).all()
    assert (negatives[users == 1] != NO_NEGATIVE).all()


def test_a_user_with_one_unseen_item_gets_it():
    row = np.ones((1, 500), dtype=np.float32)
    row[0, 321] = 0
    _, negatives, _ = draw(pools_of(csr_matrix(row)), "uniform", samples=3)
    assert (negatives == 321).all()


def test_draws_depend_on_the_key_alone():
    pools = pools_of(random_positives(50, 40, 5, seed=3))
    first = draw(pools, "uniform", samples=5, key=7)[1]
    assert (first == draw(pools, "uniform", samples=5, key=7)[1]).all()
    assert (first != draw(pools, "uniform", samples=5, key=8)[1]).any()


def test_adaptive_takes_the_best_scored_of_the_unseen_candidates():
    positives = random_positives(40, 30, 6, seed=1)
    pools = pools_of(positives)
    random = np.random.default_rng(0)
    U, V = (random.normal(size=(n, 5)).astype(np.float32) for n in (40, 30))
    # so many candidates that every unseen item is among them: the best of all
    negatives, kinds, _ = draw_adaptive(pools, U, V, candidates=250, samples=3, key=1)
    scores = U @ V.T
    scores[positives.toarray() > 0] = -np.inf
    assert (negatives == np.repeat(scores.argmax(axis=1)[pools.positive_users], 3)).mean() > 0.99
    assert (kinds == ADAPTIVE).all()


def test_adaptive_with_few_candidates_prefers_better_ones_and_never_seen_ones():
    positives = random_positives(60, 30, 6, seed=1)
    pools = pools_of(positives)
    U, V = np.ones((60, 1), np.float32), np.arange(30, dtype=np.float32)[:, None]
    negatives, _, _ = draw_adaptive(pools, U, V, candidates=4, samples=200, key=1)
    users = np.repeat(pools.positive_users, 200)
    assert not positives.toarray()[users, negatives].any()
    for user in range(0, 60, 7):
        unseen = np.setdiff1d(np.arange(30), pools.seen.row(user))
        places = np.searchsorted(unseen, negatives[users == user])
        n = len(unseen)
        expected = np.diff((np.arange(n + 1) / n) ** 4)  # of the largest of four uniform draws
        observed = np.bincount(places, minlength=n)
        tail = observed[n // 2 :], expected[n // 2 :] / expected[n // 2 :].sum() * observed[n // 2 :].sum()
        assert stats.chisquare(*tail).pvalue > 1e-4
        assert observed[n // 2 :].sum() / observed.sum() > 0.85
    everything = pools_of(csr_matrix(np.ones((1, 4), dtype=np.float32)))
    assert (draw_adaptive(everything, U, V, candidates=2, samples=2, key=1)[0] == NO_NEGATIVE).all()


def test_alias_table_represents_the_weights_exactly():
    weights = np.array([0.0, 1.0, 5.0, 0.5, 3.5])
    threshold, alias = alias_table(weights)
    probability = np.zeros(5)
    for slot in range(5):
        probability[slot] += threshold[slot] / 5
        probability[alias[slot]] += (1 - threshold[slot]) / 5
    assert probability == pytest.approx(weights / weights.sum(), abs=1e-6)


def test_no_positives_is_an_error_that_says_so():
    with pytest.raises(EmptyDataError, match="no positive"):
        pools_of(csr_matrix((3, 4), dtype=np.float32))
