"""The walk over users: blocks scored by several Python threads, each product by one BLAS thread."""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

import numba
from threadpoolctl import ThreadpoolController

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


class _BlasLimit:
    """One BLAS thread while anybody holds the limit; the first holder sets it, the last one restores.

    The limit belongs to the process: two Python threads that set and restored it in turns would leave it set.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders = 0
        self._before: list[int] = []

    def enter(self) -> None:
        with self._lock:
            if self._holders == 0:
                libraries = _blas_libraries()
                self._before = [library.get_num_threads() for library in libraries]
                self._set([1] * len(libraries))
            self._holders += 1

    def leave(self) -> None:
        with self._lock:
            self._holders -= 1
            if self._holders == 0:
                self._set(self._before)

    @staticmethod
    def _set(threads: list[int]) -> None:
        for library, n in zip(_blas_libraries(), threads, strict=True):
            # Since 3.8 threadpoolctl obeys the Python thread that set OpenBLAS first and ignores others.
            release = getattr(library, "clear_controlling_thread", None)
            if release is not None:
                release(force=True)
            library.set_num_threads(n)
            if release is not None:
                release(force=True)


_blas_limit = _BlasLimit()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Hold BLAS at one thread: its pool spins after each product and starves the threads of the walk."""
    _blas_limit.enter()
    try:
        yield
    finally:
        _blas_limit.leave()


@cache
def _blas_libraries() -> list[Any]:
    """Return the controllers of the loaded BLAS libraries; finding them costs milliseconds, a limit nothing."""
    controllers: list[Any] = ThreadpoolController().select(user_api="blas").lib_controllers
    return controllers
