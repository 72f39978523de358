"""BLAS held at one thread while compiled threads work, whichever Python threads ask for it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController


class _BlasLimit:
    """One BLAS thread while anybody holds the limit; the first holder sets it, the last one restores.

    The limit belongs to the process: two Python threads that set and restored it in turns would leave it set.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders = 0
        self._libraries: list[Any] = []
        self._before: list[int] = []

    def enter(self) -> None:
        with self._lock:
            if self._holders == 0:
                self._libraries = _blas_libraries()
                self._before = [library.get_num_threads() for library in self._libraries]
                self._set([1] * len(self._libraries))
            self._holders += 1

    def leave(self) -> None:
        with self._lock:
            self._holders -= 1
            if self._holders == 0:
                self._set(self._before)

    def _set(self, threads: list[int]) -> None:
        for library, n in zip(self._libraries, threads, strict=True):
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


def look_for_blas_again() -> None:
    """Say that a package with a BLAS of its own was loaded now: the next outermost hold holds that one, too."""
    _blas_libraries.cache_clear()


@cache
def _blas_libraries() -> list[Any]:
    """Return the controllers of the loaded BLAS libraries; finding them costs milliseconds, a limit nothing."""
    import scipy.linalg.cython_blas  # noqa: F401 - SciPy has a BLAS of its own: loaded later, it would be missed

    controllers: list[Any] = ThreadpoolController().select(user_api="blas").lib_controllers
    return controllers
