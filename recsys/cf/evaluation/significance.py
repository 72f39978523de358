"""How sure a difference between two models on the same users is: bootstrap, permutation test, Holm, power."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from recsys.cf.sampling.counter import hash_bits, index_below
from recsys.rng import derive_seed
from recsys.types import Json

Vector = NDArray[np.floating]

POWER = 0.8  # chance of seeing a difference of the smallest detectable size, by convention
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
        Deterministic at any number of threads. O(resamples x users): 10,000 resamples of 26,000 users take
        0.4 s on one core.
    """
    a, b = _paired(a, b)
    means = _resampled_means(np.column_stack([a, b]), np.uint64(derive_seed(seed, "bootstrap")), resamples)
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
    and Smyth 2010). Deterministic at any number of threads; raises ValueError as ``paired_bootstrap`` does.
    """
    a, b = _paired(a, b)
    differences = a - b
    differences = differences[differences != 0]
    if not len(differences):
        return 1.0
    slack = _ROUNDING * float(np.abs(differences).sum())
    sums = _flipped_sums(differences, np.uint64(derive_seed(seed, "permutation")), permutations)
    n_extreme = int((np.abs(sums) >= abs(float(differences.sum())) - slack).sum())
    return (1 + n_extreme) / (1 + permutations)


def smallest_detectable(a: Vector, b: Vector, *, level: float) -> float:
    """Return the smallest true difference of the means that these users would show in 80 % of the nights.

    (z of the level + z of the power) x standard error of the paired difference: a smaller difference may
    well exist without the interval leaving 0 (Cohen 1988). 0 where all differences are equal; raises
    ValueError as ``paired_bootstrap`` does.
    """
    a, b = _paired(a, b)
    normal = NormalDist()
    z = normal.inv_cdf((1 + level) / 2) + normal.inv_cdf(POWER)
    return z * float((a - b).std()) / math.sqrt(len(a))


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


@njit(parallel=True, cache=True)
def _resampled_means(pairs: NDArray[np.float64], key: np.uint64, resamples: int) -> NDArray[np.float64]:
    """Return the mean pair of every resample, float64 (resamples, 2); draws depend on their number alone."""
    n = len(pairs)
    means = np.empty((resamples, 2))
    for resample in prange(resamples):
        first = np.uint64(resample) * np.uint64(n)
        total_a, total_b = 0.0, 0.0
        for draw in range(n):
            user = index_below(hash_bits(key, first + np.uint64(draw)), n)
            total_a += pairs[user, 0]
            total_b += pairs[user, 1]
        means[resample, 0] = total_a / n
        means[resample, 1] = total_b / n
    return means


@njit(parallel=True, cache=True)
def _flipped_sums(differences: NDArray[np.float64], key: np.uint64, permutations: int) -> NDArray[np.float64]:
    """Return the sum of the differences under random signs, for every permutation; 64 signs from one draw."""
    n_words = np.uint64((len(differences) + 63) // 64)
    sums = np.empty(permutations)
    for permutation in prange(permutations):
        total, word = 0.0, np.uint64(permutation) * n_words
        for start in range(0, len(differences), 64):
            bits = hash_bits(key, word)
            word += np.uint64(1)
            for place in range(start, min(start + 64, len(differences))):
                total += differences[place] if bits & np.uint64(1) else -differences[place]
                bits >>= np.uint64(1)
        sums[permutation] = total
    return sums
