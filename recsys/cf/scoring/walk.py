"""The walk over users: blocks scored by several Python threads, each product by one BLAS thread."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numba

from recsys.blas import one_blas_thread
from recsys.types import IndexVector

T = TypeVar("T")

# Users in one matrix product. BLAS picks another kernel, hence other last bits, for other shapes: with one
# fixed shape a score depends on the two factor rows alone, never on the block its user came in.
TILE_USERS = 128
# Tiles a thread takes at a time: enough to hide what Python does between two tasks.
_TILES_PER_TASK = 4


def walk(users: IndexVector, work: Callable[[IndexVector], T], *, block_users: int) -> Iterator[T]:
    """Yield ``work(tile)`` for every tile of at most ``TILE_USERS`` users, in order.

    Args:
        users: int32, cut into tiles in the order given.
        work: Called from several threads at once; should leave the interpreter lock where it is slow.
        block_users: Users at work at a time, by all threads together: caps the threads, so that a caller
            bounds its memory by it; one tile is always at work.

    Notes:
        Uses the threads that compiled code of the calling thread may use (``numba.get_num_threads``). What
        is yielded depends neither on their number nor on ``block_users``. BLAS is held at one thread
        meanwhile. At most two finished tasks of 512 users per thread wait to be taken.
    """
    n_threads = max(1, min(numba.get_num_threads(), block_users // TILE_USERS))
    step = TILE_USERS * _TILES_PER_TASK
    tasks = [users[start : start + step] for start in range(0, len(users), step)]

    def run(task: IndexVector) -> list[T]:
        with one_blas_thread():
            return [work(task[start : start + TILE_USERS]) for start in range(0, len(task), TILE_USERS)]

    with one_blas_thread():
        if n_threads == 1 or len(tasks) < 2:
            for task in tasks:
                yield from run(task)
        else:
            for results in _in_order(run, tasks, n_threads):
                yield from results


def _in_order(
    run: Callable[[IndexVector], list[T]], tasks: Sequence[IndexVector], n_threads: int
) -> Iterator[list[T]]:
    pending: deque[Future[list[T]]] = deque()
    pool = ThreadPoolExecutor(n_threads, thread_name_prefix="walk")
    try:
        for task in tasks:
            pending.append(pool.submit(run, task))
            if len(pending) > 2 * n_threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
