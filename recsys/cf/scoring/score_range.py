"""Where the scores of a model lie over items unseen in train, streamed block by block."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from recsys.cf.data.dataset import UserItemSets
from recsys.cf.scoring.blocks import Scorer
from recsys.cf.scoring.ranks import unseen_scores
from recsys.cf.scoring.user_sample import sample_users, users_within
from recsys.cf.scoring.walk import walk
from recsys.errors import DivergedError, TrainingError
from recsys.types import IndexVector, ScoreRange

Method = Literal["validation_set", "test_set"]

HISTOGRAM_BARS = 50
# Percentiles beyond the exact limit come from this many equal bins between minimum and maximum; their error
# is at most one bin, (max - min) / 250,000.
_FINE_BINS = HISTOGRAM_BARS * 5_000
_CHUNK = 1 << 20


@dataclass(frozen=True)
class ScoreDistribution:
    """The range of the scores and a histogram for people: 50 bars of equal width from min to max."""

    score_range: ScoreRange
    edges: NDArray[np.float64]  # (51,)
    counts: NDArray[np.int64]  # (50,)


def measure_score_range(
    scorer: Scorer,
    users: IndexVector,
    seen: UserItemSets,
    *,
    method: Method,
    block_users: int,
    max_exact_samples: int,
    max_scores: int | None = None,
    seed: int = 0,
) -> ScoreRange:
    """Return the range alone, see ``measure_score_distribution``."""
    return measure_score_distribution(
        scorer,
        users,
        seen,
        method=method,
        block_users=block_users,
        max_exact_samples=max_exact_samples,
        max_scores=max_scores,
        seed=seed,
    ).score_range


def measure_score_distribution(
    scorer: Scorer,
    users: IndexVector,
    seen: UserItemSets,
    *,
    method: Method,
    block_users: int,
    max_exact_samples: int,
    max_scores: int | None = None,
    seed: int = 0,
) -> ScoreDistribution:
    """Return range, moments and percentiles of the scores of these users over the items they have not seen.

    Args:
        scorer: Gives the scores.
        users: int32, the users to score, distinct.
        seen: Items per user_idx that are left out.
        method: Whose users they are, recorded in the range.
        block_users: Users scored at a time, bounds the memory; see ``walk``.
        max_exact_samples: Up to so many scores all are held (4 bytes each) and percentiles are exact, linear
            between neighbours; beyond, the users are scored twice and percentiles come from a histogram of
            250,000 bins, with an error of at most (max - min) / 250,000.
        max_scores: Where users times items are more, a sample of users is scored that keeps below it, 2,000 users
            at least; the range says so. None: all users.
        seed: Draws that sample.

    Returns:
        The distribution; ``std`` is that of the population.

    Raises:
        DivergedError: Some score is NaN or infinite.
        TrainingError: No score at all, or p01 equals p99 so that nothing can be normalised.

    Notes:
        Deterministic at any number of threads and ``block_users``; moments are summed in float64, in the
        order of ``users``. O(len(users) x n_items).
    """
    everybody = len(users)
    if max_scores is not None:
        users = sample_users(users, users_within(scorer.n_items, max_scores), seed)
    n_unseen = scorer.n_items - seen.counts()[users]
    n_samples = int(n_unseen.sum())
    if n_samples == 0:
        raise TrainingError(
            f"score range: no scores to measure, {len(users)} users in the {method.replace('_', ' ')} and "
            f"{scorer.n_items} items, none unseen; prepare a data version with held-out users"
        )
    moments = _Moments()
    exact = n_samples <= max_exact_samples
    samples = np.empty(n_samples if exact else 0, dtype=np.float32)

    first_sample = np.zeros(len(seen), dtype=np.int64)
    first_sample[users] = np.cumsum(n_unseen) - n_unseen

    def unseen(tile: IndexVector) -> NDArray[np.float32]:
        return unseen_scores(scorer.scores(tile), tile, seen)

    def look(tile: IndexVector) -> _Moments:
        values = unseen(tile)
        if exact:
            start = first_sample[tile[0]]
            samples[start : start + len(values)] = values
        return _moments_of(values)

    for found in walk(users, look, block_users=block_users):
        moments.add(found)
    low, high = moments.low, moments.high
    if high == low:
        raise _degenerate(method, low, high, n_samples)
    if exact:
        fine = _histogram(samples, low, high)
        p01, p50, p99 = _exact_quantiles(samples, (0.01, 0.5, 0.99))
    else:
        fine = np.zeros(_FINE_BINS, dtype=np.int64)
        for counts in walk(users, lambda tile: _histogram(unseen(tile), low, high), block_users=block_users):
            fine += counts
        p01, p50, p99 = _binned_quantiles(fine, low, high, (0.01, 0.5, 0.99))
    if p01 >= p99:
        raise _degenerate(method, p01, p99, n_samples)
    return ScoreDistribution(
        ScoreRange(
            f"{method}_sample" if len(users) < everybody else method,
            *(low, high, moments.mean, moments.std, p01, p50, p99, n_samples),
            *((len(users), everybody) if len(users) < everybody else ()),
        ),
        edges=np.linspace(low, high, HISTOGRAM_BARS + 1),
        counts=fine.reshape(HISTOGRAM_BARS, -1).sum(axis=1),
    )


def _degenerate(method: str, p01: float, p99: float, n_samples: int) -> TrainingError:
    return TrainingError(
        f"score range: of {n_samples} scores of the {method.replace('_', ' ')} the middle 98 % lie at one "
        f"value ({p01:g} to {p99:g}), so scores cannot be normalised; the model learned nothing: lower its "
        "regularization or train longer"
    )


@dataclass
class _Moments:
    """Count, extremes, mean and sum of squared deviations, merged block by block (Chan et al. 1983)."""

    n: int = 0
    low: float = math.inf
    high: float = -math.inf
    mean: float = 0.0
    squares: float = 0.0

    @property
    def std(self) -> float:
        return math.sqrt(self.squares / self.n)

    def add(self, other: "_Moments") -> None:
        if not other.n:
            return
        n = self.n + other.n
        self.squares += other.squares + (other.mean - self.mean) ** 2 * self.n * other.n / n
        self.mean += (other.mean - self.mean) * other.n / n
        self.n, self.low, self.high = n, min(self.low, other.low), max(self.high, other.high)


def _moments_of(values: NDArray[np.float32]) -> _Moments:
    if not len(values):
        return _Moments()
    low, high = float(values.min()), float(values.max())
    if not math.isfinite(low + high):
        raise DivergedError(
            f"score range: NaN or infinite scores (seen {low:g} to {high:g}); the factors are unusable: "
            "train again with a lower learning rate or alpha, or a higher regularization"
        )
    deviations = values.astype(np.float64)
    mean = float(deviations.mean())
    deviations -= mean
    return _Moments(len(values), low, high, mean, float(np.square(deviations, out=deviations).sum()))


def _histogram(values: NDArray[np.float32], low: float, high: float) -> NDArray[np.int64]:
    """Return the counts of ``_FINE_BINS`` equal bins over [low, high]."""
    counts = np.zeros(_FINE_BINS, dtype=np.int64)
    for start in range(0, len(values), _CHUNK):
        shifted = values[start : start + _CHUNK].astype(np.float64) - low
        bins = np.minimum((shifted * (_FINE_BINS / (high - low))).astype(np.int64), _FINE_BINS - 1)
        counts += np.bincount(bins, minlength=_FINE_BINS)
    return counts


def _exact_quantiles(samples: NDArray[np.float32], shares: tuple[float, ...]) -> list[float]:
    """Return quantiles, linear between neighbours, in float64; reorders ``samples``."""
    positions = [share * (len(samples) - 1) for share in shares]
    neighbours = {index for position in positions for index in (math.floor(position), math.ceil(position))}
    samples.partition(sorted(neighbours))
    quantiles = []
    for position in positions:
        below, above = float(samples[math.floor(position)]), float(samples[math.ceil(position)])
        quantiles.append(below + (above - below) * (position - math.floor(position)))
    return quantiles


def _binned_quantiles(
    counts: NDArray[np.int64], low: float, high: float, shares: tuple[float, ...]
) -> list[float]:
    """Return quantiles as the middle of the bin that holds the sample of that rank."""
    cumulative = np.cumsum(counts)
    ranks = [math.floor(share * (int(cumulative[-1]) - 1)) for share in shares]
    bins = np.searchsorted(cumulative, ranks, side="right")
    return [low + (high - low) * (int(index) + 0.5) / len(counts) for index in bins]
