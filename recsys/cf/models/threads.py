"""Threads shared between fits that run side by side, so that they don't fight for cores."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numba as nb


class ThreadShares:
    """Splits ``total`` threads evenly among the fits at work; asked anew before each iteration or epoch.

    When one fit ends, the others take its threads over. The result of a fit never depends on its share.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._active = 0
        self._lock = threading.Lock()

    @contextmanager
    def join(self) -> Iterator[None]:
        """Count the calling fit as at work for the length of the block."""
        with self._lock:
            self._active += 1
        try:
            yield
        finally:
            with self._lock:
                self._active -= 1

    def share(self) -> int:
        """Return how many threads a fit may use now, at least 1."""
        with self._lock:
            return max(1, self._total // max(1, self._active))


def use_compiled_threads(threads: int) -> None:
    """Let compiled kernels that this Python thread calls use that many threads, at most what numba has."""
    nb.set_num_threads(max(1, min(threads, nb.config.NUMBA_NUM_THREADS)))  # type: ignore[attr-defined]
