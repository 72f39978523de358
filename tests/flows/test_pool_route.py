"""The rules of the route to other pools, with a stub in place of the Prefect client; tests/e2e has the real one."""

import logging
import threading
from types import SimpleNamespace
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import StateType, WorkerStatus
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Completed, Crashed, Failed, Pending, Running, Scheduled

from flows import pool_route
from recsys.config.load import load_config
from recsys.errors import DeviceUnavailable, TrainingCancelled, TrainingError, WorkerLost


class StubClient:
    """Answers with the given states one after the other, the last one for ever."""

    def __init__(self, *states, deployed=True, online=True):
        self.states, self.deployed, self.online = list(states), deployed, online
        self.set_states, self.asked_logs_from = [], []
        self.lines = ["loaded", "trained"]

    def __enter__(self):
        return self

    def __exit__(self, *args):
        return None

    def read_flow_run(self, _run_id):
        return SimpleNamespace(state=self.states.pop(0) if len(self.states) > 1 else self.states[0])

    def set_flow_run_state(self, _run_id, state):
        self.set_states.append(state.type)

    def read_logs(self, _filter, *, offset, sort):
        self.asked_logs_from.append(offset)
        return [SimpleNamespace(level=logging.INFO, message=line) for line in self.lines[offset:]]

    def read_deployment_by_name(self, name):
        if not self.deployed:
            raise ObjectNotFound(http_exc=None)
        return SimpleNamespace(id=name)

    def read_workers_for_work_pool(self, _pool):
        status = WorkerStatus.ONLINE if self.online else WorkerStatus.OFFLINE
        return [SimpleNamespace(status=status)]


@pytest.fixture
def route(monkeypatch, caplog):
    """Return a function that waits for a child of a stub client, without pauses."""
    monkeypatch.setattr(pool_route, "_POLL_SECONDS", 0.001)
    monkeypatch.setattr(pool_route, "_LAST_LOGS_SECONDS", 0.0)
    monkeypatch.setattr(pool_route, "get_run_logger", lambda: logging.getLogger("recsys.child"))
    caplog.set_level(logging.INFO, logger="recsys.child")

    def wait(client, *, pickup_seconds=60.0, cancelled=False):
        event = threading.Event()
        if cancelled:
            event.set()
        return pool_route._ChildRun(client, uuid4(), event, "gpu").wait(pickup_seconds)

    return wait


def test_a_completed_child_is_waited_for_and_its_lines_come_once(route, caplog):
    client = StubClient(Scheduled(), Pending(), Running(), Running(), Completed())
    assert route(client) is True
    assert [record.message for record in caplog.records] == ["[gpu] loaded", "[gpu] trained"]


@pytest.mark.parametrize("state", [Scheduled(), Pending()])
def test_a_child_that_nobody_takes_is_withdrawn(route, state):
    client = StubClient(state)
    assert route(client, pickup_seconds=0.02) is False
    assert client.set_states == [StateType.CANCELLED]


@pytest.mark.parametrize(
    ("state", "error"),
    [(Crashed(message="killed"), WorkerLost), (Failed(), TrainingError), (Cancelled(), TrainingError)],
)
def test_the_end_of_a_child_says_whether_a_retry_helps(route, state, error):
    with pytest.raises(error) as caught:
        route(StubClient(Running(), state))
    assert type(caught.value) is error
    assert caught.value.retryable is (error is WorkerLost)


@pytest.mark.parametrize(
    ("state", "asked"), [(Scheduled(), StateType.CANCELLED), (Running(), StateType.CANCELLING)]
)
def test_cancellation_is_handed_on(route, state, asked):
    client = StubClient(state)
    with pytest.raises(TrainingCancelled):
        route(client, cancelled=True)
    assert client.set_states == [asked]


