"""Real Prefect servers and workers for tests: loopback only, a home of their own, ended with the block."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
from servers import free_ports

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 240
LONG_ENOUGH_SECONDS = 240  # for whatever comes by itself, also on a loaded machine; waits end early
_BUSY_SECONDS = 60
_ENDED = {"COMPLETED", "FAILED", "CANCELLED", "CRASHED"}


@dataclass(frozen=True)
class PrefectServer:
    """A running server: how processes reach it, and its REST API."""

    url: str
    folder: Path
    environment: dict[str, str]

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Return the JSON that the REST API answers."""
        deadline = time.monotonic() + _BUSY_SECONDS
        only_reads = method == "GET" or path.endswith(
            "/filter"
        )  # anything else, repeated, could be done twice
        while True:
            try:
                answer = httpx.request(method, f"{self.url}/api{path}", json=body, timeout=30)
            except httpx.TransportError:
                if not only_reads or time.monotonic() > deadline:
                    raise
            else:
                busy = answer.status_code == httpx.codes.SERVICE_UNAVAILABLE  # SQLite: clients come again
                if not busy or time.monotonic() > deadline:
                    answer.raise_for_status()
                    return answer.json() if answer.content else None
            time.sleep(0.5)

    def command(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a Python command (such as "-m", "prefect", "version") in the project's root."""
        return subprocess.run(
            [sys.executable, *arguments],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=self.environment | more,
            timeout=600,
            check=False,
        )

    def deployment(self, name: str) -> str:
        """Return the id of FLOW/DEPLOYMENT."""
        return str(self.call("GET", f"/deployments/name/{name}")["id"])

    def start_run(self, deployment: str, **parameters: Any) -> str:
        """Create a run of FLOW/DEPLOYMENT and return its id."""
        path = f"/deployments/{self.deployment(deployment)}/create_flow_run"
        scheduled = {"type": "SCHEDULED", "name": "Scheduled"}
        return str(self.call("POST", path, {"parameters": parameters, "state": scheduled})["id"])

    def schedule(self, deployment: str, **parameters: Any) -> None:
        """Move the schedule of FLOW/DEPLOYMENT, a cron line, to a few seconds from now."""
        soon = datetime.now(UTC) + timedelta(seconds=20)
        interval = {"interval": 86_400, "anchor_date": soon.isoformat()}
        path = f"/deployments/{self.deployment(deployment)}/schedules"
        (known,) = self.call("GET", path)
        assert known["schedule"]["cron"]
        self.call("PATCH", f"{path}/{known['id']}", {"schedule": interval, "parameters": parameters})

    def run(self, run_id: str) -> Any:
        """Return a flow run."""
        return self.call("GET", f"/flow_runs/{run_id}")

    def wait(self, run_id: str, seconds: float) -> Any:
        """Return the flow run once it has ended, one way or the other."""
        return until(lambda: ended(self.run(run_id)), seconds, f"end of run {run_id}")

    def runs_of(self, deployment: str) -> list[Any]:
        """Return the runs of FLOW/DEPLOYMENT that have started, oldest first."""
        only = {"deployment_id": {"any_": [self.deployment(deployment)]}, "start_time": {"is_null_": False}}
        return list(self.call("POST", "/flow_runs/filter", {"flow_runs": only, "sort": "START_TIME_ASC"}))

    def tasks(self, run_id: str) -> dict[str, Any]:
        """Return the task runs of a flow run by name."""
        body = {"flow_runs": {"id": {"any_": [run_id]}}}
        return {task["name"]: task for task in self.call("POST", "/task_runs/filter", body)}

    def artifacts(self, run_id: str) -> dict[str, Any]:
        """Return the newest artifacts of a flow run by key."""
        body = {"flow_runs": {"id": {"any_": [run_id]}}, "sort": "CREATED_DESC"}
        found = self.call("POST", "/artifacts/filter", body)
        return {one["key"]: one for one in reversed(found)}

    def logs(self, run_id: str) -> list[str]:
        """Return the log lines of a flow run."""
        body = {"logs": {"flow_run_id": {"any_": [run_id]}}, "sort": "TIMESTAMP_ASC"}
        return [line["message"] for line in self.call("POST", "/logs/filter", body)]

    def notice_zombies_after(self, seconds: float) -> None:
        """Let the automation that looks for silent runs call them crashed after so long."""
        known = self.call("POST", "/automations/filter", {})
        automation = next(one for one in known if one["name"] == "train-cf: zombie")
        automation["trigger"]["within"] = seconds
        body = {name: automation[name] for name in ("name", "description", "enabled", "trigger", "actions")}
        self.call("PUT", f"/automations/{automation['id']}", body)

    def foreign_addresses(self) -> str:
        """Return what server, workers and runs tried to reach beyond loopback, one a line."""
        log = self.folder / "network.log"
        return log.read_text() if log.exists() else ""

    @contextmanager
    def worker(self, pool: str, **more: str) -> Iterator["Worker"]:
        """Start a process worker of ``pool``; it and what it started are killed at the end of the block."""
        with (self.folder / f"{pool}-worker.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=self.environment | more,
            )
        worker = Worker(process)
        try:
            yield worker
        finally:
            worker.kill()

    def has_worker(self, pool: str) -> bool:
        """Return whether a worker of the pool is online."""
        return any(
            one["status"] == "ONLINE" for one in self.call("POST", f"/work_pools/{pool}/workers/filter", {})
        )


@dataclass(frozen=True)
class Worker:
    """A worker process."""

    process: "subprocess.Popen[bytes]"

    def kill(self) -> None:
        """End the worker and the runs it has started as a power cut would: SIGKILL."""
        if self.process.poll() is None:
            family = []
            with suppress(psutil.NoSuchProcess):
                family = psutil.Process(self.process.pid).children(recursive=True)
            self.process.kill()
            for child in family:
                with suppress(psutil.NoSuchProcess):  # also: one that has another's number now
                    child.kill()
        self.process.wait()


@contextmanager
def running_prefect(folder: Path, **more: str) -> Iterator[PrefectServer]:
    """Run ``prefect server start`` with a fresh home in ``folder`` for as long as the block lasts."""
    port = free_ports()
    url = f"http://127.0.0.1:{port}"
    environment = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    environment |= {
        "HOME": str(folder),
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": f"{url}/api",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests" / "network_guard")]),
        "RECSYS_TEST_NETWORK_LOG": str(folder / "network.log"),
        "RECSYS_PROJECT": str(ROOT),
        "RECSYS_LOG_DIR": str(folder / "logs"),
        **more,
    }
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=environment,
        )
    server = PrefectServer(url, folder, environment)
    try:
        until(lambda: _answers(url) or None, START_SECONDS, f"server, see {folder}/server.log")
        yield server
    finally:
        Worker(process).kill()


def ended(run: Any) -> Any:
    """Return the run if it has ended, else None."""
    return run if run["state_type"] in _ENDED else None


def until(look: Callable[[], Any], seconds: float, what: str) -> Any:
    """Return the first answer of ``look`` that is not None; fail when none came in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found is not None:
            return found
        time.sleep(0.3)
    raise AssertionError(f"waited {seconds:g} s in vain for the {what}")


def deploy(server: PrefectServer, more: Mapping[str, str]) -> None:
    """Run deployments/deploy.py against the server, as `make deploy` does."""
    done = server.command("deployments/deploy.py", **more)
    assert done.returncode == 0, done.stdout + done.stderr


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/api/health", timeout=2).status_code == 200
    except httpx.TransportError:
        return False
