"""How a flow waits for its trainings, so that a cancellation reaches them."""

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from prefect.futures import PrefectFuture

# A signal wakes a thread that waits without a limit only if the system hands it to that very thread. With
# compiled threads at work it may go to one of them, and Python would act on it when the training has ended.
_SIGNALS_SEEN_SECONDS = 0.5


@contextmanager
def cancellation() -> Iterator[threading.Event]:
    """Yield the event that stops trainings; it is set when the block ends by an exception, as a cancelled flow does."""
    cancelled = threading.Event()
    try:
        yield cancelled
    except BaseException:
        cancelled.set()
        raise


def wait_for_all(futures: Collection[PrefectFuture[Any]]) -> None:
    """Return when all have ended, well or not."""
    n_ended = threading.Semaphore(0)
    for future in futures:
        future.add_done_callback(lambda _: n_ended.release())
    for _ in futures:
        while not n_ended.acquire(timeout=_SIGNALS_SEEN_SECONDS):
            pass
    for future in futures:
        future.wait()
