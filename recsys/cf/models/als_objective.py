"""The objective of ALS as the exact solver sees it: the entries of both sides and what each row is pulled by.

    sum over observed pairs of c (p - u.v)^2 + a sum over unobserved pairs of (u.v)^2
    + sum over users of l_u |u - m_u|^2 + sum over items of l_i |v - m_i|^2

c = |value| is the confidence, p the preference, a the weight of unobserved pairs (1: Hu, Koren and Volinsky
2008, what `implicit` solves). Frequency-scaled regularization (Rendle et al. 2021, "Revisiting the Performance
of iALS on Item Recommendation Benchmarks"): l_r = lambda (entries of r + a size of the other side)^nu / z,
where z is the mean of the numerator's power over all users and items with entries. So the mean weight of a row
is lambda at every nu, and a lambda that is good at one is a fair first guess at another. What a row's size is
can also be its number of liked entries alone (``regularization_counts: positives``): with nu = 1 that is the
objective of Spark's ALS, see ``als_spark``.

A row without any entry tells nothing: its pairs do not count as unobserved ones, and it equals its prior mean
(zero without a prior). Without priors the optimum is the same either way.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.config.schema import AlsConfig
from recsys.errors import TrainingError
from recsys.types import FloatMatrix, index_type

_PARTS = 128  # ranges of rows that threads share; more than any machine's threads, less than costs overhead
_LARGEST_DUAL = 128
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Prior:
    """Where rows are pulled to instead of zero: float32 (n_users or n_items, factors), None for zero."""

    user_means: FloatMatrix | None = None
    item_means: FloatMatrix | None = None


@dataclass(frozen=True)
class Side:
    """The rows of one side: their entries, sorted, and their regularization."""

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    weights: Floats  # c - a of each entry: what it weighs more than an unobserved pair
    targets: Floats  # c p of each entry
    regularization: Floats  # l_r of each row
    bounds: NDArray[np.int64]  # ranges of rows of about equal work
    order: NDArray[np.int64]  # the rows, range by range, in each by their number of entries

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.indptr) - 1

    @property
    def has_entries(self) -> NDArray[np.bool_]:
        """Return which rows have entries, bool (n_rows,)."""
        return np.diff(self.indptr) > 0

    @property
    def is_uniform(self) -> bool:
        """Whether all rows have the same regularization."""
        return bool((self.regularization == self.regularization[:1]).all())


@dataclass(frozen=True)
class Objective:
    """Both sides, and the part of the loss that no factor changes: the sum of c p^2."""

    users: Side
    items: Side
    constant: float


def build_objective(
    user_items: csr_matrix, config: AlsConfig, preferences: Floats | None = None
) -> Objective:
    """Return the objective of ``user_items``, a CSR from ``scale_confidence``.

    Args:
        user_items: (n_users, n_items); |value| is the confidence.
        config: regularization, its exponent, unobserved_weight, factors.
        preferences: float32, of each value of ``user_items``; None: 1 where the value is positive, else 0.

    Raises TrainingError when an observed pair would weigh less than an unobserved one. Memory: 24 bytes an
    entry, and as much again while it is built. Deterministic.
    """
    values = np.asarray(user_items.data, dtype=np.float32)
    confidence = np.abs(values)
    lightest = float(confidence.min(initial=np.inf))
    if lightest < config.unobserved_weight:
        raise TrainingError(
            f"an observed pair has confidence {lightest:g}, less than als.unobserved_weight "
            f"({config.unobserved_weight:g}): lower that, or take another als.confidence_strategy"
        )
    liked = (values > 0).astype(np.float32) if preferences is None else preferences
    if liked.shape != values.shape:
        raise TrainingError(f"{len(liked)} preferences do not fit {len(values)} interactions")
    weights = confidence - np.float32(config.unobserved_weight)
    targets = confidence * liked
    entry: Any = np.arange(len(values), dtype=index_type(len(values)))
    by_item = csr_matrix((entry, user_items.indices, user_items.indptr), user_items.shape).tocsc()
    order = by_item.data
    user_counts, item_counts = (np.diff(one.indptr).astype(np.int64) for one in (user_items, by_item))
    of_users, of_items = _regularization(user_counts, item_counts, config)
    if config.regularization_counts == "positives":
        of_users, of_items = positives_regularization(
            positive_counts(user_items), config.regularization, config.regularization_exponent
        )
    return Objective(
        _side(user_items, user_counts, weights, targets, of_users, config.factors),
        _side(by_item, item_counts, weights[order], targets[order], of_items, config.factors),
        float(np.sum(targets.astype(np.float64) * liked)),
    )


def _regularization(
    user_counts: NDArray[np.int64], item_counts: NDArray[np.int64], config: AlsConfig
) -> tuple[Floats, Floats]:
    """Return l_r of all users and of all items; see the module's formula."""
    sizes = [
        (own + config.unobserved_weight * np.count_nonzero(other)) ** config.regularization_exponent
        for own, other in ((user_counts, item_counts), (item_counts, user_counts))
    ]
    # sorted, so that the order of rows changes no bit of the mean
    with_entries = np.sort(np.concatenate([sizes[0][user_counts > 0], sizes[1][item_counts > 0]]))
    if not len(with_entries):
        sizes, with_entries = [np.ones(len(one)) for one in sizes], np.ones(1)
    scale = config.regularization / with_entries.mean()
    users, items = ((size * scale).astype(np.float32) for size in sizes)
    return users, items


