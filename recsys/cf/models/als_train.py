"""ALS from a data version's matrices, by the solver that the configuration names."""

from scipy.sparse import csr_matrix

from recsys.cf.models.als import fit_als
from recsys.cf.models.als_confidence import continuous_preferences, scale_confidence
from recsys.cf.models.als_native import fit_als_native
from recsys.cf.models.als_objective import Prior
from recsys.cf.models.als_spark_rows import TrainRows
from recsys.cf.models.als_start import INIT_NORM
from recsys.cf.models.base import FitControl, FitResult, Validate
from recsys.cf.models.item_start import ItemStart
from recsys.config.als import NO_EMBEDDINGS_ON_SPARK
from recsys.config.schema import AlsConfig, SparkConfig
from recsys.errors import ConfigError


def train_als(
    confidence: csr_matrix,
    positives: csr_matrix,
    config: AlsConfig,
    *,
    seed: int,
    items: ItemStart | None = None,
    anchored: bool = False,
    freeze_first_iter: bool = False,
    validate: Validate | None = None,
    control: FitControl | None = None,
    spark: SparkConfig | None = None,
    rows: TrainRows | None = None,
) -> FitResult:
    """Return the fit of ``config.solver``, or of Spark; see ``fit_als``, ``fit_als_native`` and ``fit_als_spark``.

    Args:
        confidence: (n_users, n_items), values in [1, 6].
        positives: same shape, an entry for each train positive.
        config: hyperparameters.
        seed: seeds the initial factors.
        items: projected embeddings that V starts from.
        anchored: pull V to its start from ``items`` instead of zero (solver native).
        freeze_first_iter: keep the start of V through the first iteration.
        validate: measures factors on validation.
        control: progress, cancellation, threads, checkpoints.
        spark: train on this cluster, by Spark's own solver.
        rows: where Spark's executors read the same interactions; None: the matrices are given to them.

    Raises ConfigError when the solver cannot do what is asked; else as the solvers do.
    """
    if spark is not None:
        if items is not None or anchored or freeze_first_iter:
            raise ConfigError(f"als: {NO_EMBEDDINGS_ON_SPARK}")
        from recsys.cf.models.als_spark import fit_als_spark  # only where Spark is wanted

        return fit_als_spark(
            confidence, positives, config, spark, seed=seed, rows=rows, validate=validate, control=control
        )
    problem = config.solver_problem()
    if anchored and config.solver != "native":
        problem = "bert.anchored needs solver native"
    elif anchored and items is None:
        problem = "an anchored fit needs embeddings to pull to, none were given"
    if problem:
        raise ConfigError(f"als: {problem}")
    user_items = scale_confidence(confidence, positives, config)
    if config.solver == "implicit":
        return fit_als(
            user_items,
            config,
            seed=seed,
            items=items,
            freeze_first_iter=freeze_first_iter,
            validate=validate,
            control=control,
        )
    continuous = config.preference == "continuous"
    return fit_als_native(
        user_items,
        config,
        seed=seed,
        preferences=continuous_preferences(confidence) if continuous else None,
        items=items,
        prior=Prior(item_means=items.vectors(INIT_NORM)) if anchored and items is not None else None,
        freeze_first_iter=freeze_first_iter,
        validate=validate,
        control=control,
    )
