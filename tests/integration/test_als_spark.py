"""ALS by Spark: the same objective as the native solver, the same rows, and what a cluster does to it."""

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from als_reference import rated_matrices as matrices
from scipy.sparse import csr_matrix
from spark_cluster import needs_spark

from recsys.cf.data.demo import write_demo_shop
from recsys.cf.data.load import load_processed_data
from recsys.cf.data.prepare import prepare
from recsys.cf.models import als_spark
from recsys.cf.models.als_confidence import scale_confidence
from recsys.cf.models.als_loss import als_loss
from recsys.cf.models.als_objective import positive_counts, positives_regularization
from recsys.cf.models.als_spark_rows import LEAST_R, TrainRows, ratings_table, spark_ratings, stage_matrices
from recsys.cf.models.als_train import train_als
from recsys.cf.models.base import FitControl
from recsys.config.load import load_config
from recsys.config.schema import AlsConfig, DataConfig, SparkConfig
from recsys.errors import ConfigError, DataError, DivergedError, TrainingCancelled, TrainingTimeout
from recsys.pipeline.nightly import run_nightly
from recsys.pipeline.run import open_run
from recsys.pipeline.spark_fit import spark_arguments
from recsys.storage.local import LocalStore

SPARK = SparkConfig(master="local[2]", partitions=3, driver_memory="512m", checkpoint_interval=4)
ON_SPARK = [
    *("runtime.engine.als=spark", "runtime.models=[als]", "spark.master=local[2]", "spark.partitions=3"),
    *("spark.driver_memory=512m", "spark.checkpoint_interval=4"),
]


@pytest.fixture(scope="module")
def session():
    """Return a session that all fits of this file share: starting one takes seconds."""
    from recsys.engines.spark_session import spark_session

    with spark_session(SPARK, "tests") as session:
        yield session


def settings(**changes):
    return AlsConfig(**{"factors": 6, "iterations": 6, "regularization": 2.0, **changes})


def as_native(config, iterations=200):
    """Return the native solver's settings of the same objective, to be run to convergence."""
    changes = {
        "solver": "native",
        "regularization_exponent": 1.0,
        "regularization_counts": "positives",
        "iterations": iterations,
        "patience": iterations,
    }
    return AlsConfig(**{**config.model_dump(exclude={"use_gpu"}), **changes})


def test_least_ratings_keep_the_preference():
    values = np.array([1.0, 3.5, -1.0, -3.5], dtype=np.float32)
    assert spark_ratings(values).tolist() == [LEAST_R, 2.5, -LEAST_R, -2.5]
    assert spark_ratings(values).dtype == np.float32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["als.solver=native"], "a solver of its own"),
        (["als.use_gpu=true"], "trains on CPUs"),
        (["als.regularization=0"], "regularization > 0"),
        (["bert.init=als"], "cannot start from embeddings"),
        (["bert.init=both"], "cannot start from embeddings"),
        (["als.preference=continuous"], "needs solver native"),
        (["als.unobserved_weight=0.5"], "needs solver native"),
    ],
)
def test_what_spark_cannot_do_is_refused_where_the_configuration_is_read(changes, message):
    with pytest.raises(ConfigError, match=message):
        load_config(None, ["runtime.engine.als=spark", *changes])
    if "unobserved" not in changes[0] and "preference" not in changes[0]:
        load_config(None, ["runtime.engine.als=spark", "runtime.models=[bpr]", *changes])


def test_settings_that_a_search_wrote_are_refused_where_the_fit_starts():
    pytest.importorskip("pyspark", reason="pip install 'train-cf[spark]'")
    config = settings().model_copy(update={"solver": "native"})
    with pytest.raises(ConfigError, match="a solver of its own"):
        train_als(*matrices(), config, seed=1, spark=SPARK)
    with pytest.raises(ConfigError, match="cannot start from embeddings"):
        train_als(*matrices(), settings(), seed=1, spark=SPARK, freeze_first_iter=True)


@needs_spark
@pytest.mark.parametrize(
    "changes",
    [
        {"confidence_strategy": "scaled", "alpha": 7.0},
        {"confidence_strategy": "direct", "preference_threshold": 2.5},
        {"confidence_strategy": "legacy", "preference": "binary"},
    ],
)
def test_executors_make_the_ratings_that_the_local_solvers_solve(session, tmp_path, changes):
    confidence, positives = matrices()
    rows = stage_matrices(confidence, positives, tmp_path / "rows")
    config = settings(**changes)
    table = ratings_table(session, rows, config).toArrow().to_pydict()
    expected = scale_confidence(confidence, positives, config).tocoo()
    found = csr_matrix((table["rating"], (table["user_idx"], table["item_idx"])), confidence.shape)
    expected = csr_matrix((spark_ratings(expected.data), (expected.row, expected.col)), confidence.shape)
    assert found.nnz == confidence.nnz
    assert (found != expected).nnz == 0


