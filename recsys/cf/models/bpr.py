"""Bayesian personalised ranking (Rendle et al. 2009) with hard negatives, the same at any thread count."""

import logging
import time

import numpy as np

from recsys.cf.models.base import (
    EARLY_STOP_METRIC,
    BestFactors,
    FitControl,
    FitResult,
    Validate,
    utc_now,
)
from recsys.cf.models.bpr_kernel import (
    HARDNESS,
    LOSS,
    ORDERED,
    aligned_copy,
    balanced_blocks,
    run_epoch,
    schedule_epoch,
)
from recsys.cf.models.memory import peak_memory_bytes
from recsys.cf.models.threads import use_compiled_threads
from recsys.cf.sampling.dual import draw_negatives, realised_shares
from recsys.cf.sampling.pools import NegativePools
from recsys.config.schema import BprConfig
from recsys.errors import DivergedError
from recsys.rng import derive_seed, generator
from recsys.types import Factors, FloatMatrix, HistoryRow

_DECAY, _DECAY_EVERY = 0.9, 10  # the original's step schedule: lr * 0.9 ** (epoch // 10)
_LARGEST_FACTOR = 1e3  # factors of a healthy fit are below 10; past this the gradient has run away
logger = logging.getLogger(__name__)


def fit_bpr(
    pools: NegativePools,
    config: BprConfig,
    *,
    seed: int,
    validate: Validate | None = None,
    control: FitControl | None = None,
) -> FitResult:
    """Return the factors of the best epoch on validation (of the last one without validation).

    Args:
        pools: positives and pools of negatives of one data version.
        config: hyperparameters; ``blocks`` is part of the result, threads are not.
        seed: seeds the initial factors, every draw and the blocks.
        validate: measures factors; called every ``validate_every`` epochs and after the last.
        control: progress, cancellation, threads, checkpoints.

    Raises DivergedError, TrainingCancelled. Same arguments, same bytes, also after a resume, on CPUs that
    compile to the same instructions. Time: about 0.1 s an epoch of 1.8 M triplets on 2 threads; memory:
    21 bytes a triplet plus U and V.
    """
    control = control or FitControl()
    started_at = utc_now()
    best = BestFactors(config.patience)
    U, V, history = _initial(pools, config, seed)
    checkpoint = control.checkpoints.load() if control.checkpoints else None
    if checkpoint is not None:
        U, V = (aligned_copy(checkpoint.arrays[name]) for name in ("user_factors", "item_factors"))
        history = best.restore(checkpoint)
        logger.info("BPR goes on after epoch %d", checkpoint.iteration)
    epoch = len(history)
    while epoch < config.epochs and not best.exhausted:
        use_compiled_threads(control.threads())
        row = _one_epoch(U, V, pools, config, seed, epoch)
        epoch += 1
        if validate and (epoch % config.validate_every == 0 or epoch == config.epochs):
            factors = _unpadded(U, V, config.factors)
            row |= validate(factors)
            best.consider(epoch, float(row[EARLY_STOP_METRIC] or 0.0), factors)
        history.append(row)
        if control.checkpoints and epoch % config.checkpoint_every == 0:
            latest = _unpadded(U, V, config.factors)
            arrays = {"user_factors": latest.user_factors, "item_factors": latest.item_factors}
            control.checkpoints.save(best.checkpoint(epoch, arrays, history))
        control.report(row)
    return FitResult(
        factors=best.factors() or _unpadded(U, V, config.factors),
        history=tuple(history),
        best_iteration=best.iteration or len(history),
        stopped_early=len(history) < config.epochs,
        started_at=started_at,
        ended_at=utc_now(),
        device="cpu",
        resumed_from=checkpoint.iteration if checkpoint else None,
    )


def learning_rate_at(config: BprConfig, epoch: int) -> float:
    """Return the learning rate of a 0-based epoch."""
    if config.learning_rate_schedule == "constant":
        return config.learning_rate
    return float(config.learning_rate * _DECAY ** (epoch // _DECAY_EVERY))


def _initial(
    pools: NegativePools, config: BprConfig, seed: int
) -> tuple[FloatMatrix, FloatMatrix, list[HistoryRow]]:
    random = generator(seed, "bpr", "init")
    U, V = (
        aligned_copy(random.normal(0.0, config.init_std, (rows, config.factors)).astype(np.float32))
        for rows in (pools.n_users, pools.n_items)
    )
    return U, V, []


def _one_epoch(
    U: FloatMatrix, V: FloatMatrix, pools: NegativePools, config: BprConfig, seed: int, epoch: int
) -> HistoryRow:
    """Draw, sort and apply one 0-based epoch; return its history row."""
    started = time.perf_counter()
    negatives, kinds = draw_negatives(
        pools,
        mode=config.negative_sampling,
        hard_ratio=config.hard_negative_ratio,
        samples=config.samples_per_epoch,
        key=derive_seed(seed, "bpr", "epoch", epoch),
    )
    random = generator(seed, "bpr", "blocks", epoch)
    user_weight = np.bincount(pools.positive_users, minlength=pools.n_users).astype(np.float64)
    schedule = schedule_epoch(
        pools.positive_users,
        pools.positive_items,
        negatives,
        balanced_blocks(user_weight, config.blocks, random),
        balanced_blocks(pools.item_weight, 2 * config.blocks, random),
        config.blocks,
    )
    learning_rate = learning_rate_at(config, epoch)
    sums = run_epoch(U, V, schedule, learning_rate, config.regularization)
    n_triplets = max(len(schedule.triplets), 1)
    row: HistoryRow = {
        "epoch": epoch + 1,
        "seconds": time.perf_counter() - started,
        "loss": float(sums[LOSS] / n_triplets),
        "ordered_share": float(sums[ORDERED] / n_triplets),
        "hardness": float(sums[HARDNESS] / n_triplets),
        "learning_rate": learning_rate,
        "triplets": len(schedule.triplets),
        "peak_memory_bytes": peak_memory_bytes(),
        **realised_shares(kinds),
    }
    _refuse_divergence(U, V, row, config)
    return row


def _refuse_divergence(U: FloatMatrix, V: FloatMatrix, row: HistoryRow, config: BprConfig) -> None:
    largest = max(float(np.abs(U).max()), float(np.abs(V).max()))
    # written so that NaN diverges too
    if not (largest < _LARGEST_FACTOR and np.isfinite(float(row["loss"] or 0.0))):
        raise DivergedError(
            f"BPR diverged in epoch {row['epoch']}: loss {row['loss']:.4g}, largest factor {largest:.3g}; "
            f"lower bpr.learning_rate (now {config.learning_rate:g}) or raise bpr.regularization "
            f"(now {config.regularization:g})"
        )


def _unpadded(U: FloatMatrix, V: FloatMatrix, factors: int) -> Factors:
    return Factors(np.ascontiguousarray(U[:, :factors]), np.ascontiguousarray(V[:, :factors]))
