import numpy as np
import pytest
from item_sets import item_sets

from recsys.cf.scoring.blocks import FactorScorer, ItemScorer
from recsys.cf.scoring.score_range import measure_score_distribution, measure_score_range
from recsys.errors import DivergedError, TrainingError
from recsys.types import Factors, ScoreRange

N_USERS, N_ITEMS = 90, 70


@pytest.fixture
def shop():
    rng = np.random.default_rng(8)
    factors = Factors(*(rng.standard_normal((n, 4), dtype=np.float32) for n in (N_USERS, N_ITEMS)))
    seen = item_sets([rng.choice(N_ITEMS, user % 7, replace=False).tolist() for user in range(N_USERS)])
    return FactorScorer(factors), np.arange(5, N_USERS, dtype=np.int32), seen


def measure(shop, block_users=32, max_exact_samples=10**6):
    scorer, users, seen = shop
    return measure_score_distribution(
        scorer,
        users,
        seen,
        method="validation_set",
        block_users=block_users,
        max_exact_samples=max_exact_samples,
    )


def all_unseen_scores(shop):
    scorer, users, seen = shop
    scores = scorer.scores(users).astype(np.float64)
    return np.concatenate([np.delete(scores[row], seen.row(user)) for row, user in enumerate(users.tolist())])


def test_exact_range_is_numpy_on_all_scores_at_once(shop):
    found, scores = measure(shop).score_range, all_unseen_scores(shop)
    assert found.method == "validation_set"
    assert found.num_samples == len(scores)
    assert (found.min, found.max) == (scores.min(), scores.max())
    assert [found.p01, found.p50, found.p99] == pytest.approx(np.percentile(scores, [1, 50, 99]), rel=1e-12)
    assert found.mean == pytest.approx(scores.mean(), rel=1e-9)
    assert found.std == pytest.approx(scores.std(), rel=1e-9)


def test_streamed_percentiles_keep_the_documented_error(shop):
    exact, streamed = measure(shop).score_range, measure(shop, max_exact_samples=1000).score_range
    scores = np.sort(all_unseen_scores(shop))
    bin_width = (exact.max - exact.min) / 250_000
    for name, share in (("p01", 0.01), ("p50", 0.5), ("p99", 0.99)):
        # a histogram places the sample of that rank, it does not blend it with the next
        sample = scores[int(share * (len(scores) - 1))]
        assert abs(getattr(streamed, name) - sample) <= bin_width
    assert (streamed.min, streamed.max, streamed.mean, streamed.std) == (
        exact.min,
        exact.max,
        exact.mean,
        exact.std,
    )
    assert streamed.num_samples == exact.num_samples


@pytest.mark.parametrize("max_exact_samples", [1000, 10**6])
def test_the_block_size_does_not_matter(shop, max_exact_samples):
    whole = measure(shop, 1000, max_exact_samples)
    single = measure(shop, 1, max_exact_samples)
    assert np.array_equal(whole.counts, single.counts)
    for name in ("min", "max", "p01", "p50", "p99", "num_samples"):
        assert getattr(whole.score_range, name) == getattr(single.score_range, name)
    assert whole.score_range.mean == pytest.approx(single.score_range.mean, rel=1e-12)
    assert whole.score_range.std == pytest.approx(single.score_range.std, rel=1e-12)


def test_the_bars_count_every_score_once(shop):
    distribution = measure(shop)
    counts, edges = np.histogram(all_unseen_scores(shop), bins=50)
    np.testing.assert_allclose(distribution.edges, edges, rtol=1e-12)
    assert distribution.counts.sum() == counts.sum()
    # a score within rounding of an edge may fall on either side
    assert np.abs(distribution.counts - counts).sum() <= 4


def test_normalize_maps_the_middle_to_the_unit_interval_and_survives_json(shop):
    score_range = measure(shop).score_range
    ends = np.array([score_range.min, score_range.p01, score_range.p99, score_range.max])
    assert score_range.normalize(ends).tolist() == [0, 0, 1, 1]
    assert ScoreRange.from_json(score_range.to_json()) == score_range


def measure_items(*scores, seen=(), n_users=1):
    return measure_score_range(
        ItemScorer(np.array(scores, dtype=np.float32)),
        np.arange(n_users, dtype=np.int32),
        item_sets([list(seen)] * n_users),
        method="test_set",
        block_users=8,
        max_exact_samples=1000,
    )


def test_seen_items_are_left_out():
    assert measure_items(1, 2, 3, 100, seen=[3]).max == 3


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_an_error(bad):
    with pytest.raises(DivergedError, match="NaN or infinite"):
        measure_items(1, bad, 2)


@pytest.mark.parametrize(
    ("scores", "seen", "n_users", "message"),
    [
        ((2, 2, 2), (), 3, "cannot be normalised"),
        ((0, *[1] * 998, 2), (), 1, "cannot be normalised"),
        ((1, 2), (0, 1), 3, "no scores"),
        ((1, 2), (), 0, "no scores"),
    ],
)
def test_a_range_without_width_or_samples_is_an_error(scores, seen, n_users, message):
    with pytest.raises(TrainingError, match=message):
        measure_items(*scores, seen=seen, n_users=n_users)
