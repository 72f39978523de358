"""The processes of a fit by TorchRec, seen from the one that asks for it: started by torchrun, followed, ended."""

import importlib.util
import json
import logging
import os
import re
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType

import psutil

import recsys
import recsys.errors
from recsys.cf.models.base import FitControl
from recsys.cf.models.torchrec_job import GO, STOP, JobFiles
from recsys.config.schema import TorchRecConfig
from recsys.errors import ConfigError, TrainingError, WorkerLost
from recsys.storage.scratch import scratch_folder
from recsys.types import Json

_WORKER = "recsys.cf.models.torchrec_worker"
_NEEDED = ("torch", "torchrec", "fbgemm_gpu", "numba", "polars", "psutil", "pydantic", "scipy")
_FIND = (
    "import importlib.util, json, sys; "
    "print(json.dumps([name for name in sys.argv[1:] if importlib.util.find_spec(name) is None]))"
)
_POLL_SECONDS = 0.02
_END_SECONDS = 15.0  # for ranks that have finished to leave
_TAIL_LINES = 15
_ENDED_BY_TORCHRUN = ("-15",)  # SIGTERM to the neighbours of a rank that failed
logger = logging.getLogger(__name__)


def require_torchrec(settings: TorchRecConfig) -> None:
    """Raise ConfigError when the environment of the ranks lacks something. Looks without importing torch."""
    if settings.python is None:
        missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    else:
        missing = _missing_in(settings.python)
    if missing:
        where = settings.python or sys.executable
        raise ConfigError(
            f"engine torchrec needs {', '.join(missing)}, which {where} does not have. Make the environment with "
            "'make torchrec' (pip install 'train-cf[torchrec]', then pip install --no-deps torchrec==1.8.0) and "
            "name it: torchrec.python: .venv-torchrec/bin/python; or set runtime.engine to local"
        )


def _missing_in(python: str) -> list[str]:
    try:
        done = subprocess.run(
            [python, "-c", _FIND, *_NEEDED], capture_output=True, text=True, check=True, timeout=60
        )
        return list(json.loads(done.stdout))
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise ConfigError(
            f"torchrec.python {python} cannot be run ({error}); name the Python of the environment that "
            "'make torchrec' makes, such as .venv-torchrec/bin/python"
        ) from error


@contextmanager
def working_directory(settings: TorchRecConfig) -> Iterator[JobFiles]:
    """Yield an empty directory that driver and ranks share; it is gone afterwards.

    Where the driver is killed, the next fit removes it, but not from a directory that hosts share: nobody sees there
    whether another host still works in it.
    """
    if settings.shared_directory is None:
        with scratch_folder("torchrec") as folder:
            yield JobFiles(folder)
        return
    with TemporaryDirectory(prefix="train-cf-torchrec-", dir=settings.shared_directory) as directory:
        yield JobFiles(Path(directory))


def command(settings: TorchRecConfig, files: JobFiles) -> list[str]:
    """Return what starts the ranks of one host."""
    python = settings.python or sys.executable
    meet = ["--standalone"]
    if settings.hosts > 1:
        name = files.directory.name
        meet = [f"--nnodes={settings.hosts}", "--rdzv-backend=c10d"]
        meet += [f"--rdzv-endpoint={settings.rendezvous}", f"--rdzv-id={name}"]
    return [
        *(python, "-m", "torch.distributed.run", *meet, f"--nproc-per-node={settings.ranks}"),
        *("--max-restarts=0", "--monitor-interval=0.1", "-m", _WORKER, str(files.directory)),
    ]


class Ranks:
    """The ranks of a fit at work. Leaving the context ends them, however it is left."""

    def __init__(self, files: JobFiles, settings: TorchRecConfig, control: FitControl) -> None:
        self.device = "cpu"
        self._files, self._settings, self._control = files, settings, control
        self._read, self._lines, self._epoch = 0, deque[Json](), 0

    def __enter__(self) -> "Ranks":
        started = command(self._settings, self._files)
        if self._settings.hosts > 1:
            logger.info("start this on each of the other hosts: %s", " ".join(started))
        with self._files.log.open("wb") as log:
            self._torchrun = subprocess.Popen(
                started, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment()
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:  # all that was wanted is in the files: let them leave
            with suppress(subprocess.TimeoutExpired):
                self._torchrun.wait(_END_SECONDS)
        self._kill()

    def next_row(self) -> Json:
        """Return the next line with a history row: {"row": ..., "largest_factor": ...}.

        Raises WorkerLost when a rank vanished, what a rank raised, TrainingCancelled and TrainingTimeout at once,
        also in the middle of an epoch.
        """
        while True:
            while self._lines:
                line = self._lines.popleft()
                if "row" in line:
                    self._epoch = int(line["row"]["epoch"])
                    return line
                self.device = line.get("device", self.device)
                logger.info("%s ranks of TorchRec are at work on the %s", line.get("ranks"), self.device)
            over = self._torchrun.poll() is not None  # asked before reading: a last line is not missed
            lines, self._read = self._files.lines(self._read)
            self._lines.extend(lines)
            if not lines:
                if over:
                    raise self._loss()
                self._control.stop_if_asked(self._epoch)
                time.sleep(_POLL_SECONDS)

    def let_go(self, epoch: int, goes_on: bool) -> None:
        """Tell the ranks, which wait after an export, whether there is another epoch."""
        self._files.decide(epoch, GO if goes_on else STOP)

    def _loss(self) -> TrainingError:
        """Return the error that says why the ranks ended."""
        lines = [line for line in self._files.log.read_text(errors="replace").splitlines() if line.strip()]
        codes = re.findall(r"exitcode\s*: (-?\d+)", "\n".join(lines))
        died = any(code.startswith("-") and code not in _ENDED_BY_TORCHRUN for code in codes)
        for told in self._files.errors():
            known = getattr(recsys.errors, str(told["kind"]), None)
            if isinstance(known, type) and issubclass(known, TrainingError):
                return known(told["message"])
            if not died:  # else the others' errors may only tell that their neighbour died
                return TrainingError(
                    f"{told['kind']}: {told['message']}; a rerun would end the same way. The end of the log:\n"
                    + "\n".join(lines[-_TAIL_LINES:])
                )
        killed = "; killed by signal 9: from outside, or for want of memory" if "-9" in codes else ""
        return WorkerLost(
            f"a rank of TorchRec ended after epoch {self._epoch} (exit codes {', '.join(codes) or 'unknown'}"
            f"{killed}); a rerun goes on from the last checkpoint. The end of its log:\n"
            + "\n".join(lines[-_TAIL_LINES:])
        )

    def _kill(self) -> None:
        processes = []
        with suppress(psutil.NoSuchProcess):
            torchrun = psutil.Process(self._torchrun.pid)
            processes = [torchrun, *torchrun.children(recursive=True)]  # ranks lead sessions of their own
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._torchrun.wait()
        psutil.wait_procs(processes, timeout=_END_SECONDS)

    def _environment(self) -> dict[str, str]:
        """Return what the ranks inherit: this very code first, and this fit's threads shared out among them."""
        paths = [str(Path(recsys.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
        threads = max(1, self._control.threads() // self._settings.ranks)
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path for path in paths if path),
            "OMP_NUM_THREADS": str(threads),
            "NUMBA_NUM_THREADS": str(threads),
        }
        if self._settings.hosts == 1 and sys.platform == "linux":
            environment.setdefault("GLOO_SOCKET_IFNAME", "lo")  # nobody from outside is expected
        return environment
