import threading
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest
from item_sets import item_sets
from threadpoolctl import threadpool_info

from recsys.blas import look_for_blas_again, one_blas_thread
from recsys.cf.evaluation.evaluate import evaluate
from recsys.cf.scoring.blocks import FactorScorer, ProfileScorer
from recsys.cf.scoring.score_range import measure_score_distribution
from recsys.cf.scoring.topk import recommend
from recsys.cf.scoring.walk import TILE_USERS, walk
from recsys.types import Factors

N_USERS, N_ITEMS = 20 * TILE_USERS + 5, 70


@pytest.fixture
def threads():
    """Return a setter of the threads a walk of this thread may use; restored afterwards."""
    before = numba.get_num_threads()
    numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)  # a night of this process may have left fewer
    yield lambda n: numba.set_num_threads(min(n, numba.config.NUMBA_NUM_THREADS))
    numba.set_num_threads(before)


def users(n):
    return np.arange(n, dtype=np.int32)


@pytest.mark.parametrize("n", [0, 1, TILE_USERS, TILE_USERS + 1, N_USERS])
@pytest.mark.parametrize("block_users", [1, 10_000])
def test_every_user_comes_once_and_in_order_in_tiles(n, block_users):
    tiles = list(walk(users(n), lambda tile: tile, block_users=block_users))
    assert all(0 < len(tile) <= TILE_USERS for tile in tiles)
    assert np.array_equal(np.concatenate([users(0), *tiles]), users(n))


def test_several_threads_work_at_once_but_no_more_than_the_block_allows(threads):
    threads(2)
    if numba.get_num_threads() < 2:
        pytest.skip("one processor")
    both = threading.Barrier(2, timeout=20)
    met = list(walk(users(8 * TILE_USERS), lambda tile: both.wait() >= 0, block_users=2 * TILE_USERS))
    assert all(met)
    names = set(
        walk(
            users(10 * TILE_USERS), lambda _: threading.current_thread().name, block_users=2 * TILE_USERS - 1
        )
    )
    assert names == {threading.current_thread().name}


def test_an_error_ends_the_walk_and_gives_blas_its_threads_back(threads):
    threads(2)
    before = n_blas_threads()

    def work(tile):
        if tile[0] == 6 * TILE_USERS:
            raise RuntimeError("tile six")
        return tile

    with pytest.raises(RuntimeError, match="tile six"):
        list(walk(users(N_USERS), work, block_users=10_000))
    assert n_blas_threads() == before


def n_blas_threads():
    return {pool["filepath"]: pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def built_on_openmp():
    """Return the files of libraries whose limits are those of the thread that asks."""
    return {pool["filepath"] for pool in threadpool_info() if pool.get("threading_layer") == "openmp"}


def test_blas_is_held_until_the_last_holder_leaves():
    before = n_blas_threads()
    entered, leave = threading.Event(), threading.Event()

    def hold():
        with one_blas_thread():
            entered.set()
            assert leave.wait(20)
            return n_blas_threads()

    with ThreadPoolExecutor(1) as pool:
        with one_blas_thread():
            other = pool.submit(hold)
            assert entered.wait(20)
        leave.set()
        assert set(other.result().values()) == {1}
    assert n_blas_threads() == before


def test_a_blas_that_knows_limits_of_threads_only_is_held_and_restored_in_each(threads):
    """That of faiss is built on OpenMP: a limit set by the walk's starter would not reach its workers."""
    pytest.importorskip("faiss", reason="the extra ann is not installed")
    look_for_blas_again()
    if not built_on_openmp():
        pytest.skip("no BLAS built on OpenMP is loaded")
    threads(2)
    before = n_blas_threads()
    within = list(walk(users(8 * TILE_USERS), lambda _: n_blas_threads(), block_users=10_000))
    assert len(within) == 8
    assert {n for pools in within for n in pools.values()} == {1}
    assert n_blas_threads() == before
    test_blas_is_held_until_the_last_holder_leaves()


def test_a_walk_closed_by_another_thread_gives_blas_its_threads_back():
    def of_process():
        return {file: n for file, n in n_blas_threads().items() if file not in built_on_openmp()}

    before = of_process()
    for _ in range(2):
        walking = walk(users(8 * TILE_USERS), lambda tile: tile, block_users=1)
        next(walking)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(walking.close).result()
        assert of_process() == before
        with one_blas_thread():
            assert set(n_blas_threads().values()) == {1}


def test_scores_ranks_lists_and_range_are_the_same_at_any_number_of_threads(threads):
    rng = np.random.default_rng(3)
    factors = Factors(*(rng.standard_normal((n, 16), dtype=np.float32) for n in (N_USERS, N_ITEMS)))
    picks = [rng.choice(N_ITEMS, 5, replace=False).tolist() for _ in range(N_USERS)]
    held_out, seen = item_sets([row[:1] for row in picks]), item_sets([row[1:] for row in picks])
    vectors = rng.standard_normal((N_ITEMS, 7), dtype=np.float32)
    scorers = {"factors": FactorScorer(factors), "content": ProfileScorer(vectors, seen)}

    def everything():
        found = evaluate(
            scorers, held_out, seen, k_values=[5, 10], block_users=8192, auc=True, item_vectors=vectors
        )
        score_range = measure_score_distribution(
            scorers["factors"],
            users(N_USERS),
            seen,
            method="test_set",
            block_users=8192,
            max_exact_samples=10**7,
        )
        lists = recommend(scorers["content"], users(N_USERS), seen, 5)
        return found, score_range, lists

    threads(1)
    (one, one_range, one_lists) = everything()
    threads(2)
    (two, two_range, two_lists) = everything()
    for name in scorers:
        assert np.array_equal(one[name].ranks, two[name].ranks)
        assert one[name].metrics == two[name].metrics
    assert one_range.score_range == two_range.score_range
    assert all(np.array_equal(a, b) for a, b in zip(one_lists, two_lists, strict=True))
