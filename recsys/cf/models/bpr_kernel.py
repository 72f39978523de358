"""Parallel, reproducible stochastic gradient for BPR: rounds of blocks that share no row.

Users are split into P blocks and items into 2P, anew in each epoch. A triplet (u, i, j) belongs to the cell
(block of u, {block of i, block of j}). A round-robin tournament pairs the item blocks in 2P - 1 ways; with P
rotations of the user blocks every round gives P workers disjoint users and disjoint items: no locks, no
races, and the same bytes at any number of threads, because P is a setting and threads only share the workers
of a round out. Within a cell triplets keep the order in which they were drawn.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from recsys.cf.models.prefetch import prefetch_row
from recsys.cf.sampling.counter import hash_bits, index_below
from recsys.types import FloatMatrix, IndexVector

_ROW_ALIGNMENT_BYTES = 128  # neighbouring rows share no cache line, nor the pair of lines fetched together
_CHUNKS = 64  # pieces of the counting sort; a constant, so that threads do not change the order
_LOG_EVERY = 16  # triplets whose loss terms are multiplied before one logarithm is taken
_PREFETCH_AHEAD = 4  # triplets; rows come from the second or third level of cache otherwise
_MAX_MARGIN = 30.0  # sigmoid(30) is 1 in float32; (1 + e^30)^16 still fits a float64
LOSS, HARDNESS, ORDERED = range(3)
NO_BIAS = -1


class Regularization(NamedTuple):
    """L2 weights of the three rows of a triplet."""

    user: float
    positive: float
    negative: float


def aligned_copy(matrix: FloatMatrix) -> FloatMatrix:
    """Return a float32 copy whose rows start at 128-byte addresses, padded with zero columns.

    Padding stays zero under ``run_epoch``; take ``copy[:, :factors]`` to get the matrix back.
    """
    rows, columns = matrix.shape
    lane = _ROW_ALIGNMENT_BYTES // 4
    stride = -(-columns // lane) * lane
    buffer = np.zeros(rows * stride + lane, dtype=np.float32)
    offset = (-buffer.ctypes.data % _ROW_ALIGNMENT_BYTES) // 4
    copy = buffer[offset : offset + rows * stride].reshape(rows, stride)
    copy[:, :columns] = matrix
    return copy


@dataclass(frozen=True)
class Schedule:
    """Triplets of an epoch in the order of work: slot s holds entries start[s] to start[s + 1].

    Slots come round by round, P to a round; the slots of one round share no row of U or V.
    """

    n_workers: int
    start: NDArray[np.int64]
    triplets: NDArray[np.int32]  # (n, 3): user_idx, positive item_idx, negative item_idx


def tournament(n_workers: int) -> NDArray[np.int32]:
    """Return (2P, 2P, 2): the pairing and the worker that hold each pair of item blocks.

    Circle method: block 2P - 1 stays, the others turn; a block paired with itself goes to the first pairing.
    """
    n_blocks = 2 * n_workers
    table = np.empty((n_blocks, n_blocks, 2), dtype=np.int32)
    for pairing in range(n_blocks - 1):
        ring = [(pairing + place) % (n_blocks - 1) for place in range(n_blocks - 1)]
        pairs = [(ring[0], n_blocks - 1)]
        pairs += [(ring[w], ring[n_blocks - 1 - w]) for w in range(1, n_workers)]
        for worker, (a, b) in enumerate(pairs):
            table[a, b] = table[b, a] = pairing, worker
            if pairing == 0:
                table[a, a] = table[b, b] = 0, worker
    return table


@cache
def slots(n_workers: int) -> NDArray[np.int32]:
    """Return (P, 2P, 2P): the slot of a triplet by the blocks of its user, positive and negative item."""
    pairing, worker = np.moveaxis(tournament(n_workers), -1, 0)
    rotation = (np.arange(n_workers)[:, None, None] - worker) % n_workers
    slot: NDArray[np.int32] = ((pairing * n_workers + rotation) * n_workers + worker).astype(np.int32)
    return slot


def balanced_blocks(weights: NDArray[np.float64], n_blocks: int, random: np.random.Generator) -> IndexVector:
    """Return the block of each row, int32: a random partition into blocks of nearly equal total weight."""
    key = random.integers(0, 2**64, dtype=np.uint64)
    blocks: IndexVector = _random_blocks(weights, n_blocks / max(weights.sum(), 1e-12), n_blocks, key)
    return blocks


@nb.njit(nogil=True, cache=True)
def _random_blocks(weights: Any, blocks_per_weight: Any, n_blocks: Any, key: Any) -> Any:
    order = np.arange(len(weights), dtype=np.int32)
    block = np.empty(len(weights), dtype=np.int32)
    before = 0.0
    for place in range(len(weights)):  # Fisher and Yates' shuffle, each row assigned as soon as it is drawn
        other = place + index_below(hash_bits(key, np.uint64(place)), len(weights) - place)
        order[place], order[other] = order[other], order[place]
        row = order[place]
        block[row] = min(np.int32(before * blocks_per_weight), n_blocks - 1)
        before += weights[row]
    return block


def schedule_epoch(
    positive_users: IndexVector,
    positive_items: IndexVector,
    negatives: IndexVector,
    user_block: IndexVector,
    item_block: IndexVector,
    n_workers: int,
) -> Schedule:
    """Return the triplets (positive t // samples, negatives[t]) sorted into slots by a stable counting sort.

    Triplets with a negative below zero are left out. Memory: 12 bytes a triplet, and 2 meanwhile (4 beyond 16
    workers). Deterministic.
    """
    samples = len(negatives) // len(positive_users)
    slot_of_cell = slots(n_workers)
    n_slots = (2 * n_workers - 1) * n_workers * n_workers
    counts = np.zeros((_CHUNKS, n_slots), dtype=np.int64)
    narrow = n_slots <= np.iinfo(np.int16).max  # up to 16 blocks
    slot_of_triplet = np.empty(len(negatives), dtype=np.int16 if narrow else np.int32)
    _count(
        positive_users, positive_items, negatives, samples, user_block, item_block, slot_of_cell,
        slot_of_triplet, counts,
    )  # fmt: skip
    by_slot = counts.T.ravel()
    ends = np.cumsum(by_slot)
    offsets = np.ascontiguousarray((ends - by_slot).reshape(n_slots, _CHUNKS).T)
    start = np.concatenate([[0], ends[_CHUNKS - 1 :: _CHUNKS]]).astype(np.int64)
    triplets = np.empty((start[-1], 3), dtype=np.int32)
    _scatter(positive_users, positive_items, negatives, samples, slot_of_triplet, offsets, triplets)
    return Schedule(n_workers, start, triplets)


def run_epoch(
    user_factors: FloatMatrix,
    item_factors: FloatMatrix,
    schedule: Schedule,
    learning_rate: float,
    regularization: Regularization,
    *,
    bias_column: int = NO_BIAS,
) -> NDArray[np.float64]:
    """Update aligned U and V in place by one pass over the schedule; return sums over its triplets.

    For each triplet, x = U[u] . (V[i] - V[j]) and g = sigmoid(-x):
    U[u] += lr (g (V[i] - V[j]) - reg U[u]), V[i] += lr (g U[u] - reg V[i]), V[j] += lr (-g U[u] - reg V[j]),
    with the old U[u] in all three (Rendle et al. 2009, "BPR", figure 4). ``bias_column`` of V holds the item
    biases; in U it is 1 and stays so.
    Returns float64 [sum of -log sigmoid(x), sum of sigmoid(-x), number with x > 0], all before the update.
    """
    sums = np.zeros((len(schedule.start) - 1, 3))
    _run_rounds(
        user_factors,
        item_factors,
        schedule.triplets,
        schedule.start,
        schedule.n_workers,
        np.float32(learning_rate),
        np.array([regularization.user, regularization.positive, regularization.negative], np.float32),
        bias_column,
        sums,
    )
    totals: NDArray[np.float64] = sums.sum(axis=0)
    return totals


@nb.njit(nogil=True, cache=True)
def largest_magnitude(matrix: Any) -> Any:
    """Return max |x| of a contiguous float32 matrix, NaN where there is one; without a copy."""
    bits = matrix.reshape(-1).view(np.uint32)
    largest = np.zeros(1, dtype=np.uint32)
    for at in range(len(bits)):
        # without its sign a float orders as its bits do, and NaN lies above infinity
        largest[0] = max(largest[0], bits[at] & np.uint32(0x7FFFFFFF))
    return largest.view(np.float32)[0]


@nb.njit(parallel=True, nogil=True, cache=True)
def _count(
    positive_users: Any,
    positive_items: Any,
    negatives: Any,
    samples: Any,
    user_block: Any,
    item_block: Any,
    slot_of_cell: Any,
    slot_of_triplet: Any,
    counts: Any,
) -> None:
    n = len(positive_users)
    for chunk in nb.prange(_CHUNKS):
        for p in range(chunk * n // _CHUNKS, (chunk + 1) * n // _CHUNKS):
            row = slot_of_cell[user_block[positive_users[p]], item_block[positive_items[p]]]
            for t in range(p * samples, (p + 1) * samples):
                slot = -1 if negatives[t] < 0 else row[item_block[negatives[t]]]
                slot_of_triplet[t] = slot
                if slot >= 0:
                    counts[chunk, slot] += 1


@nb.njit(parallel=True, nogil=True, cache=True)
def _scatter(
    positive_users: Any,
    positive_items: Any,
    negatives: Any,
    samples: Any,
    slot_of_triplet: Any,
    offsets: Any,
    out: Any,
) -> None:
    n = len(positive_users)
    for chunk in nb.prange(_CHUNKS):
        for p in range(chunk * n // _CHUNKS, (chunk + 1) * n // _CHUNKS):
            for t in range(p * samples, (p + 1) * samples):
                slot = slot_of_triplet[t]
                if slot >= 0:
                    at = offsets[chunk, slot]
                    offsets[chunk, slot] = at + 1
                    out[at, 0], out[at, 1], out[at, 2] = positive_users[p], positive_items[p], negatives[t]


@nb.njit(parallel=True, nogil=True, fastmath=True, error_model="numpy", cache=True)
def _run_rounds(
    U: Any,
    V: Any,
    triplets: Any,
    start: Any,
    n_workers: Any,
    lr: Any,
    regularization: Any,
    bias_column: Any,
    sums: Any,
) -> None:
    for first_slot in range(0, len(start) - 1, n_workers):
        for worker in nb.prange(n_workers):
            slot = first_slot + worker
            _run_cell(
                U, V, triplets[start[slot] : start[slot + 1]], lr, regularization, bias_column, sums[slot]
            )


@nb.njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
def _run_cell(
    U: Any,
    V: Any,
    triplets: Any,
    lr: Any,
    regularization: Any,
    bias_column: Any,
    sums: Any,
) -> None:
    factors = U.shape[1]
    loss, hardness, ordered, product = 0.0, 0.0, 0.0, 1.0
    keep_user = np.float32(1.0) - lr * regularization[0]
    keep_positive = np.float32(1.0) - lr * regularization[1]
    keep_negative = np.float32(1.0) - lr * regularization[2]
    for t in range(len(triplets)):
        if t + _PREFETCH_AHEAD < len(triplets):
            ahead = triplets[t + _PREFETCH_AHEAD]
            prefetch_row(U, np.int64(ahead[0]))
            prefetch_row(V, np.int64(ahead[1]))
            prefetch_row(V, np.int64(ahead[2]))
        user, positive, negative = U[triplets[t, 0]], V[triplets[t, 1]], V[triplets[t, 2]]
        x = np.float32(0.0)
        for f in range(factors):
            x += user[f] * (positive[f] - negative[f])
        margin = min(max(x, np.float32(-_MAX_MARGIN)), np.float32(_MAX_MARGIN))
        odds = np.exp(-margin)
        gradient = odds / (np.float32(1.0) + odds)
        step = lr * gradient
        for f in range(factors):
            u, i, j = user[f], positive[f], negative[f]
            user[f] = keep_user * u + step * (i - j)
            positive[f] = keep_positive * i + step * u
            negative[f] = keep_negative * j - step * u
        if bias_column >= 0:
            user[bias_column] = np.float32(1.0)
        hardness += gradient
        ordered += x > 0
        product *= 1.0 + odds
        if t % _LOG_EVERY == _LOG_EVERY - 1:
            loss += np.log(product)
            product = 1.0
    sums[LOSS] += loss + np.log(product)
    sums[HARDNESS] += hardness
    sums[ORDERED] += ordered
