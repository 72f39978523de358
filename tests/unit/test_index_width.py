"""Past 2^31 entries: every position is counted in 64 bits. Rows that lie there are read from files full of holes."""

import numpy as np
import pytest

from recsys.cf.data.build import csr_indptr
from recsys.cf.data.dataset import UserItemSets
from recsys.cf.models.als import refuse_wide_indices
from recsys.cf.models.als_confidence import row_blocks
from recsys.cf.models.als_loss import _observed
from recsys.cf.models.als_native_sweep import padded, solve_side
from recsys.cf.models.als_objective import Side
from recsys.cf.sampling import adaptive, dual
from recsys.cf.sampling.counter import hash_bits, index_below
from recsys.cf.scoring.ranks import NEVER, rank_held_out, select_top_k, unseen_scores
from recsys.errors import ConfigError
from recsys.types import index_type

FAR = 2**31 - 2  # a row that starts here ends beyond what int32 can count
ROWS = [[1, 4, 7], [0, 2, 3, 5], [6], [2, 8, 9, 11, 12]]
N_ITEMS = 13


@pytest.fixture
def far(tmp_path):
    """Return a maker of arrays that hold ``values`` from position FAR on, and holes before: 8 GB that take none."""

    def make(values):
        values = np.asarray(values)
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.holes"
        array = np.memmap(path, values.dtype, "w+", shape=(FAR + len(values),))
        array[FAR:] = values
        return np.asarray(array)

    return make


def rows_of(lists, start=0):
    counts = [len(one) for one in lists]
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64) + start


def flat(lists, dtype=np.int32):
    return np.concatenate(lists).astype(dtype)


def near_and_far(far, lists):
    """Return the same item sets twice: at the start of an array, and past 2^31."""
    return UserItemSets(rows_of(lists), flat(lists)), UserItemSets(rows_of(lists, FAR), far(flat(lists)))


def test_the_type_of_positions_changes_at_exactly_2_to_the_31():
    assert index_type(2**31 - 1) is np.int32
    assert index_type(2**31) is np.int64


@pytest.mark.parametrize(("counts", "dtype"), [([2**30, 2**30 - 1], np.int32), ([2**30, 2**30], np.int64)])
def test_the_rows_of_a_matrix_end_where_they_should(counts, dtype):
    indptr = csr_indptr(np.array([*counts, 0, 0], dtype=np.int64))
    assert indptr.dtype == dtype
    assert indptr.tolist() == [0, counts[0], sum(counts), sum(counts), sum(counts)]
    # counts of a narrow type must not wrap while they are summed
    assert np.array_equal(csr_indptr(np.array([*counts, 0, 0], dtype=np.int32)), indptr)
    assert csr_indptr(np.array([], dtype=np.int64)).tolist() == [0]


def test_blocks_of_rows_cover_rows_past_2_to_the_31_once():
    indptr = np.arange(0, 2**33, 2**26, dtype=np.int64)
    blocks = list(row_blocks(indptr, 2**28))
    assert [block.start for block in blocks] == [0, *(block.stop for block in blocks[:-1])]
    assert blocks[-1].stop == len(indptr) - 1
    assert max(block.stop - block.start for block in blocks) == 4
    near = np.array([0, 2**31 - 5, 2**31 - 1], dtype=np.int32)  # the next bound is beyond its type
    assert [block.stop for block in row_blocks(near, 2**20)] == [1, 2]


def test_implicit_is_refused_past_2_to_the_31_and_told_what_to_do():
    refuse_wide_indices(2**31 - 1)
    with pytest.raises(ConfigError, match=r"2147483648 interactions .* als.solver native"):
        refuse_wide_indices(2**31)


def test_the_loss_of_als_reads_entries_past_2_to_the_31(far):
    random = np.random.default_rng(0)
    U, V = (random.normal(size=(n, 5)).astype(np.float32) for n in (len(ROWS), N_ITEMS))
    values = random.uniform(-3, 5, sum(map(len, ROWS))).astype(np.float32)
    near, beyond = np.empty(len(ROWS)), np.empty(len(ROWS))
    _observed(rows_of(ROWS), flat(ROWS), values, U, V, near)
    _observed(rows_of(ROWS, FAR), far(flat(ROWS)), far(values), U, V, beyond)
    assert np.array_equal(near, beyond)
    assert np.abs(near).min() > 0