@pytest.mark.parametrize(
    ("model", "use_gpu", "deployed", "online", "expected"),
    [
        ("als", "auto", True, True, True),
        ("als", "auto", True, False, False),
        ("als", "true", True, False, True),  # a worker may come; the pick-up limit decides
        ("als", "true", False, False, False),  # the fit itself says that there is no GPU
        ("als", "false", True, True, False),
        ("bpr", "true", True, True, False),
        ("hybrid", "auto", True, True, True),
        ("hybrid", "auto", True, False, False),
        ("hybrid", "true", True, False, True),
        ("hybrid", "false", True, True, False),
    ],
)
def test_what_goes_to_the_gpu_pool(monkeypatch, model, use_gpu, deployed, online, expected):
    client = StubClient(Completed(), deployed=deployed, online=online)
    monkeypatch.setattr(pool_route, "get_client", lambda sync_client: client)
    settings = SimpleNamespace(api=SimpleNamespace(url="http://127.0.0.1:1/api"))
    monkeypatch.setattr(pool_route, "get_current_settings", lambda: settings)
    monkeypatch.setattr(pool_route, "torch_gpu_is_usable", lambda: False)
    section = "hybrid" if model == "hybrid" else "als"
    run = SimpleNamespace(config=load_config(None, [f"{section}.use_gpu={use_gpu}"]))
    assert pool_route.pool_of(run, model) == ("gpu" if expected else None)


@pytest.mark.parametrize(
    ("settings_of_run", "expected"),
    [
        (["als.solver=implicit"], True),
        (["als.solver=native"], False),
        (["bert.init=als"], True),
        (["bert.init=als", "bert.freeze_first_iter=true"], False),
    ],
)
def test_als_that_only_a_cpu_can_train_never_goes_to_the_gpu_pool(monkeypatch, settings_of_run, expected):
    client = StubClient(Completed(), deployed=True, online=True)
    monkeypatch.setattr(pool_route, "get_client", lambda sync_client: client)
    settings = SimpleNamespace(api=SimpleNamespace(url="http://127.0.0.1:1/api"))
    monkeypatch.setattr(pool_route, "get_current_settings", lambda: settings)
    run = SimpleNamespace(config=load_config(None, settings_of_run))
    assert pool_route.pool_of(run, "als") == ("gpu" if expected else None)


def test_a_machine_with_a_gpu_and_the_embedded_server_train_here(monkeypatch):
    run = SimpleNamespace(config=load_config(None, ["als.use_gpu=auto"]))
    settings = SimpleNamespace(api=SimpleNamespace(url=None))
    monkeypatch.setattr(pool_route, "get_current_settings", lambda: settings)
    assert pool_route.pool_of(run, "als") is None
    settings.api.url = "http://127.0.0.1:1/api"
    monkeypatch.setattr(pool_route, "gpu_is_usable", lambda: True)
    assert pool_route.pool_of(run, "als") is None


@pytest.mark.parametrize(
    ("engine", "model", "installed", "deployed", "expected"),
    [
        ("spark", "als", False, True, "spark"),
        ("spark", "als", False, False, None),  # the fit itself says what is missing
        ("spark", "als", True, True, None),
        ("spark", "bpr", False, True, None),  # spark trains no BPR
        ("torchrec", "bpr", False, True, "torchrec"),
        ("torchrec", "hybrid", False, True, "torchrec"),
        ("torchrec", "hybrid", True, True, None),
    ],
)
def test_a_model_of_another_engine_goes_to_its_pool_unless_it_is_installed_here(
    monkeypatch, engine, model, installed, deployed, expected
):
    client = StubClient(Completed(), deployed=deployed, online=False)
    monkeypatch.setattr(pool_route, "get_client", lambda sync_client: client)
    settings = SimpleNamespace(api=SimpleNamespace(url="http://127.0.0.1:1/api"))
    monkeypatch.setattr(pool_route, "get_current_settings", lambda: settings)
    monkeypatch.setattr(pool_route, "engine_is_installed", lambda *_: installed)
    run = SimpleNamespace(config=load_config(None, [f"runtime.engine={engine}", "als.use_gpu=false"]))
    assert pool_route.pool_of(run, model) == expected


def test_an_engine_is_never_replaced_by_this_process():
    run = SimpleNamespace(config=load_config(None, ["runtime.engine=spark", "als.use_gpu=auto"]))
    with pytest.raises(
        DeviceUnavailable, match=r"pool spark took als in 300 s; start one, or set runtime\.engine\.als"
    ):
        pool_route._not_taken(run, "als", "spark")
