"""Perform the steps of Dockerfile.cpu in a folder instead of an image, then start what the image starts.

python docker/check_steps.py [--folder DIR] [--keep]

For machines without a container engine. Every path of the image (/opt/..., /var/lib/train-cf, /tmp) becomes one
below the folder; the stages share it. RUN, COPY, ENV, ARG and WORKDIR are performed with the Python that runs this
script in place of the base image; apt-get and useradd are not, and are told as such. Then, as user 10001 where root
runs this with a Python that others may run: a Prefect server on SQLite, deployments/deploy.py, the image's CMD, its
HEALTHCHECK, a night of the deployment train-cf/nightly on demo data, and a second warm-up, which must find the
kernels of the first.

Ends with 0 when every step that ran ended well.
"""

import argparse
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from as_container import USER, Container
from dockerfile_steps import Step, expanded, pairs, read_steps

PROJECT = Path(__file__).resolve().parent.parent
_NOT_HERE = ("apt-get", "useradd")  # they would change this machine
_PATHS = re.compile(r"/opt/|/var/lib/train-cf|/tmp/")
_NIGHT = ["prefect", "deployment", "run", "train-cf/nightly", "--watch"]
_NIGHT_SECONDS = 420
_AUTH = "somebody:a-password"  # as compose.yaml sets one


class Image:
    """What the steps have made so far: environment, working directory, command and health check."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        self.arguments: dict[str, str] = {}
        self.directory = folder
        self.command: list[str] = []
        self.health: list[str] = []

    def inside(self, text: str) -> str:
        """Return ``text`` with the image's paths moved below the folder."""
        return _PATHS.sub(lambda found: f"{self.folder}{found[0]}", text)

    def perform(self, step: Step) -> str:
        """Carry out one instruction and return what became of it. Raises CalledProcessError when a RUN fails."""
        values = {**self.arguments, **self.environment}
        if step.word == "RUN":
            return self._run(step.rest)
        if step.word == "COPY":
            return self._copy(step.rest)
        if step.word == "ARG":
            name, _, default = step.rest.partition("=")
            self.arguments[name] = default
        elif step.word == "ENV":
            self.environment |= {
                name: expanded(self.inside(value), values) for name, value in pairs(step.rest).items()
            }
        elif step.word == "WORKDIR":
            self.directory = Path(self.inside(f"{step.rest}/"))
            self.directory.mkdir(parents=True, exist_ok=True)
        elif step.word == "CMD":
            self.command = json.loads(step.rest)
        elif step.word == "HEALTHCHECK":
            self.health = json.loads(step.rest.split("CMD ", 1)[1])
        elif step.word == "FROM":
            return f"not pulled: Python {sys.version.split()[0]} of this machine instead"
        return "done"

    def _run(self, command: str) -> str:
        if any(word in command for word in _NOT_HERE):
            return "not run: it would change this machine"
        subprocess.run(
            ["/bin/sh", "-euc", self.inside(command)],
            env={**_from_outside(), **self.environment},
            cwd=self.directory,
            check=True,
            stdout=sys.stderr,
        )
        return "run"

    def _copy(self, rest: str) -> str:
        *options, target = rest.split()
        if any(option.startswith("--from=") for option in options):
            return "nothing to do: the stages share one folder"
        for pattern in options:
            for found in PROJECT.glob(pattern):
                source, destination = found, self.directory / target
                if source.is_dir():
                    shutil.copytree(
                        source, destination, ignore=shutil.ignore_patterns("__pycache__", "*.nb[ci]")
                    )
                else:
                    destination = destination / source.name if target.endswith("/") else destination
                    destination.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(source, destination)
        return "copied"


def _from_outside() -> dict[str, str]:
    """Return the variables by which this machine's pip finds its index and its certificates."""
    return {
        name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "REQUESTS_"))
    }


