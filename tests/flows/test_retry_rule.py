"""Which failures are tried again, and after which pauses."""

import httpx
import pytest
from prefect import task
from prefect.states import Failed

from flows.tasks import STAGE, fit_task, of_run, retry_makes_sense
from recsys.config.load import load_config
from recsys.errors import (
    AccessDenied,
    DivergedError,
    OutcomeUnknown,
    StoreUnavailable,
    TrainingCancelled,
    TrainingTimeout,
    WorkerLost,
)

PASSING = [
    *(StoreUnavailable("down"), OutcomeUnknown("reply lost"), WorkerLost("killed")),
    *(ConnectionResetError("reset"), httpx.ConnectError("no server")),
]
LASTING = [
    *(AccessDenied("403"), DivergedError("nan"), TrainingCancelled("stop"), TrainingTimeout("late")),
    *(TimeoutError("stage"), ValueError("a bug"), MemoryError()),
]


class Run:
    """Stands for a run of which only the configuration is asked."""

    def __init__(self, *overrides):
        self.config = load_config(None, overrides)


@pytest.mark.parametrize(
    ("error", "expected"), [*((e, True) for e in PASSING), *((e, False) for e in LASTING)]
)
def test_only_passing_failures_are_tried_again(error, expected):
    assert retry_makes_sense(None, None, Failed(data=error)) is expected


def test_pauses_double_and_come_from_the_configuration():
    stage = of_run(fit_task, Run("runtime.retries=3", "runtime.retry_delay_seconds=2"))
    assert stage.retries == 3
    assert stage.retry_delay_seconds == [2, 4, 8]
    assert stage.retry_jitter_factor == 0.5
    assert stage.retry_condition_fn is retry_makes_sense


def test_three_retries_outlive_an_outage_of_20_seconds_even_with_unlucky_jitter():
    pauses = task(lambda: None, **STAGE).retry_delay_seconds
    assert len(pauses) == 3
    assert sum(pauses) * (1 - STAGE["retry_jitter_factor"]) > 20


def test_no_stage_stores_its_result_or_caches():
    from flows import pool_route, prepare_data, promote, tasks

    found = [
        one
        for module in (tasks, pool_route, prepare_data, promote)
        for one in vars(module).values()
        if type(one).__name__ == "Task"
    ]
    assert len(found) >= 10
    for stage in found:
        assert stage.persist_result is False, stage.name
        assert type(stage.cache_policy).__name__ == "_None", stage.name
