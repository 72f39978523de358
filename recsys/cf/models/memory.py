"""Memory of a fit: what it will need, what it has used, and the refusal to start when it cannot fit."""

import resource
import sys

from recsys.config.schema import AlsConfig, BprConfig, HybridConfig
from recsys.config.settings import free_memory_bytes
from recsys.errors import NotEnoughMemory

_FLOAT32_BYTES, _INDEX_BYTES = 4, 4
_HEADROOM = 1.2
_TORCH_BYTES = 350_000_000  # its libraries when imported, and what they and compiled code set up for a fit
_BATCH_ROWS = 24  # rows of factors that torch holds for each triplet of a minibatch, with their gradients


def peak_memory_bytes() -> int:
    """Return the largest resident size of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def als_bytes(n_users: int, n_items: int, n_interactions: int, config: AlsConfig) -> int:
    """Return the bytes an ALS fit needs: factors, their best copy and the matrix in both directions.

    The native solver also holds one side in another basis, the served copy, and 20 bytes an entry and side.
    """
    factors = (n_users + n_items) * config.factors * _FLOAT32_BYTES
    if config.solver == "native":
        return 5 * factors + n_interactions * (2 * 20 + _FLOAT32_BYTES + _INDEX_BYTES)
    return 3 * factors + 3 * n_interactions * (_FLOAT32_BYTES + _INDEX_BYTES)


def bpr_bytes(n_users: int, n_items: int, n_positives: int, config: BprConfig) -> int:
    """Return the bytes a BPR fit needs: factors, best copy, checkpoint, and one epoch drawn and sorted."""
    factors = (n_users + n_items) * config.factors * _FLOAT32_BYTES
    triplet = 4 * _INDEX_BYTES + 1
    return 3 * factors + n_positives * (config.samples_per_epoch * triplet + 2 * _INDEX_BYTES)


def hybrid_bytes(n_users: int, n_items: int, n_positives: int, dimensions: int, config: HybridConfig) -> int:
    """Return the bytes a hybrid fit needs on the CPU: torch, tables with Adam's moments, best copy and checkpoint,
    the embeddings of ``dimensions``, one epoch drawn, and the matrices of a minibatch.
    """
    factors = (n_users + n_items) * config.factors * _FLOAT32_BYTES
    projection = dimensions * config.factors * _FLOAT32_BYTES
    content = n_items * (2 * dimensions + config.factors) * _FLOAT32_BYTES
    epoch = n_positives * (config.samples_per_epoch * (_INDEX_BYTES + 1 + 8) + 2 * _INDEX_BYTES)
    batch = config.batch_size * _BATCH_ROWS * config.factors * _FLOAT32_BYTES
    # values and two moments, the best, those folded now, a checkpoint as arrays and as bytes
    return 12 * factors + 3 * projection + content + epoch + batch + _TORCH_BYTES


def require_memory(stage: str, n_bytes: int, options: str) -> None:
    """Raise NotEnoughMemory when ``stage`` needs more than is free here or in this container."""
    free = free_memory_bytes()
    if n_bytes * _HEADROOM > free:
        raise NotEnoughMemory(
            f"{stage} needs about {n_bytes * _HEADROOM / 1e9:.2f} GB and {free / 1e9:.2f} GB are free; "
            f"{options}"
        )
