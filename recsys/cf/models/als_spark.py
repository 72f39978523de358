"""ALS by Spark's MLlib, for interactions that outgrow one machine: the objective of ``als_objective`` with
``regularization_counts: positives`` and exponent 1.

MLlib's model is that of Hu, Koren and Volinsky (2008), but it adds regParam times the number of liked entries of a
row to that row's system (Zhou et al. 2008, "Large-scale Parallel Collaborative Filtering for the Netflix Prize").
So regParam = als.regularization / the mean of these numbers: then the mean weight of a row is als.regularization, as
in every other solver here.
"""

import importlib
import logging
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.cf.models.als_confidence import scale_confidence
from recsys.cf.models.als_iteration import normalized
from recsys.cf.models.als_loss import als_loss
from recsys.cf.models.als_objective import mean_of_rows, positive_counts, positives_regularization
from recsys.cf.models.als_spark_rows import ITEM, USER, VALUE, TrainRows, ratings_table, stage_matrices
from recsys.cf.models.base import FitControl, FitResult, Validate, utc_now
from recsys.cf.models.memory import peak_memory_bytes
from recsys.config.schema import AlsConfig, SparkConfig
from recsys.engines.spark_errors import translated_spark_errors
from recsys.engines.spark_jobs import interruptible
from recsys.engines.spark_session import n_partitions, session_directory, spark_session
from recsys.errors import (
    ConfigError,
    DataError,
    DivergedError,
    EngineError,
    TrainingCancelled,
    TrainingTimeout,
)
from recsys.rng import derive_name, derive_seed
from recsys.types import Factors, FloatMatrix, HistoryRow

logger = logging.getLogger(__name__)
_BLOCK_BYTES = 256 << 20  # of factors that come through Java's memory at a time


def fit_als_spark(
    confidence: csr_matrix,
    positives: csr_matrix,
    config: AlsConfig,
    spark: SparkConfig,
    *,
    seed: int,
    rows: TrainRows | None = None,
    validate: Validate | None = None,
    control: FitControl | None = None,
) -> FitResult:
    """Return the factors after all ``config.iterations``.

    MLlib can neither be watched, nor start from given factors, nor go on from its checkpoints: validation happens
    once, at the end; ``patience``, ``validate_every`` and ``checkpoint_every`` have no effect; a retry starts over.
    It survives lost executors (Spark computes again what they held). The history has one row, of the last iteration.

    Args:
        confidence: (n_users, n_items), values in [1, 6]; the loss is computed from it here.
        positives: same shape, an entry for each train positive.
        config: hyperparameters; ``spark_problem`` says which are refused.
        spark: the cluster; ``partitions`` is part of the result.
        seed: seeds the initial factors.
        rows: where executors read the same interactions; None: the matrices are written where they see them.
        validate: measures the factors at the end.
        control: progress, cancellation and deadline, which cancel Spark's jobs within a second.

    Rows without train interactions get zeros. Deterministic but for the last bits: with the same seed and the same
    number of partitions, the order in which Spark adds partial sums up may differ (relative differences about 1e-7).
    Raises ConfigError, DataError (rows and matrices disagree), DivergedError, TrainingCancelled, TrainingTimeout, and
    what ``spark_session`` does. Time: see `make bench-spark`. Memory here: the matrix once more, and U and V.
    """
    if problem := config.spark_problem():
        raise ConfigError(f"als: {problem}")
    control = control or FitControl()
    _stop_if_asked(control)
    started_at, started = utc_now(), time.perf_counter()
    user_items = scale_confidence(confidence, positives, config)
    counts = positive_counts(user_items)
    with spark_session(spark, "train-cf als") as session:
        if rows is None:
            name = derive_name(time.perf_counter_ns())[:16]
            rows = stage_matrices(confidence, positives, session_directory(session) / f"rows-{name}")
        ratings = ratings_table(session, rows, config)
        estimator = _estimator(
            config, spark, n_partitions(session, spark), config.regularization / mean_of_rows(counts)
        )
        estimator.setSeed(derive_seed(seed, "als", "spark"))
        with interruptible(session, lambda: _stop_if_asked(control)):
            _require_same_rows(ratings, user_items, rows)
            latest = _fitted(estimator, ratings, user_items.shape, config.factors)
    weights = positives_regularization(counts, config.regularization)
    row: HistoryRow = {
        "iteration": config.iterations,
        "seconds": time.perf_counter() - started,
        "loss": als_loss(user_items, latest, weights),
        "peak_memory_bytes": peak_memory_bytes(),
    }
    served = normalized(latest) if config.normalize else latest
    if validate is not None:
        row |= validate(served)
    control.report(row)
    return FitResult(served, (row,), config.iterations, False, started_at, utc_now(), "spark", None)


def _stop_if_asked(control: FitControl) -> None:
    if control.cancelled():
        raise TrainingCancelled("training on Spark was cancelled")
    if time.monotonic() > control.deadline:
        raise TrainingTimeout(
            "training on Spark passed its time limit, and a rerun starts over: raise runtime.timeout_minutes, "
            "give the cluster more cores, or lower als.iterations or als.factors"
        )


def _estimator(config: AlsConfig, spark: SparkConfig, blocks: int, reg_param: float) -> Any:
    return importlib.import_module("pyspark.ml.recommendation").ALS(
        rank=config.factors,
        maxIter=config.iterations,
        regParam=reg_param,
        implicitPrefs=True,
        alpha=1.0,
        userCol=USER,
        itemCol=ITEM,
        ratingCol=VALUE,
        numUserBlocks=blocks,
        numItemBlocks=blocks,
        checkpointInterval=spark.checkpoint_interval,
    )


def _require_same_rows(ratings: Any, user_items: csr_matrix, rows: TrainRows) -> None:
    """Compare what executors read with the matrix: a wrong version or half a file must not become a model."""
    found = ratings.count()
    if found != user_items.nnz:
        raise DataError(
            f"{rows.key} in {rows.store_uri} has {found} train interactions, the matrix {user_items.nnz}: "
            "the data version is damaged, prepare it again"
        )


def _fitted(estimator: Any, ratings: Any, shape: tuple[int, int], factors: int) -> Factors:
    try:
        with translated_spark_errors():
            model = estimator.fit(ratings)
    except EngineError as error:
        if "SingularMatrix" not in str(error) and "dppsv" not in str(error):
            raise
        raise DivergedError(
            "Spark's ALS met a system it cannot solve: raise als.regularization, or lower als.factors below the "
            f"number of users and of items ({error})"
        ) from error
    latest = Factors(
        _collected(model.userFactors, shape[0], factors), _collected(model.itemFactors, shape[1], factors)
    )
    if not all(np.isfinite(one).all() for one in (latest.user_factors, latest.item_factors)):
        raise DivergedError("Spark's ALS ended with factors that are not finite; raise als.regularization")
    return latest


def _collected(table: Any, n_rows: int, factors: int) -> FloatMatrix:
    """Return the factors by index, float32 (n_rows, factors), through Arrow in blocks of rows; zeros where none are."""
    matrix = np.zeros((n_rows, factors), dtype=np.float32)
    block = max(1, _BLOCK_BYTES // (4 * factors))
    for start in range(0, n_rows, block):
        wanted = table if block >= n_rows else table.where(table.id.between(start, start + block - 1))
        for batch in wanted.toArrow().to_batches():
            rows: NDArray[np.int32] = batch.column("id").to_numpy()
            values = batch.column("features").flatten().to_numpy()
            matrix[rows] = values.reshape(len(rows), factors)
    return matrix
