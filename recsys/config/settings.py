"""What the environment decides: the default store, local directories, and the size of this machine."""

import math
import os
from pathlib import Path

import psutil

from recsys.config.cgroup import cpu_quota, memory_left_bytes, memory_limit_bytes


def set_thread_policy() -> None:
    """Set how thread pools of libraries behave, unless the environment says it; before NumPy is imported.

    Our parallelism is in compiled code: a BLAS pool beside it is up to ten times slower, so BLAS gets one
    thread. OpenMP threads sleep at a barrier instead of spinning: with a busy neighbour on the cores, spinning
    more than halves the speed of the BPR kernel (DECISIONS.md).
    """
    for name, value in (
        ("OPENBLAS_NUM_THREADS", "1"),
        ("MKL_NUM_THREADS", "1"),
        ("OMP_WAIT_POLICY", "passive"),
    ):
        os.environ.setdefault(name, value)


def default_store_uri() -> str:
    """Return the store used where no ``--store`` is given: RECSYS_STORE, or ``./store``."""
    return os.environ.get("RECSYS_STORE") or "./store"


def state_dir() -> Path:
    """Return the directory of checkpoints and other state of unfinished runs: RECSYS_STATE, or ``.state``."""
    return Path(os.environ.get("RECSYS_STATE") or ".state")


def data_cache_dir() -> Path | None:
    """Return where the processes of this host share the files of data versions: in RECSYS_STATE; None: not at all."""
    return state_dir() / "data" if os.environ.get("RECSYS_STATE") else None


def log_dir() -> Path:
    """Return the directory of log files: RECSYS_LOG_DIR, or ``logs/cf``."""
    return Path(os.environ.get("RECSYS_LOG_DIR") or "logs/cf")


def metrics_file() -> Path | None:
    """Return where a run's metrics are written for Prometheus: RECSYS_METRICS_FILE; None: nowhere."""
    named = os.environ.get("RECSYS_METRICS_FILE")
    return Path(named) if named else None


def available_threads(root: Path = Path("/")) -> int:
    """Return how many threads can run at once, >= 1: by CPU affinity and the container's quota, rounded up.

    Args:
        root: Where ``proc`` and ``sys`` are mounted.
    """
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota(root)
    return max(1, min(processors, math.ceil(quota) if quota else processors))


def free_memory_bytes(root: Path = Path("/")) -> int:
    """Return the bytes that can be allocated without swapping: the machine's, or the container's if fewer.

    Args:
        root: Where ``proc`` and ``sys`` are mounted.
    """
    available = int(psutil.virtual_memory().available)
    left = memory_left_bytes(root)
    return available if left is None else min(available, left)


def total_memory_bytes(root: Path = Path("/")) -> int:
    """Return the bytes of memory of this machine, or the container's limit if that is less.

    Args:
        root: Where ``proc`` and ``sys`` are mounted.
    """
    total = int(psutil.virtual_memory().total)
    limit = memory_limit_bytes(root)
    return total if limit is None else min(total, limit)