@pytest.mark.parametrize("dual_entries", [0, 13])  # the primal and the dual system
def test_the_exact_solver_reads_entries_past_2_to_the_31(far, dual_entries):
    random = np.random.default_rng(1)
    V = padded(random.normal(size=(N_ITEMS, 8)).astype(np.float32))
    n = sum(map(len, ROWS))
    weights, targets = (random.uniform(1, 5, n).astype(np.float32) for _ in range(2))
    solved = []
    for indptr, arrays in (
        (rows_of(ROWS), (flat(ROWS), weights, targets)),
        (rows_of(ROWS, FAR), (far(flat(ROWS)), far(weights), far(targets))),
    ):
        everything = np.arange(len(ROWS), dtype=np.int64)
        side = Side(
            indptr,
            *arrays,
            np.full(len(ROWS), 0.1, np.float32),
            np.array([0, len(ROWS)], np.int64),
            everything,
        )
        out = np.empty((len(ROWS), V.shape[1]), np.float32)
        found = solve_side(side, V, out, factors=8, unobserved_weight=1.0, dual_entries=dual_entries)
        solved.append((out, found))
    assert np.array_equal(solved[0][0], solved[1][0])
    assert solved[0][1] == solved[1][1]
    assert np.abs(solved[0][0][:, :8]).max(axis=1).min() > 0


def test_ranks_top_lists_and_unseen_scores_read_sets_past_2_to_the_31(far):
    scores = np.random.default_rng(2).normal(size=(len(ROWS), N_ITEMS)).astype(np.float32)
    users = np.arange(len(ROWS), dtype=np.int32)
    seen, held_out = near_and_far(far, ROWS), near_and_far(far, [[3], [1, 4], [6], [0]])
    ranks = [rank_held_out(scores, users, held_out[i], seen[i], scorer="s") for i in range(2)]
    assert np.array_equal(*ranks)
    assert ranks[0][3] == NEVER  # user 2 has seen item 6
    for found in (
        [select_top_k(scores, users, one, 4)[0] for one in seen],
        [unseen_scores(scores, users, one) for one in seen],
    ):
        assert np.array_equal(*found)


def slot_at(key, counter):
    """Return the item that a counter, a whole number of Python, stands for."""
    return int(index_below(np.uint64(hash_bits(np.uint64(key), np.uint64(counter))), N_ITEMS))


def test_triplets_past_2_to_the_31_are_drawn_from_counters_in_64_bits(far):
    n = sum(map(len, ROWS))
    threshold, alias = np.ones(N_ITEMS, np.float32), np.arange(N_ITEMS, dtype=np.int32)
    nothing = UserItemSets(np.zeros(len(ROWS) + 1, np.int64), np.empty(0, np.int32))
    negatives, kinds = far(np.full(n, -9, np.int32)), far(np.full(n, -9, np.int8))
    counts = np.zeros((1, len(dual.KINDS)), np.int64)
    dual._draw(
        np.array([0, len(ROWS)]), rows_of(ROWS, FAR), 1, np.uint64(7), dual.MODES["uniform"], np.float32(0.3),
        N_ITEMS, rows_of(ROWS), flat(ROWS), nothing.indptr, nothing.indices, nothing.indptr, nothing.indices,
        threshold, alias, negatives, kinds, counts,
    )  # fmt: skip
    assert counts.sum() == n
    owner = np.repeat(np.arange(len(ROWS)), [len(one) for one in ROWS])
    for triplet, user in enumerate(owner, start=FAR):
        slots = (slot_at(7, triplet * dual.SLOTS + attempt) for attempt in range(1, dual.ATTEMPTS + 1))
        assert negatives[triplet] == next(slot for slot in slots if slot not in ROWS[user])


def test_adaptive_triplets_past_2_to_the_31(far):
    n, random, candidates = sum(map(len, ROWS)), np.random.default_rng(3), 3
    U, V = (random.normal(size=(rows, 4)).astype(np.float32) for rows in (len(ROWS), N_ITEMS))
    negatives = far(np.full(n, -9, np.int32))
    adaptive._draw(
        np.array([0, len(ROWS)]), rows_of(ROWS, FAR), 1, np.uint64(7), candidates, N_ITEMS,
        rows_of(ROWS), flat(ROWS), U, V, negatives,
    )  # fmt: skip
    owner = np.repeat(np.arange(len(ROWS)), [len(one) for one in ROWS])
    for triplet, user in enumerate(owner, start=FAR):
        attempts = range(adaptive.ATTEMPTS * candidates)
        slots = (slot_at(7, triplet * adaptive.SLOTS + attempt) for attempt in attempts)
        unseen = [slot for slot in slots if slot not in ROWS[user]][:candidates]
        assert negatives[triplet] == max(unseen, key=lambda item: U[user] @ V[item])
