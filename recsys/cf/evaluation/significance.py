"""How sure a difference between two models on the same users is: paired bootstrap, permutation test, Holm."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.rng import generator
from recsys.types import Json

Vector = NDArray[np.floating]

# Float64 cells of one block of resamples: 32 MB.
_BLOCK_CELLS = 1 << 22
# Relative slack when sums of the same numbers in another order are compared.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Interval:
    """The difference mean(a) - mean(b) with its interval, and both relative to mean(b)."""

    difference: float
    low: float
    high: float
    relative: float | None  # difference / mean(b); None, as both bounds, where mean(b) is 0
    relative_low: float | None
    relative_high: float | None
    level: float
    n_users: int

    def to_json(self) -> Json:
        """Return the fields as a JSON object; an infinite bound becomes null, as JSON has no infinity."""
        return {
            name: None if isinstance(value, float) and math.isinf(value) else value
            for name, value in asdict(self).items()
        }


def paired_bootstrap(a: Vector, b: Vector, *, resamples: int, level: float, seed: int) -> Interval:
    """Return the percentile interval of the mean difference over resampled users (Efron and Tibshirani 1993).

    Args:
        a: A metric per user of one model.
        b: The same metric of the other, same users in the same order.
        resamples: Number of resamples; each draws as many users as there are, with replacement.
        level: Confidence level, such as 0.95.
        seed: Seed of the draws.

    Returns:
        The interval; its relative bounds are infinite where resamples without any success of b reach them.

    Raises:
        ValueError: The vectors differ in length, are empty, or hold NaN or infinities.

    Notes:
        Deterministic. Users with equal pairs of values are drawn together, by one multinomial over the
        distinct pairs: the same distribution, at O(resamples x distinct pairs). Ranking metrics have few:
        10,000 resamples of 26,000 users take about 0.1 s with one held-out item each.
    """
    a, b = _paired(a, b)
    pairs, counts = np.unique(np.column_stack([a, b]), axis=0, return_counts=True)
    random = generator(seed, "bootstrap")
    means = np.empty((resamples, 2))
    step = max(1, _BLOCK_CELLS // len(pairs))
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = random.multinomial(len(a), counts / len(a), size=size)
        # einsum and not @, whose last bits depend on the threads of BLAS
        means[start : start + size] = np.einsum("rp,pm->rm", drawn, pairs) / len(a)
    difference = float(a.mean() - b.mean())
    differences = means[:, 0] - means[:, 1]
    tails = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(differences, tails)
    relative, relative_low, relative_high = None, None, None
    if b.mean() != 0:
        relative = difference / float(b.mean())
        # An order statistic and not a blend of two: some ratios may be infinite.
        ratios = np.quantile(_ratios(differences, means[:, 1]), tails, method="inverted_cdf")
        relative_low, relative_high = float(ratios[0]), float(ratios[1])
    return Interval(difference, float(low), float(high), relative, relative_low, relative_high, level, len(a))


def permutation_test(a: Vector, b: Vector, *, permutations: int, seed: int) -> float:
    """Return the two-sided p-value of mean(a) = mean(b), by random flips of the sign of each difference.

    p = (1 + permutations at least as extreme as observed) / (1 + permutations), so it is never 0 (Phipson
    and Smyth 2010). Users whose difference has the same size are flipped together, by one binomial draw: the
    same distribution. Deterministic; raises ValueError as ``paired_bootstrap`` does.
    """
    a, b = _paired(a, b)
    differences = a - b
    sizes, counts = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    if not len(sizes):
        return 1.0
    observed = abs(float(differences.sum())) - _ROUNDING * float(sizes @ counts)
    random = generator(seed, "permutation")
    n_extreme = 0
    step = max(1, _BLOCK_CELLS // len(sizes))
    for start in range(0, permutations, step):
        n_positive = random.binomial(counts, 0.5, size=(min(step, permutations - start), len(sizes)))
        n_extreme += int((np.abs((2 * n_positive - counts) @ sizes) >= observed).sum())
    return (1 + n_extreme) / (1 + permutations)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values adjusted for their number by Holm's step-down method (1979), in the given order."""
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for n_smaller, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        running = max(running, min(1.0, (len(p_values) - n_smaller) * p_values[index]))
        adjusted[index] = running
    return adjusted


def _ratios(differences: NDArray[np.float64], b_means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return differences / b_means; where b is 0, infinite with the sign of the difference, or 0."""
    zero = b_means == 0
    unbounded = np.where(differences == 0, 0.0, np.copysign(np.inf, differences))
    return np.where(zero, unbounded, differences / np.where(zero, 1.0, b_means))


def _paired(a: Vector, b: Vector) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if len(a) != len(b) or not len(a):
        raise ValueError(f"paired values of the same users are needed, got {len(a)} and {len(b)}")
    pairs = np.column_stack([a, b]).astype(np.float64)
    if not np.isfinite(pairs).all():
        raise ValueError("paired values must be finite")
    return pairs[:, 0], pairs[:, 1]
