"""Where ALS trains: on a GPU that `implicit` can use, or on the CPU."""

import logging

from recsys.errors import DeviceUnavailable

logger = logging.getLogger(__name__)


def gpu_is_usable() -> bool:
    """Return whether `implicit` was built with CUDA and finds a device."""
    import implicit.gpu

    return bool(implicit.gpu.HAS_CUDA)


def choose_device(use_gpu: str) -> str:
    """Return "gpu" or "cpu". Raises DeviceUnavailable when a GPU is demanded and not usable."""
    if use_gpu == "false":
        return "cpu"
    if gpu_is_usable():
        return "gpu"
    if use_gpu == "true":
        raise DeviceUnavailable(
            "als.use_gpu is true but `implicit` finds no CUDA device: it needs an NVIDIA GPU with "
            "driver, CUDA 13 libraries and the package rmm-cu13; or set als.use_gpu to auto or false"
        )
    logger.info("no usable GPU: ALS trains on the CPU")
    return "cpu"
