"""The section of tuning: how studies search for better settings, and where their trials are written down."""

from typing import Literal

from pydantic import Field

from recsys.config.section import Section


class TuningConfig(Section):
    """How `recsys tune` and the flow tune-cf search. None of it changes a night."""

    spaces: tuple[str, ...] = Field(
        ("als", "bpr"),
        min_length=1,
        description="Search spaces, one study each: names that `recsys tune spaces` lists, or .yaml files.",
    )
    batch: int = Field(
        16,
        ge=1,
        description="Trials whose settings are decided together; the next batch waits for all of them.",
    )
    trials_at_once: int | None = Field(
        None, ge=1, description="Trials that run side by side on this machine; None: one on each core."
    )
    pruner: Literal["none", "median", "halving"] = Field(
        "none",
        description="Ends trials that fall behind those of earlier batches; needs the extra tune.",
    )
    pruner_warmup: int = Field(5, ge=1, description="Epochs or iterations before the pruner looks.")
    runner: Literal["threads", "dask", "ray"] = Field(
        "threads",
        description="Where the flow's trials run; dask and ray need the extra of that name and the flow.",
    )
    cluster: str | None = Field(
        None,
        description="Address of a standing cluster, such as tcp://host:8786 or ray://host:10001; None: processes "
        "of this machine.",
    )
    trial_threads: int = Field(
        1, ge=1, description="Cores of one trial on a cluster; what the tasks of a worker should get."
    )
    experiments: str | None = Field(
        "experiments/cf_experiments.csv", description="File that gets a row per trial; null: none."
    )
    mlflow_uri: str | None = Field(
        None, description="MLflow tracking server (extra mlflow); null: MLFLOW_TRACKING_URI, or none."
    )
    mlflow_experiment: str = Field("train-cf", min_length=1, description="Experiment of the MLflow runs.")
    refit_all: bool = Field(
        False,
        description="Also train the winner on train, validation and test and register it, marked, with the "
        "evaluation of its twin.",
    )
