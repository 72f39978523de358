"""Compiled parts that all searches for the best items share: maxima of groups, and a short list kept in order."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recsys.types import IndexVector


@njit(cache=True, nogil=True)
def raise_to(maxima: NDArray[np.float32], values: NDArray[np.float32]) -> None:
    """Set ``maxima`` to the larger of both, place by place; written so that it vectorises."""
    for place in range(len(values)):
        value, maximum = values[place], maxima[place]
        maxima[place] = value if value > maximum else maximum


@njit(cache=True, nogil=True)
def insert(
    score: float | np.float32, item: int, n_kept: int, items: IndexVector, values: NDArray[np.float32]
) -> int:
    """Keep the item if it is among the best so far, ties to the lower item_idx; return how many are kept."""
    k = len(items)
    if n_kept == k and (score < values[k - 1] or (score == values[k - 1] and item > items[k - 1])):
        return n_kept
    position = min(n_kept, k - 1)
    while position > 0 and (
        values[position - 1] < score or (values[position - 1] == score and items[position - 1] > item)
    ):
        values[position] = values[position - 1]
        items[position] = items[position - 1]
        position -= 1
    values[position] = score
    items[position] = item
    return min(n_kept + 1, k)
