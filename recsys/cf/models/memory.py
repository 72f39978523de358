"""Memory of a fit: what it has used, and the refusal to start when it cannot fit; formulas: recsys.planning."""

import resource
import sys

from recsys.config.settings import free_memory_bytes
from recsys.errors import NotEnoughMemory
from recsys.planning.engines import HEADROOM


def peak_memory_bytes() -> int:
    """Return the largest resident size of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def require_memory(stage: str, n_bytes: int, options: str) -> None:
    """Raise NotEnoughMemory when ``stage`` needs more than is free here or in this container."""
    free = free_memory_bytes()
    if n_bytes * HEADROOM > free:
        raise NotEnoughMemory(
            f"{stage} needs about {n_bytes * HEADROOM / 1e9:.2f} GB and {free / 1e9:.2f} GB are free; "
            f"{options}"
        )
