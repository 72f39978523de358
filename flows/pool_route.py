"""The way to another worker: a run of fit-model on the pool that has the GPU or the engine; the calling task waits.

Work pools take flow runs, so a single task cannot be sent to another worker. Only references go through
Prefect: the child reads the data from the store and leaves the factors there. A pool, its deployment of
fit-model and the engine it is for have one name: gpu, spark, torchrec.
"""

import threading
import time
from uuid import UUID

from prefect import task
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.objects import FlowRun, StateType, WorkerStatus
from prefect.client.schemas.sorting import LogSort
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_run_logger
from prefect.settings import get_current_settings
from prefect.states import Cancelled, Cancelling

from flows.tasks import STAGE, fit_task
from recsys.cf.models.device import gpu_is_usable
from recsys.cf.models.hybrid_torch import torch_gpu_is_usable
from recsys.engines.available import engine_is_installed
from recsys.errors import DeviceUnavailable, TrainingCancelled, TrainingError, WorkerLost
from recsys.pipeline.fit import FitReference, finished_fit
from recsys.pipeline.run import RunReference

GPU_POOL = "gpu"
_POLL_SECONDS = 1.0
# Lines come in batches every 2 s, the last ones after the state, when the process ends.
_NO_MORE_LOGS_SECONDS = 2.5
_LAST_LOGS_SECONDS = 15.0
_WAITING = {StateType.SCHEDULED, StateType.PENDING}
_UNFINISHED = [StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]


def pool_of(run: RunReference, model: str) -> str | None:
    """Return the pool whose worker trains this model, None when it is trained by this process.

    A model of another engine goes to the pool of that name unless the engine is installed here. ALS or hybrid
    of the local engine goes to a GPU when none is at hand here: with ``use_gpu: true`` whenever the deployment
    exists, as a worker may still come; with ``auto`` only while a worker of the pool is online.
    """
    if get_current_settings().api.url is None:
        return None  # the embedded server has no workers
    engine = getattr(run.config.runtime.engine, model)
    if engine != "local":
        here = engine_is_installed(engine, run.config)
        return None if here or not _is_deployed(engine) else engine
    if _use_gpu(run, model) == "false":
        return None
    if torch_gpu_is_usable() if model == "hybrid" else gpu_is_usable():
        return None
    if not _is_deployed(GPU_POOL):
        return None
    return GPU_POOL if _use_gpu(run, model) == "true" or _worker_is_online(GPU_POOL) else None


@task(task_run_name="fit {model} on {pool}", **STAGE)
def fit_on_pool_task(run: RunReference, model: str, cancelled: threading.Event, pool: str) -> FitReference:
    """Let a worker of the pool train the model; if none takes it in time, train here or fail, see ``_not_taken``."""
    with get_client(sync_client=True) as client:
        child = _unfinished_child(client, run, model, pool) or _new_child(run, model, pool)
        taken = _ChildRun(client, child.id, cancelled, pool).wait(run.config.runtime.pickup_seconds)
    if not taken:
        get_run_logger().warning("%s: it is trained on the CPU", _not_taken(run, model, pool))
        return fit_task(run, model, cancelled)
    fit = finished_fit(run, model)
    if fit is None:
        raise TrainingError(f"the {pool} run of {model} completed without a fit in {run.store_uri}")
    return fit


def _not_taken(run: RunReference, model: str, pool: str) -> str:
    """Return what is to be told. Raises DeviceUnavailable where this process must not train the model instead."""
    problem = f"no worker of pool {pool} took {model} in {run.config.runtime.pickup_seconds:g} s"
    if pool != GPU_POOL:
        raise DeviceUnavailable(f"{problem}; start one, or set runtime.engine.{model} to local")
    if _use_gpu(run, model) == "true":
        raise DeviceUnavailable(
            f"{problem}; start one, or set {model}.use_gpu to auto to train on the CPU then"
        )
    return problem