def positive_counts(user_items: csr_matrix) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the number of liked entries (values above 0) of each user and of each item."""
    liked = user_items.data > 0
    before = np.concatenate([[0], np.cumsum(liked, dtype=np.int64)])
    of_items = np.bincount(user_items.indices[liked], minlength=user_items.shape[1])
    return np.diff(before[user_items.indptr]), of_items.astype(np.int64)


def positives_regularization(
    counts: tuple[NDArray[np.int64], NDArray[np.int64]], regularization: float, exponent: float = 1.0
) -> tuple[Floats, Floats]:
    """Return l_r = regularization * positives^exponent / its mean over rows with positives, float32 for both sides.

    A row without positives weighs as much as one with a single one: its optimum is zero at any weight.
    """
    sizes = [np.maximum(one, 1).astype(np.float64) ** exponent for one in counts]
    scale = regularization / mean_of_rows(counts, exponent)
    users, items = ((size * scale).astype(np.float32) for size in sizes)
    return users, items


def mean_of_rows(counts: tuple[NDArray[np.int64], NDArray[np.int64]], exponent: float = 1.0) -> float:
    """Return the mean of counts^exponent over users and items whose count is not zero; 1 where there are none."""
    counted = np.sort(np.concatenate([one[one > 0] for one in counts]))  # the order of rows changes no bit
    return float(np.mean(counted.astype(np.float64) ** exponent)) if len(counted) else 1.0


def _side(
    matrix: Any,
    counts: NDArray[np.int64],
    weights: Floats,
    targets: Floats,
    regularization: Floats,
    factors: int,
) -> Side:
    work = np.cumsum(row_cost(counts, factors, dual_limit(factors)))
    total = work[-1] if len(work) else 0.0
    inner = np.searchsorted(work, np.arange(1, _PARTS) * (total / _PARTS))
    bounds = np.concatenate([[0], inner, [len(counts)]]).astype(np.int64)
    part = np.repeat(np.arange(_PARTS), np.diff(bounds))
    return Side(
        indptr=matrix.indptr.astype(np.int64),
        indices=matrix.indices.astype(np.int32, copy=False),
        weights=weights,
        targets=targets,
        regularization=regularization,
        bounds=bounds,
        order=np.lexsort((counts, part)).astype(np.int64),
    )


def row_cost(entries: NDArray[np.int64], factors: int, dual_entries: int) -> NDArray[np.float64]:
    """Return the rough nanoseconds of rows with so many entries; only their ratios matter."""
    k = entries.astype(np.float64)
    light = 250 + 15 * k + factors / 32 * k**2
    heavy = factors**3 / 42 + factors**2 / 95 * k
    return np.where(k == 0, 20.0, np.where(k <= dual_entries, light, heavy))


def dual_limit(factors: int) -> int:
    """Return up to how many entries the dual system of a row costs less than the primal one.

    Measured at 64 factors; with very many factors sixteen dual systems would leave the second level of cache.
    """
    return min(max(1, factors - factors // 16), _LARGEST_DUAL)


def equal_ranges(n_rows: int, parts: int) -> NDArray[np.int64]:
    """Return the bounds of ``parts`` ranges of about equally many rows."""
    return np.arange(parts + 1, dtype=np.int64) * n_rows // parts
