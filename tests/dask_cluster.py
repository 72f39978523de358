"""A real Dask cluster on loopback for tests: a scheduler and workers, each a process that can be killed."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 240


@dataclass(frozen=True)
class DaskCluster:
    """Its address and its worker processes."""

    address: str
    workers: "list[subprocess.Popen[bytes]]"


@contextmanager
def running_dask(folder: Path, environment: Mapping[str, str], n_workers: int = 2) -> Iterator[DaskCluster]:
    """Run a scheduler and workers of one thread, without nannies, so that a killed worker stays dead."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "scheduler.json"
    processes = []

    def start(name: str, *arguments: str) -> "subprocess.Popen[bytes]":
        with (folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", *arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=dict(environment),
            )
        processes.append(process)
        return process

    try:
        start("scheduler", "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
              "--scheduler-file", str(file))  # fmt: skip
        address = _address(file)
        workers = [
            start(f"worker{number}", "worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard",
                  "--host", "127.0.0.1", "--local-directory", str(folder / f"scratch{number}"))
            for number in range(n_workers)
        ]  # fmt: skip
        from distributed import Client  # of the extra dask

        with Client(address, timeout=START_SECONDS, set_as_default=False) as client:
            client.wait_for_workers(n_workers, timeout=START_SECONDS)
        yield DaskCluster(address, workers)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _address(file: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if file.exists() and (text := file.read_text()).endswith("}"):
            return str(json.loads(text)["address"])
        time.sleep(0.1)
    raise AssertionError(f"the Dask scheduler did not start, see {file.parent}/scheduler.log")