def build(folder: Path) -> Image:
    """Perform all steps and print one line for each."""
    image = Image(folder)
    for name in ("tmp", "base/bin"):
        (folder / name).mkdir(parents=True)
    # the base image's `python`: the one that runs this script, outside any environment
    (folder / "base/bin/python").symlink_to(getattr(sys, "_base_executable", sys.executable))
    image.environment["PATH"] = f"{folder}/base/bin:{os.environ['PATH']}"
    for step in read_steps(PROJECT / "docker" / "Dockerfile.cpu"):
        started = time.perf_counter()
        outcome = image.perform(step)
        _tell(
            f"line {step.line:3d} {step.word:<11} {outcome}: {step.rest[:60]}", time.perf_counter() - started
        )
    return image


def try_out(image: Image) -> None:
    """Start server and worker as the image does, and run a night through them."""
    api, health = _free_port(), _free_port()
    data = image.folder / "var/lib/train-cf"
    owned = [data, data / "metrics", image.directory / "experiments"]
    for path in owned:  # what the image's `install --directory` does
        path.mkdir(parents=True, exist_ok=True)
    if os.getuid() == 0:
        cache = Path(image.environment["NUMBA_CACHE_DIR"])
        for path in (*owned, cache, *cache.rglob("*")):  # and COPY --chown
            os.chown(path, USER, USER)
    container = Container(
        image.folder,
        image.directory,
        {
            **image.environment,
            "PREFECT_API_URL": f"http://127.0.0.1:{api}/api",
            "PREFECT_WORKER_WEBSERVER_PORT": str(health),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_API_AUTH_STRING": _AUTH,
            "PREFECT_API_AUTH_STRING": _AUTH,
            "RECSYS_STORE": str(data / "store"),
            "RECSYS_METRICS_FILE": str(data / "metrics/train_cf.prom"),
        },
    )
    at_api = [part.replace("8080/health", f"{api}/api/health") for part in image.health]
    at_worker = [part.replace("8080", str(health)) for part in image.health]
    try:
        with _told(container.user, "Prefect server, healthy"):
            container.start(
                ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(api)], "server.log"
            )
            container.until_healthy(at_api)
        with _told(container.user, "one-shot deploy"):
            container.run(["python", "deployments/deploy.py"])
        with _told(container.user, "CMD, HEALTHCHECK"):
            container.start(image.command, "worker.log")
            container.until_healthy(at_worker)
        with _told(container.user, "demo data, prepare"):
            raw = data / "raw"
            container.run(["recsys", "demo-data", "--size", "small", "--output", str(raw)])
            container.run(
                ["recsys", "prepare", str(raw / "reviews.csv"), "--items", str(raw / "products.csv")]
            )
        with _told(container.user, "train-cf/nightly on the worker"):
            container.run(_NIGHT, _NIGHT_SECONDS)
        with _told(container.user, "doctor"):
            container.run(["recsys", "doctor"])
        with _told(container.user, "warm-up once more"):
            kernels = container.run(["recsys", "warm-up"])
        sys.stdout.write(f"{'':11}{kernels.split('; cache')[0]}\n")
        metrics = (data / "metrics/train_cf.prom").read_text()
        if "train_cf_trained_models 2.0" not in metrics:
            raise RuntimeError("the night left no metrics of two models")
    finally:
        container.stop()


@contextmanager
def _told(user: int, what: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    _tell(f"as user {user}: {what}", time.perf_counter() - started)


def _tell(what: str, seconds: float) -> None:
    sys.stdout.write(f"{seconds:7.1f} s  {what}\n")
    sys.stdout.flush()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> int:
    """Do all of it; return the exit code of the process."""
    parser = argparse.ArgumentParser(description="Perform the steps of Dockerfile.cpu without an engine.")
    parser.add_argument("--folder", type=Path, help="where; default: a temporary directory")
    parser.add_argument("--keep", action="store_true", help="leave the folder (1 GB) in place")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="train-cf-image-"))
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    try:
        try_out(build(folder))
    except (subprocess.SubprocessError, OSError, RuntimeError) as error:
        sys.stderr.write(f"error: {error}\n")
        for log in folder.glob("*.log"):
            sys.stderr.write(f"--- end of {log.name}\n{log.read_text(errors='replace')[-2000:]}\n")
        return 1
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
