"""BLAS held at one thread while compiled threads work, whichever Python threads ask for it."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController


class _BlasLimit:
    """One BLAS thread while anybody holds the limit; the first holder sets it, the last one restores.

    The limit of most libraries belongs to the process: two Python threads that set and restored it in turns
    would leave it set. Built on OpenMP (Debian's, conda's, that of faiss) and in MKL it belongs to the thread
    that set it: each of those holds and restores its own.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of_process = _Held()
        self._of_threads = threading.local()

    def enter(self) -> "_Held":
        """Return what ``leave`` wants back: a generator that holds may be closed by another thread."""
        of_thread = self._of_this_thread()
        with self._lock:
            self._of_process.enter(per_thread=False)
            of_thread.enter(per_thread=True)
        return of_thread

    def leave(self, of_thread: "_Held") -> None:
        with self._lock:
            of_thread.leave()
            self._of_process.leave()

    def _of_this_thread(self) -> "_Held":
        if not hasattr(self._of_threads, "held"):
            self._of_threads.held = _Held()
        held: _Held = self._of_threads.held
        return held


class _Held:
    """What one scope, a thread or the process, has limited, and how many holders it has now."""

    def __init__(self) -> None:
        self._holders = 0
        self._libraries: Sequence[Any] = ()
        self._before: list[int] = []

    def enter(self, *, per_thread: bool) -> None:
        if self._holders == 0:
            self._libraries = [one for one in _blas_libraries() if _is_per_thread(one) == per_thread]
            self._before = [library.get_num_threads() for library in self._libraries]
            self._set([1] * len(self._libraries))
        self._holders += 1

    def leave(self) -> None:
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
    """Hold BLAS at one thread: its pool spins after each product and starves the threads of the walk.

    A Python thread that multiplies should hold it itself, also where its starter does: some libraries know
    limits of threads only.
    """
    held = _blas_limit.enter()
    try:
        yield
    finally:
        _blas_limit.leave(held)


def look_for_blas_again() -> None:
    """Say that a package with a BLAS of its own was loaded now: the next outermost hold holds that one, too."""
    _blas_libraries.cache_clear()


def _is_per_thread(library: Any) -> bool:
    return library.internal_api == "mkl" or getattr(library, "threading_layer", None) == "openmp"


@cache
def _blas_libraries() -> list[Any]:
    """Return the controllers of the loaded BLAS libraries; finding them costs milliseconds, a limit nothing."""
    import scipy.linalg.cython_blas  # noqa: F401 - SciPy has a BLAS of its own: loaded later, it would be missed

    controllers: list[Any] = ThreadpoolController().select(user_api="blas").lib_controllers
    return controllers
