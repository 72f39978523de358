"""Where ALS trains: on a GPU that `implicit` can use, or on the CPU."""

import logging
import os

from recsys.errors import DeviceUnavailable

logger = logging.getLogger(__name__)


SIMULATED_GPU = "simulated-gpu"


def gpu_is_usable() -> bool:
    """Return whether `implicit` was built with CUDA and finds a device, or a test says so."""
    if gpu_is_simulated():
        return True
    import implicit.gpu

    return bool(implicit.gpu.HAS_CUDA)


def gpu_is_simulated() -> bool:
    """Return whether RECSYS_TEST_SIMULATED_GPU is set: tests of the GPU route train on the CPU behind it."""
    return bool(os.environ.get("RECSYS_TEST_SIMULATED_GPU"))


def choose_device(use_gpu: str) -> str:
    """Return "gpu", "cpu", or in tests SIMULATED_GPU. Raises DeviceUnavailable when a GPU is demanded in vain."""
    if use_gpu == "false":
        return "cpu"
    if gpu_is_simulated():
        return SIMULATED_GPU
    if gpu_is_usable():
        return "gpu"
    if use_gpu == "true":
        raise DeviceUnavailable(
            "als.use_gpu is true but `implicit` finds no CUDA device: it needs an NVIDIA GPU with "
            "driver, CUDA 13 libraries and the package rmm-cu13; or set als.use_gpu to auto or false"
        )
    logger.info("no usable GPU: ALS trains on the CPU")
    return "cpu"
