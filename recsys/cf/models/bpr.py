"""Bayesian personalised ranking (Rendle et al. 2009) with hard negatives, the same at any thread count."""

import logging
import math
import time

import numpy as np

from recsys.cf.models.base import FitControl, FitResult, Validate
from recsys.cf.models.bpr_kernel import (
    HARDNESS,
    LOSS,
    NO_BIAS,
    ORDERED,
    Regularization,
    Schedule,
    aligned_copy,
    balanced_blocks,
    largest_magnitude,
    run_epoch,
    schedule_epoch,
)
from recsys.cf.models.bpr_start import WarmStart, start_factors
from recsys.cf.models.fit_record import FitRecord
from recsys.cf.models.item_start import ItemStart
from recsys.cf.models.memory import peak_memory_bytes
from recsys.cf.models.threads import use_compiled_threads
from recsys.cf.sampling.adaptive import draw_adaptive
from recsys.cf.sampling.dual import KINDS, Draws, draw_negatives
from recsys.cf.sampling.pools import NegativePools
from recsys.config.schema import BprConfig
from recsys.errors import DivergedError
from recsys.rng import derive_seed, generator
from recsys.types import Factors, FloatMatrix, HistoryRow, IndexVector

_DECAY, _DECAY_EVERY = 0.9, 10  # the original's step schedule: lr * 0.9 ** (epoch // 10)
_MIN_TRIPLETS_OF_A_CELL = 6000  # 0.3 ms of work, several times what the barrier after it costs
_FEWEST_BLOCKS, _MOST_BLOCKS = 2, 64
_LARGEST_FACTOR = 1e3  # factors of a healthy fit are below 10; past this the gradient has run away
logger = logging.getLogger(__name__)


def fit_bpr(
    pools: NegativePools,
    config: BprConfig,
    *,
    seed: int,
    warm: WarmStart | None = None,
    items: ItemStart | None = None,
    validate: Validate | None = None,
    control: FitControl | None = None,
) -> FitResult:
    """Return the factors of the best epoch on validation (of the last one without validation).

    Args:
        pools: positives and pools of negatives of one data version.
        config: hyperparameters; ``blocks`` (or the choice by size) is part of the result, threads are not.
        seed: seeds the initial factors, every draw and the blocks.
        warm: factors of an earlier model to start from, by tonight's indices.
        items: projected embeddings that V starts from, for items that ``warm`` does not know.
        validate: measures factors; called every ``validate_every`` epochs and after the last.
        control: progress, cancellation, threads, checkpoints.

    Raises DivergedError, TrainingCancelled. Same arguments, same bytes, also after a resume, on CPUs that
    compile to the same instructions. Time: about 0.1 s an epoch of 1.8 M triplets on 2 threads; memory:
    19 bytes a triplet plus U and V.
    """
    control = control or FitControl()
    record = FitRecord(config.epochs, config, validate, control)
    if record.checkpoint is not None:
        start = Factors(*(record.checkpoint.arrays[name] for name in ("user_factors", "item_factors")))
        logger.info("BPR goes on after epoch %d", record.checkpoint.iteration)
    else:
        start = start_factors(pools.n_users, pools.n_items, config, seed, warm, items)
    n_factors = start.n_factors
    U, V = aligned_copy(start.user_factors), aligned_copy(start.item_factors)
    del start, warm  # the memory of a copy each

    def latest() -> Factors:
        return _unpadded(U, V, n_factors)

    def arrays() -> dict[str, FloatMatrix]:
        factors = latest()
        return {"user_factors": factors.user_factors, "item_factors": factors.item_factors}

    while record.goes_on:
        use_compiled_threads(min(control.threads(), n_blocks(pools.n_positives, config)))
        record.add(_one_epoch(U, V, pools, config, seed, len(record.rows)), latest, arrays)
    return record.result(latest, device="cpu")


def n_blocks(n_positives: int, config: BprConfig) -> int:
    """Return how many blocks of users an epoch has: as configured, else by the triplets of a schedule.

    The largest power of two that leaves each cell enough triplets to be worth a barrier: 2 at 30,000 positives
    and 5 samples, 4 at 300,000, 8 at 3 million; never 1, where all triplets of a user come in a row and the
    model ends worse (DECISIONS.md). A function of data and configuration alone, never of threads.
    """
    if config.blocks is not None:
        return config.blocks
    n_triplets = n_positives * min(samples_of_parts(config))
    blocks = _FEWEST_BLOCKS
    while 2 * blocks <= _MOST_BLOCKS and n_triplets >= _n_cells(2 * blocks) * _MIN_TRIPLETS_OF_A_CELL:
        blocks *= 2
    return blocks