@needs_spark
def test_users_solve_the_system_with_the_regularization_that_is_documented(session):
    confidence, positives = matrices()
    config = settings()
    fit = train_als(confidence, positives, config, seed=3, spark=SPARK, validate=lambda _: {"ndcg@10": 0.5})
    values = scale_confidence(confidence, positives, config).toarray().astype(float)
    U, V = (one.astype(float) for one in (fit.factors.user_factors, fit.factors.item_factors))
    liked = values > 0
    in_use = np.concatenate([liked.sum(1), liked.sum(0)])
    weights = 2.0 * liked.sum(1) / in_use[in_use > 0].mean()
    C = np.where(values != 0, np.abs(values), 1.0)
    gradient = (C * (U @ V.T - liked)) @ V + weights[:, None] * U
    assert np.abs(gradient).max() < 1e-5 * np.abs((C * liked) @ V).max()
    assert not U[3].any()
    assert not V[5].any()
    assert (fit.n_steps, fit.best_iteration, fit.device, fit.stopped_early) == (6, 6, "spark", False)
    assert fit.history[0]["ndcg@10"] == 0.5
    user_items = scale_confidence(confidence, positives, config)
    regularization = positives_regularization(positive_counts(user_items), 2.0)
    dense = (C * (U @ V.T - liked) ** 2).sum() + (weights[:, None] * U**2).sum()
    dense += (2.0 * liked.sum(0) / in_use[in_use > 0].mean() * (V**2).sum(1)).sum()
    assert als_loss(user_items, fit.factors, regularization) == pytest.approx(dense, rel=1e-6)
    assert fit.history[0]["loss"] == pytest.approx(dense, rel=1e-6)


@needs_spark
@pytest.mark.parametrize("preference", ["threshold", "binary"])
def test_the_loss_is_that_of_the_native_solver_within_one_percent(session, preference):
    confidence, positives = matrices()
    config = settings(iterations=40, preference=preference)
    user_items = scale_confidence(confidence, positives, config)
    weights = positives_regularization(positive_counts(user_items), config.regularization)
    losses = [
        als_loss(user_items, fit.factors, weights)
        for fit in (
            train_als(confidence, positives, config, seed=3, spark=SPARK),
            train_als(confidence, positives, as_native(config), seed=3),
        )
    ]
    assert losses[0] == pytest.approx(losses[1], rel=0.01)
    zeros = als_loss(user_items, _zeros(user_items.shape), weights)
    assert losses[1] < 0.9 * zeros  # there was something to fit


def _zeros(shape):
    from recsys.types import Factors

    return Factors(*(np.zeros((n, 2), dtype=np.float32) for n in shape))


@needs_spark
@pytest.mark.real_data
def test_on_hasaki_too_the_loss_is_that_of_the_native_solver(session, real_data, tmp_path):
    store = LocalStore(tmp_path / "store")
    prepare(store, real_data / "hasaki" / "interactions.parquet", None, DataConfig(), seed=1)
    data = load_processed_data(store)
    run = open_run(store.uri, load_config(None, ON_SPARK))
    config = settings(factors=16, iterations=30, regularization=20.0)
    args = (data.X_train_confidence, data.X_train_binary)
    fit = train_als(*args, config, seed=3, **spark_arguments(run, data))
    native = train_als(*args, as_native(config), seed=3)
    user_items = scale_confidence(*args, config)
    weights = positives_regularization(positive_counts(user_items), config.regularization)
    ours, theirs = (als_loss(user_items, one.factors, weights) for one in (fit, native))
    assert ours == pytest.approx(theirs, rel=0.01)


@needs_spark
def test_rows_that_are_not_those_of_the_matrix_are_refused(session, tmp_path):
    confidence, positives = matrices()
    rows = stage_matrices(confidence, positives, tmp_path / "rows")
    with pytest.raises(DataError, match="train interactions, the matrix"):
        train_als(confidence[:100], positives[:100], settings(), seed=1, spark=SPARK, rows=rows)
    other = TrainRows(rows.store_uri, rows.key, ("test",))
    with pytest.raises(DataError, match="has 0 train interactions"):
        train_als(confidence, positives, settings(), seed=1, spark=SPARK, rows=other)


@needs_spark
def test_a_fit_stops_when_asked_and_at_its_deadline(session):
    asked = threading.Event()
    timer = threading.Timer(2.0, asked.set)
    timer.start()
    long = settings(iterations=500)
    began = time.monotonic()
    with pytest.raises(TrainingCancelled, match="on Spark was cancelled"):
        train_als(*matrices(), long, seed=1, spark=SPARK, control=FitControl(cancelled=asked.is_set))
    control = FitControl(deadline=time.monotonic() + 2)
    with pytest.raises(TrainingTimeout, match="a rerun starts over"):
        train_als(*matrices(), long, seed=1, spark=SPARK, control=control)
    assert time.monotonic() - began < 60
    assert session.range(5).count() == 5  # the session goes on


@needs_spark
def test_a_night_on_spark_ends_with_a_registered_model(session, tmp_path):
    write_demo_shop(tmp_path / "raw", size="small", seed=5)
    store = LocalStore(tmp_path / "store")
    changes = [*ON_SPARK, "als.preset=default", "als.factors=8", "als.iterations=5", "als.regularization=20"]
    config = load_config(None, changes)
    prepare(store, tmp_path / "raw" / "reviews.csv", tmp_path / "raw" / "products.csv", config.data, seed=1)
    night = run_nightly(store.uri, config)
    als = night["models"]["als"]
    assert als["metrics"]["recall@10"] > als["baseline"]["recall@10"]
    assert (als["device"], als["best_iteration"]) == ("spark", 5)


@needs_spark
def test_a_system_without_a_solution_is_divergence_and_says_what_to_change():
    from pyspark.errors import PySparkRuntimeError

    def fit(_ratings):
        raise PySparkRuntimeError("SingularMatrixException: LAPACK.dppsv returned 3")

    with pytest.raises(DivergedError, match=r"raise als\.regularization"):
        als_spark._fitted(SimpleNamespace(fit=fit), None, (3, 2), 2)
