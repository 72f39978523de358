"""The shuffled sequence of an epoch holds the triplets of the samplers, whoever draws which part."""

import numpy as np
import pytest
from shops import pools_of, random_positives

from recsys.cf.sampling.adaptive import draw_adaptive
from recsys.cf.sampling.dual import NO_NEGATIVE, draw_negatives
from recsys.cf.sampling.shuffled import Sequence, draw_places, permuted


def some_pools(n_users=60, n_items=40):
    positives = random_positives(n_users, n_items, 8, seed=3)
    random = np.random.default_rng(0)
    explicit = [sorted(random.choice(n_items, size=u % 3, replace=False).tolist()) for u in range(n_users)]
    implicit = [sorted(random.choice(n_items, size=u % 5, replace=False).tolist()) for u in range(n_users)]
    return pools_of(positives, explicit, implicit)


def as_sorted(users, positives, negatives):
    return np.array(sorted(zip(users.tolist(), positives.tolist(), negatives.tolist(), strict=True)))


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 16, 17, 1000, 4097])
def test_permutation_visits_every_place_once(n):
    images = [permuted(np.uint64(7), place, n) for place in range(n)]
    assert sorted(images) == list(range(n))


def test_permutation_looks_random():
    n = 20_000
    images = np.array([permuted(np.uint64(11), place, n) for place in range(n)])
    other = np.array([permuted(np.uint64(12), place, n) for place in range(n)])
    # correlation of a random permutation: standard deviation 1 / sqrt(n) = 0.007
    assert abs(np.corrcoef(images, np.arange(n))[0, 1]) < 0.03
    assert abs(np.corrcoef(images[1:], images[:-1])[0, 1]) < 0.03
    assert abs(np.corrcoef(images, other)[0, 1]) < 0.03


@pytest.mark.parametrize("mode", ["uniform", "popularity", "hard_mixed", "hard_merged"])
def test_whole_sequence_holds_the_sampler_s_triplets(mode):
    pools = some_pools()
    sequence = Sequence(mode, 0.4, samples=5, key=123, order_key=9)
    drawn = draw_places(pools, sequence, 0, pools.n_positives * 5)
    expected = draw_negatives(pools, mode=mode, hard_ratio=0.4, samples=5, key=123)
    positive = np.arange(len(expected.negatives)) // 5
    np.testing.assert_array_equal(
        as_sorted(drawn.users, drawn.positives, drawn.negatives),
        as_sorted(pools.positive_users[positive], pools.positive_items[positive], expected.negatives),
    )
    np.testing.assert_array_equal(drawn.counts, expected.counts)


def test_adaptive_triplets_are_the_sampler_s():
    pools, random = some_pools(), np.random.default_rng(1)
    U, V = (random.normal(size=(n, 8)).astype(np.float32) for n in (pools.n_users, pools.n_items))
    sequence = Sequence("adaptive", 0.0, samples=3, key=5, order_key=6, candidates=4)
    drawn = draw_places(pools, sequence, 0, pools.n_positives * 3, U, V)
    expected = draw_adaptive(pools, U, V, candidates=4, samples=3, key=5)
    positive = np.arange(len(expected.negatives)) // 3
    np.testing.assert_array_equal(
        as_sorted(drawn.users, drawn.positives, drawn.negatives),
        as_sorted(pools.positive_users[positive], pools.positive_items[positive], expected.negatives),
    )


@pytest.mark.parametrize("parts", [2, 3, 7])
def test_parts_of_the_sequence_make_the_whole(parts):
    pools = some_pools()
    sequence = Sequence("hard_mixed", 0.3, samples=2, key=1, order_key=2)
    n = pools.n_positives * 2
    whole = draw_places(pools, sequence, 0, n)
    share = -(-n // parts)
    pieces = [draw_places(pools, sequence, part * share, (part + 1) * share) for part in range(parts)]
    for column in range(3):
        np.testing.assert_array_equal(whole[column], np.concatenate([piece[column] for piece in pieces]))


def test_users_who_saw_everything_have_no_triplet_and_places_beyond_the_end_hold_nothing():
    positives = random_positives(4, 6, 3, seed=1).toarray()
    positives[2] = 1
    from scipy.sparse import csr_matrix

    pools = pools_of(csr_matrix(positives))
    sequence = Sequence("uniform", 0.0, samples=2, key=1, order_key=2)
    drawn = draw_places(pools, sequence, 0, 10**6)
    assert 2 not in drawn.users
    assert (drawn.negatives != NO_NEGATIVE).all()
    assert len(drawn.users) == 2 * (pools.n_positives - 6)
    assert len(draw_places(pools, sequence, 10**6, 10**6 + 5).users) == 0