def _n_cells(blocks: int) -> int:
    return (2 * blocks - 1) * blocks * blocks


def learning_rate_at(config: BprConfig, epoch: int) -> float:
    """Return the learning rate of a 0-based epoch."""
    if config.learning_rate_schedule == "constant":
        return config.learning_rate
    if config.learning_rate_schedule == "cosine":
        return config.learning_rate * 0.5 * (1 + math.cos(math.pi * epoch / config.epochs))
    return float(config.learning_rate * _DECAY ** (epoch // _DECAY_EVERY))


def _one_epoch(
    U: FloatMatrix, V: FloatMatrix, pools: NegativePools, config: BprConfig, seed: int, epoch: int
) -> HistoryRow:
    """Draw, sort and apply one 0-based epoch, in parts where draws follow the factors; return its row."""
    started = time.perf_counter()
    learning_rate = learning_rate_at(config, epoch)
    sums, n_triplets, shares = np.zeros(3), 0, np.zeros(len(KINDS))
    for part, samples in enumerate(samples_of_parts(config)):
        draws = _draw(U, V, pools, config, samples, derive_seed(seed, "bpr", "epoch", epoch, part))
        shares += draws.counts
        schedule = _schedule(pools, draws.negatives, config, generator(seed, "bpr", "blocks", epoch, part))
        del draws  # the schedule holds what it drew
        bias_column = config.factors if config.item_bias else NO_BIAS
        sums += run_epoch(U, V, schedule, learning_rate, regularization_of(config), bias_column=bias_column)
        n_triplets += len(schedule.triplets)
        del schedule  # before the next part is drawn
    row: HistoryRow = {
        "epoch": epoch + 1,
        "seconds": time.perf_counter() - started,
        "loss": float(sums[LOSS] / max(n_triplets, 1)),
        "ordered_share": float(sums[ORDERED] / max(n_triplets, 1)),
        "hardness": float(sums[HARDNESS] / max(n_triplets, 1)),
        "learning_rate": learning_rate,
        "triplets": n_triplets,
        "peak_memory_bytes": peak_memory_bytes(),
        **{f"share_{kind}": float(share) for kind, share in zip(KINDS, shares / shares.sum(), strict=True)},
    }
    refuse_divergence(max(largest_magnitude(U), largest_magnitude(V)), row, config)
    return row


def samples_of_parts(config: BprConfig) -> list[int]:
    """Return how often each positive is used in each part of an epoch; one part but for adaptive draws."""
    parts = config.adaptive_refreshes if config.negative_sampling == "adaptive" else 1
    return [(config.samples_per_epoch + part) // parts for part in range(parts)]


def _draw(
    U: FloatMatrix, V: FloatMatrix, pools: NegativePools, config: BprConfig, samples: int, key: int
) -> Draws:
    if config.negative_sampling == "adaptive":
        return draw_adaptive(pools, U, V, candidates=config.adaptive_candidates, samples=samples, key=key)
    return draw_negatives(
        pools, mode=config.negative_sampling, hard_ratio=config.hard_negative_ratio, samples=samples, key=key
    )


def _schedule(
    pools: NegativePools, negatives: IndexVector, config: BprConfig, random: np.random.Generator
) -> Schedule:
    blocks = n_blocks(pools.n_positives, config)
    user_block = balanced_blocks(pools.user_weight, blocks, random)
    item_block = balanced_blocks(pools.item_weight, 2 * blocks, random)
    return schedule_epoch(
        pools.positive_users, pools.positive_items, negatives, user_block, item_block, blocks
    )


def regularization_of(config: BprConfig) -> Regularization:
    """Return the weights of the three rows of a triplet."""
    each = (config.user_regularization, config.positive_regularization, config.negative_regularization)
    return Regularization(*(config.regularization if one is None else one for one in each))


def refuse_divergence(largest: float, row: HistoryRow, config: BprConfig) -> None:
    """Raise DivergedError after an epoch whose loss or ``largest`` absolute factor no healthy fit has."""
    # written so that NaN diverges too
    if not (largest < _LARGEST_FACTOR and np.isfinite(float(row["loss"] or 0.0))):
        raise DivergedError(
            f"BPR diverged in epoch {row['epoch']}: loss {row['loss']:.4g}, largest factor {largest:.3g}; "
            f"lower bpr.learning_rate (now {config.learning_rate:g}) or raise bpr.regularization "
            f"(now {config.regularization:g})"
        )


def _unpadded(U: FloatMatrix, V: FloatMatrix, factors: int) -> Factors:
    return Factors(np.ascontiguousarray(U[:, :factors]), np.ascontiguousarray(V[:, :factors]))
