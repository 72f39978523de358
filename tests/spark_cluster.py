"""A real Spark cluster on loopback for tests: a master and workers, processes whose executors can be killed."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from json import loads
from pathlib import Path

import psutil
import pytest
from servers import free_ports

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 120
_EXECUTOR = "org.apache.spark.executor.CoarseGrainedExecutorBackend"

needs_spark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("pyspark", "pyarrow", "pandas"))
    or shutil.which("java") is None,
    reason="pip install 'train-cf[spark]', and Java 17 on PATH",
)


@dataclass(frozen=True)
class SparkCluster:
    """Its address and its worker processes; each leads a process group that its executors belong to."""

    master: str
    workers: "list[subprocess.Popen[bytes]]"

    def executor_pids(self) -> list[int]:
        """Return the processes of the executors that run now."""
        found = []
        for worker in self.workers:
            with suppress(psutil.NoSuchProcess):
                found += psutil.Process(worker.pid).children(recursive=True)
        return [child.pid for child in found if _is_executor(child)]

    def kill_an_executor(self) -> int:
        """Kill the first executor as if its machine had lost power; return its process id."""
        pid = self.executor_pids()[0]
        os.kill(pid, signal.SIGKILL)
        return pid


@contextmanager
def running_spark(
    folder: Path, n_workers: int = 2, worker_memory: str = "1g", environment: dict[str, str] | None = None
) -> Iterator[SparkCluster]:
    """Run a standalone master and workers of one core each; everything is killed at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    processes: list[subprocess.Popen[bytes]] = []
    variables = _environment(environment or {})

    def start(name: str, role: str, *arguments: str) -> "subprocess.Popen[bytes]":
        script = Path(importlib.util.find_spec("pyspark").origin).parent / "bin" / "spark-class"
        with (folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                ["bash", str(script), f"org.apache.spark.deploy.{role}", *arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=variables
                | {"SPARK_WORKER_DIR": str(folder / name), "SPARK_LOCAL_DIRS": str(folder / name)},
                start_new_session=True,
            )
        processes.append(process)
        return process

    try:
        port = free_ports()  # below the ports that the system gives to whoever connects while Java starts
        page = port + 1
        start(
            "master", "master.Master", "--host", "127.0.0.1", "--port", str(port), "--webui-port", str(page)
        )
        master = f"spark://127.0.0.1:{port}"
        workers = [
            start(f"worker{number}", "worker.Worker", "--host", "127.0.0.1", "--port", "0", "--webui-port", "0",
                  "--cores", "1", "--memory", worker_memory, master)
            for number in range(n_workers)
        ]  # fmt: skip
        _wait_for_workers(folder, page, n_workers, processes)
        yield SparkCluster(master, workers)
    finally:
        for process in processes:
            _kill_with_children(process)


def _environment(more: dict[str, str]) -> dict[str, str]:
    return {
        **os.environ,
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_DAEMON_MEMORY": "256m",
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
        **more,
    }


def _wait_for_workers(
    folder: Path, page: int, n_workers: int, processes: "list[subprocess.Popen[bytes]]"
) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and all(process.poll() is None for process in processes):
        # while the master starts, the page may come in place of the JSON
        with (
            suppress(OSError, ValueError),
            urllib.request.urlopen(f"http://127.0.0.1:{page}/json/", timeout=5) as answer,
        ):
            if loads(answer.read())["aliveworkers"] == n_workers:
                return
        time.sleep(0.1)
    raise AssertionError(f"the Spark cluster did not start, see the logs in {folder}")


def _kill_with_children(process: "subprocess.Popen[bytes]") -> None:
    """Executors are children of their worker, some in groups of their own; Python workers theirs."""
    family = []
    with suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    for child in family:
        with suppress(psutil.NoSuchProcess):
            child.kill()
    psutil.wait_procs(family, timeout=10)


def _is_executor(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return _EXECUTOR in process.cmdline() and "java" in process.cmdline()[0]
    return False
