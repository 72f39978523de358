"""Spark jobs that somebody outside can stop: Spark itself waits for nobody."""

import logging
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from recsys.engines.spark_errors import translated_spark_errors
from recsys.errors import RecsysError

_LOOK_SECONDS = 0.5
logger = logging.getLogger(__name__)


@contextmanager
def interruptible(session: Any, stop_if_asked: Callable[[], None]) -> Iterator[None]:
    """Cancel the jobs started by this thread within the context once ``stop_if_asked`` raises, and raise that.

    Args:
        session: from ``spark_session``.
        stop_if_asked: raises an error of train-cf when the work is to end; called twice a second in another thread.

    Spark's own errors within are translated. Cost: a thread.
    """
    context, group = session.sparkContext, uuid.uuid4().hex
    watch = _Watch(lambda: context.cancelJobGroup(group), stop_if_asked)
    context.setJobGroup(group, "train-cf", interruptOnCancel=True)
    watch.start()
    try:
        with translated_spark_errors():
            yield
    except RecsysError as error:
        watch.end()
        if watch.reason is not None:
            raise watch.reason from error
        raise
    finally:
        watch.end()
        # Java may be gone, which the work has told already
        with suppress(RecsysError), translated_spark_errors():
            context.setLocalProperty("spark.jobGroup.id", None)
    if watch.reason is not None:
        raise watch.reason


class _Watch(threading.Thread):
    """Asks again and again, as a group can be cancelled between two of its jobs, where there is nothing to cancel."""

    def __init__(self, cancel: Callable[[], None], stop_if_asked: Callable[[], None]) -> None:
        super().__init__(name="spark-watch", daemon=True)
        self.reason: RecsysError | None = None
        self._cancel, self._stop_if_asked = cancel, stop_if_asked
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(_LOOK_SECONDS):
            try:
                self._stop_if_asked()
            except RecsysError as reason:
                self.reason = reason
            if self.reason is not None:
                try:
                    with translated_spark_errors():
                        self._cancel()
                except RecsysError as error:
                    logger.warning("Spark's jobs could not be cancelled: %s", error)

    def end(self) -> None:
        """Stop asking."""
        self._over.set()
        self.join()
