"""A flow waits so that signals get through, and an interrupted wait stops the trainings."""

import concurrent.futures
import signal
import threading
import time

import pytest

from flows.waiting import cancellation, wait_for_all


class Future:
    """A thread's future with what wait_for_all asks of Prefect's."""

    def __init__(self, wrapped):
        self.wrapped = wrapped

    def add_done_callback(self, call):
        self.wrapped.add_done_callback(lambda _: call(self))

    def wait(self):
        self.wrapped.result()


class Stop(BaseException):
    pass


def test_it_returns_when_all_have_ended():
    with concurrent.futures.ThreadPoolExecutor() as pool:
        futures = [Future(pool.submit(time.sleep, seconds)) for seconds in (0.3, 0.1, 0.0)]
        wait_for_all(futures)
        assert all(future.wrapped.done() for future in futures)


def test_a_signal_that_went_to_another_thread_still_ends_the_wait_and_stops_the_training():
    """The kernel may give a signal to any thread; pthread_kill gives it to one that is not the main thread."""

    def handle(*_):
        raise Stop

    before = signal.signal(signal.SIGUSR1, handle)
    stopped = threading.Event()
    try:
        with concurrent.futures.ThreadPoolExecutor() as pool:

            def train(cancelled):
                time.sleep(0.5)  # the main thread waits by now
                signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
                if cancelled.wait(100):
                    stopped.set()

            began = time.monotonic()
            with pytest.raises(Stop), cancellation() as cancelled:
                wait_for_all([Future(pool.submit(train, cancelled))])
        assert stopped.is_set()
        assert time.monotonic() - began < 60
    finally:
        signal.signal(signal.SIGUSR1, before)
