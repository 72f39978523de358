"""The door to torch, which is an extra: is it there, which device, how many threads, deterministic or not."""

import importlib.util
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from recsys.cf.models.device import SIMULATED_GPU, gpu_is_simulated
from recsys.errors import ConfigError, DeviceUnavailable

# cuBLAS is deterministic only with a workspace of fixed size; read when CUDA starts.
_CUBLAS_WORKSPACE = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
logger = logging.getLogger(__name__)


def require_torch() -> None:
    """Raise ConfigError when torch is not installed. Looks without importing: that would take a second."""
    if importlib.util.find_spec("torch") is None:
        raise ConfigError(
            "the model hybrid needs torch, which is not installed: pip install 'train-cf[torch]', or take "
            "hybrid out of runtime.models"
        )


def torch_gpu_is_usable() -> bool:
    """Return whether torch finds a CUDA device, or a test says so. Raises ConfigError without torch."""
    require_torch()
    if gpu_is_simulated():
        return True
    import torch

    return bool(torch.cuda.is_available())


def choose_torch_device(use_gpu: str) -> str:
    """Return "gpu", "cpu", or in tests SIMULATED_GPU, which trains on the CPU, for "auto", "true" or "false".

    Raises ConfigError without torch, DeviceUnavailable when a GPU is demanded and torch finds none.
    """
    require_torch()
    if use_gpu == "false":
        return "cpu"
    if gpu_is_simulated():
        return SIMULATED_GPU
    if torch_gpu_is_usable():
        return "gpu"
    if use_gpu == "true":
        import torch

        raise DeviceUnavailable(
            "hybrid.use_gpu is true but torch finds no CUDA device: it needs an NVIDIA GPU with driver and a "
            f"torch built for it (this one is {torch.__version__}); or set hybrid.use_gpu to auto or false"
        )
    logger.info("no usable GPU: the hybrid model trains on the CPU")
    return "cpu"


def use_torch_threads(threads: int) -> None:
    """Let torch use that many threads for what this Python thread calls."""
    import torch

    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


@contextmanager
def deterministic_torch() -> Iterator[None]:
    """Ask torch for deterministic algorithms meanwhile; where it has none it warns and goes on.

    The setting belongs to the process. Everything used on the CPU is deterministic without it.
    """
    os.environ.setdefault(*_CUBLAS_WORKSPACE)
    import torch

    before = torch.are_deterministic_algorithms_enabled()
    warned_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned_only)
