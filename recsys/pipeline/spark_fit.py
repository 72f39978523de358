"""What the training stage gives to a trainer on Spark: the cluster, the rows, and one session for all its fits."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from recsys.cf.data.dataset import InteractionDataset
from recsys.cf.data.files import INTERACTIONS_FILE
from recsys.cf.data.manifest import file_key
from recsys.cf.data.split import TEST, TRAIN, VALIDATION
from recsys.cf.models.als_spark_rows import TrainRows
from recsys.pipeline.run import RunReference
from recsys.types import Json


def on_spark(run: RunReference, model: str) -> bool:
    """Return whether Spark trains this model of the run."""
    return model == "als" and run.config.runtime.engine.als == "spark"


def spark_arguments(run: RunReference, data: InteractionDataset) -> Json:
    """Return the arguments of ``train_als`` that say where Spark is and where executors read; none off Spark."""
    if not on_spark(run, "als"):
        return {}
    # a final retrain has taken held-out rows into its train part and left these tables empty
    held_out = {VALIDATION: data.val_interactions, TEST: data.test_interactions}
    splits = (TRAIN, *(name for name, rows in held_out.items() if rows.is_empty()))
    rows = TrainRows(run.store_uri, file_key(run.data_version, INTERACTIONS_FILE), splits)
    return {"spark": run.config.spark, "rows": rows}


def stage_session(run: RunReference, model: str) -> AbstractContextManager[Any]:
    """Return a context that keeps one Spark session for all trials and the fit of a stage; nothing off Spark."""
    if not on_spark(run, model):
        return nullcontext()
    from recsys.engines.spark_session import spark_session  # only where Spark is wanted

    return spark_session(run.config.spark, f"train-cf {run.run_id}")
