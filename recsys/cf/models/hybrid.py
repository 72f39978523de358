"""HybridCFBERT: one user vector for what others bought (BPR) and for what items say (BPR on embeddings)."""

import logging
import time
from typing import TYPE_CHECKING

import numpy as np

from recsys.cf.embeddings.align import AlignedEmbeddings
from recsys.cf.models.base import FitControl, FitResult, Validate
from recsys.cf.models.fit_record import FitRecord
from recsys.cf.models.hybrid_start import content_matrix, start_arrays
from recsys.cf.models.hybrid_torch import choose_torch_device, deterministic_torch, use_torch_threads
from recsys.cf.models.memory import peak_memory_bytes
from recsys.cf.models.threads import use_compiled_threads
from recsys.cf.sampling.adaptive import draw_adaptive
from recsys.cf.sampling.dual import KINDS, NO_NEGATIVE, Draws, draw_negatives
from recsys.cf.sampling.pools import NegativePools
from recsys.config.schema import HybridConfig
from recsys.errors import DivergedError
from recsys.rng import derive_seed, generator
from recsys.types import HistoryRow

if TYPE_CHECKING:
    from recsys.cf.models.hybrid_model import HybridModel  # imports torch

_LARGEST_FACTOR = 1e3  # factors of a healthy fit are below 10; past this the gradient has run away
BATCH_SUMS = ("cf_loss", "content_loss", "ordered_share", "hardness")  # what a step tells, in this order
logger = logging.getLogger(__name__)


def fit_hybrid(
    pools: NegativePools,
    embeddings: AlignedEmbeddings,
    config: HybridConfig,
    *,
    seed: int,
    validate: Validate | None = None,
    control: FitControl | None = None,
) -> FitResult:
    """Return the factors of the best epoch on validation (of the last one without validation).

    The two losses of minibatches of triplets are lowered by Adam. What comes out is U and one matrix of items
    with both parts folded in, so that it serves as any other model's factors do.

    Args:
        pools: positives and pools of negatives of one data version.
        embeddings: of the same items; an item without one has no content part.
        config: hyperparameters; ``batch_size`` is part of the result, threads are not.
        seed: seeds the start, every draw and the order of the triplets.
        validate: measures factors; called every ``validate_every`` epochs and after the last.
        control: progress, cancellation, threads, checkpoints.

    Raises ConfigError without torch, DeviceUnavailable, DivergedError, TrainingCancelled, TrainingTimeout. On
    the CPU the same arguments give the same bytes, also after a resume; on a GPU they need not.
    """
    control = control or FitControl()
    device = choose_torch_device(config.use_gpu)
    from recsys.cf.models.hybrid_model import HybridModel

    record, content = FitRecord(config.epochs, config, validate, control), content_matrix(embeddings)
    if record.checkpoint is not None:
        logger.info("the hybrid model goes on after epoch %d", record.checkpoint.iteration)
        arrays = record.checkpoint.arrays
    else:
        arrays = start_arrays(pools, content.shape[1], config, seed)
    with deterministic_torch():
        model = HybridModel(arrays, content, config, device)
        while record.goes_on:
            row = _one_epoch(model, pools, config, seed, len(record.rows), control)
            record.add(row, model.folded, model.arrays)
        return record.result(model.folded, device)


def _one_epoch(
    model: "HybridModel",
    pools: NegativePools,
    config: HybridConfig,
    seed: int,
    epoch: int,
    control: FitControl,
) -> HistoryRow:
    """Draw, shuffle and apply one 0-based epoch; return its row."""
    started = time.perf_counter()
    threads = control.threads()
    use_compiled_threads(threads)
    use_torch_threads(threads)
    draws = _draw(model, pools, config, derive_seed(seed, "hybrid", "epoch", epoch))
    order = np.flatnonzero(draws.negatives != NO_NEGATIVE)
    generator(seed, "hybrid", "order", epoch).shuffle(order)
    sums = np.zeros(len(BATCH_SUMS))
    for first in range(0, len(order), config.batch_size):
        triplets = order[first : first + config.batch_size]
        positive = triplets // config.samples_per_epoch
        users, items = pools.positive_users[positive], pools.positive_items[positive]
        sums += model.step(users, items, draws.negatives[triplets])
        control.stop_if_asked(epoch)
    told = dict(zip(BATCH_SUMS, (sums / max(len(order), 1)).tolist(), strict=True))
    row: HistoryRow = {
        "epoch": epoch + 1,
        "seconds": time.perf_counter() - started,
        "loss": config.cf_weight * told["cf_loss"] + config.content_weight * told["content_loss"],
        **told,
        "triplets": len(order),
        "peak_memory_bytes": peak_memory_bytes(),
        **{
            f"share_{kind}": float(share)
            for kind, share in zip(KINDS, draws.counts / draws.counts.sum(), strict=True)
        },
    }
    refuse_divergence(model.largest_factor(), row, config)
    return row


def _draw(model: "HybridModel", pools: NegativePools, config: HybridConfig, key: int) -> Draws:
    """Return the negatives of one epoch; adaptive ones are hard for the model as it would serve now."""
    samples = config.samples_per_epoch
    if config.negative_sampling == "adaptive":
        now = model.folded()
        return draw_adaptive(
            pools,
            now.user_factors,
            now.item_factors,
            candidates=config.adaptive_candidates,
            samples=samples,
            key=key,
        )
    return draw_negatives(
        pools, mode=config.negative_sampling, hard_ratio=config.hard_negative_ratio, samples=samples, key=key
    )


def refuse_divergence(largest: float, row: HistoryRow, config: HybridConfig) -> None:
    """Raise DivergedError after an epoch whose loss or ``largest`` absolute factor no healthy fit has."""
    # written so that NaN diverges too
    if not (largest < _LARGEST_FACTOR and np.isfinite(float(row["loss"] or 0.0))):
        raise DivergedError(
            f"the hybrid model diverged in epoch {row['epoch']}: loss {row['loss']:.4g}, largest factor "
            f"{largest:.3g}; lower hybrid.learning_rate (now {config.learning_rate:g}) or raise "
            f"hybrid.regularization (now {config.regularization:g})"
        )