class _ChildRun:
    """The run on the other worker: waits for its end, repeats its log lines here, hands cancellation on."""

    def __init__(
        self, client: SyncPrefectClient, run_id: UUID, cancelled: threading.Event, pool: str
    ) -> None:
        self._client, self._id, self._cancelled, self._pool = client, run_id, cancelled, pool
        self._n_logs = 0
        self._logger = get_run_logger()

    def wait(self, pickup_seconds: float) -> bool:
        """Return True when the child completed, False when nobody took it in time.

        Raises TrainingError when it failed, WorkerLost when its process vanished, TrainingCancelled.
        """
        deadline = time.monotonic() + pickup_seconds
        while True:
            cancelled = self._cancelled.wait(_POLL_SECONDS)
            state = self._client.read_flow_run(self._id).state
            waiting = state is None or state.type in _WAITING
            self._forward_logs()
            if cancelled:
                self._stop(waiting)
                raise TrainingCancelled(f"the {self._pool} run was cancelled with the run that waited for it")
            if waiting and time.monotonic() > deadline:
                self._stop(waiting)
                return False
            if state is not None and state.is_final():
                self._forward_last_logs()
                return self._judge(state.type, f"{state.name}: {state.message}")

    def _stop(self, waiting: bool) -> None:
        """Withdraw a run that waits; let the worker end the process of one that is at work."""
        self._client.set_flow_run_state(self._id, Cancelled() if waiting else Cancelling())

    def _judge(self, state: StateType, told: str) -> bool:
        if state == StateType.COMPLETED:
            return True
        if state == StateType.CRASHED:
            raise WorkerLost(
                f"the {self._pool} run {self._id} vanished ({told}); it goes on from its checkpoint"
            )
        raise TrainingError(f"the {self._pool} run {self._id} ended as {told}")

    def _forward_last_logs(self) -> None:
        last = time.monotonic() + _LAST_LOGS_SECONDS
        quiet_since = time.monotonic()
        while time.monotonic() < min(last, quiet_since + _NO_MORE_LOGS_SECONDS):
            if self._cancelled.wait(_POLL_SECONDS / 2):
                return
            known = self._n_logs
            self._forward_logs()
            if self._n_logs > known:
                quiet_since = time.monotonic()

    def _forward_logs(self) -> None:
        only = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[self._id]))
        lines = self._client.read_logs(only, offset=self._n_logs, sort=LogSort.TIMESTAMP_ASC)
        for line in lines:
            self._logger.log(line.level, "[%s] %s", self._pool, line.message)
        self._n_logs += len(lines)


def _use_gpu(run: RunReference, model: str) -> str:
    """Return the setting of that name; "false" for a model that has none, or that trains on the CPU anyway."""
    section = getattr(run.config, model)
    if getattr(section, "solver", None) == "native":  # our own kernel knows no GPU
        return "false"
    if model == "als" and run.config.bert.freeze_first_iter:  # see fit_als: it trains on the CPU
        return "false"
    return str(getattr(section, "use_gpu", "false"))


def _is_deployed(pool: str) -> bool:
    with get_client(sync_client=True) as client:
        try:
            client.read_deployment_by_name(_deployment(pool))
        except ObjectNotFound:
            return False
        return True


def _worker_is_online(pool: str) -> bool:
    with get_client(sync_client=True) as client:
        return any(worker.status == WorkerStatus.ONLINE for worker in client.read_workers_for_work_pool(pool))


def _deployment(pool: str) -> str:
    return f"fit-model/{pool}"


def _tags(run: RunReference, model: str, pool: str) -> list[str]:
    return ["train-cf", pool, model, run.run_id]


def _new_child(run: RunReference, model: str, pool: str) -> FlowRun:
    return run_deployment(
        _deployment(pool),
        parameters={"run": run.model_dump(mode="json"), "model": model},
        flow_run_name=f"fit {model} {run.data_version}",
        tags=_tags(run, model, pool),
        timeout=0,
    )


def _unfinished_child(client: SyncPrefectClient, run: RunReference, model: str, pool: str) -> FlowRun | None:
    """Return the child of an earlier attempt of this run that is still waiting or at work."""
    deployment = client.read_deployment_by_name(_deployment(pool))
    found = client.read_flow_runs(
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id])),
        flow_run_filter=FlowRunFilter(
            tags=FlowRunFilterTags(all_=_tags(run, model, pool)),
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_UNFINISHED)),
        ),
        limit=1,
    )
    return found[0] if found else None
