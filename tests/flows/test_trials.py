"""Which trials of a batch are sent again; stubs in place of Prefect's tasks. Real clusters: test_tune_cf.py."""

import logging
import threading
from types import SimpleNamespace

import pytest
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError

from flows import trials
from recsys.config.load import load_config
from recsys.errors import DivergedError, WorkerLost


class StubTask:
    """Ends each submission of a trial as told: None is well, else the error it raises; the last one for ever."""

    def __init__(self, *ends):
        self.ends, self.submitted = list(ends), 0

    def with_options(self, **_options):
        return self

    def submit(self, *_arguments):
        self.submitted += 1
        return StubFuture(self.ends.pop(0) if len(self.ends) > 1 else self.ends[0])


class StubFuture:
    def __init__(self, error):
        self.error = error

    def add_done_callback(self, call):
        call(self)

    def result(self):
        if self.error is not None:
            raise self.error


@pytest.fixture
def run(monkeypatch):
    """Return a function that runs one trial with a stub and returns how often the server was asked for."""
    asked = []
    monkeypatch.setattr(trials, "wait_for_answer", lambda: asked.append(1))
    monkeypatch.setattr(trials, "get_run_logger", lambda: logging.getLogger("recsys.trials"))
    monkeypatch.setattr(trials, "trial_document", lambda _study, number: {"number": number})
    told = []

    def run(stub):
        monkeypatch.setattr(trials, "trial_task", stub)
        study = SimpleNamespace(config=load_config(None, ["runtime.retries=2"]))
        trials.run_trials(study, [SimpleNamespace(number=7)], threading.Event(), told.append)
        return told, len(asked)

    return run


def test_a_trial_that_met_no_server_is_sent_again_once_the_server_answers(run):
    stub = StubTask(ConcurrencySlotAcquisitionError("tag:trial"), None)
    assert run(stub) == ([{"number": 7}], 2)
    assert stub.submitted == 2


def test_a_server_that_never_comes_back_ends_the_batch(run):
    stub = StubTask(ConcurrencySlotAcquisitionError("tag:trial"))
    with pytest.raises(WorkerLost, match="3 times"):
        run(stub)


def test_a_trial_that_failed_is_not_sent_again(run):
    stub = StubTask(DivergedError("NaN"))
    with pytest.raises(DivergedError):
        run(stub)
    assert stub.submitted == 1
