"""A study as MLflow runs (extra ``mlflow``): a parent, and a child for each trial.

A server that cannot be reached costs a warning, never a trial: what is missing there is written when the
study ends, or by the next attempt.
"""

import logging
import os
from typing import Any

from recsys.config.tuning import TuningConfig
from recsys.errors import ConfigError
from recsys.pipeline.study import OBJECTIVE, StudyReference
from recsys.storage.scratch import scratch_folder
from recsys.types import Json

STUDY_TAG, TRIAL_TAG, PARENT_TAG = "train_cf.study", "train_cf.trial", "mlflow.parentRunId"
_PARENT = "parent"  # value of TRIAL_TAG
_STATUS = {"complete": "FINISHED", "pruned": "KILLED"}
_PAGE = 1000
_ENVIRONMENT = {
    # how long and how often a server is waited for that does not answer
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # stdout belongs to --json
}
logger = logging.getLogger(__name__)


def tracking_uri(tuning: TuningConfig) -> str | None:
    """Return the address of the tracking server: tuning.mlflow_uri, MLFLOW_TRACKING_URI, or None."""
    return tuning.mlflow_uri or os.environ.get("MLFLOW_TRACKING_URI") or None


class MlflowRuns:
    """The runs of one study on a tracking server; what is there already is not written again."""

    def __init__(self, study: StudyReference, uri: str) -> None:
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        try:
            import mlflow
        except ImportError as error:
            raise ConfigError(
                f"trials go to MLflow at {uri}, which needs: pip install 'train-cf[mlflow]'"
            ) from error
        self._study = study
        self._errors: Any = mlflow.exceptions.MlflowException
        self._entities: Any = mlflow.entities
        self._client: Any = mlflow.MlflowClient(tracking_uri=uri)
        self._uri = uri
        self._experiment: str | None = None
        self._runs: dict[str, str] = {}  # value of TRIAL_TAG to run id

    def log_trial(self, trial: Json) -> None:
        """Write the run of one trial: settings, metrics, curve and what identifies it."""
        try:
            self._log_trial(trial)
        except (self._errors, OSError) as error:
            logger.warning("trial %d is not in MLflow yet: %s", trial["number"], error)

    def finish(self, result: Json, files: dict[str, bytes]) -> str | None:
        """Write result and files to the parent run; return the address of the experiment for people."""
        try:
            parent = self._parent()
            winner = result["winner"]
            metrics = {"validation." + name: value for name, value in winner["metrics"].items()}
            for which, found in (result["final"] or {"metrics": {}})["metrics"].items():
                metrics |= {f"test.{which}.{name}": value for name, value in found.items()}
            for name, value in metrics.items():
                self._client.log_metric(parent, _name(name), value)
            with scratch_folder("mlflow") as folder:
                for name, content in files.items():
                    (folder / name).write_bytes(content)
                self._client.log_artifacts(parent, str(folder))
            self._client.set_tag(parent, "winner", str(winner["trial"]))
            self._client.set_terminated(parent)
        except (self._errors, OSError) as error:
            logger.warning("the study's result is not in MLflow: %s", error)
            return None
        return f"{self._uri.rstrip('/')}/#/experiments/{self._experiment}"

    def _log_trial(self, trial: Json) -> None:
        parent, number = self._parent(), str(trial["number"])
        if number in self._runs:
            return
        started = int(trial["started_at"] * 1000)
        run_id = self._create(
            f"trial {trial['number']} {trial['stage']}",
            number,
            {PARENT_TAG: parent, "stage": trial["stage"], "state": trial["state"], "host": trial["host"]},
            started,
        )
        parameters = [
            self._entities.Param(_name(path), str(value)) for path, value in trial["settings"].items()
        ]
        end = started + int(trial["seconds"] * 1000)
        metrics = [
            self._entities.Metric(_name(name), float(value), end, int(trial["best_iteration"] or 0))
            for name, value in {**trial["metrics"], "training_time": trial["seconds"]}.items()
        ]
        metrics += self._curve(trial, started)
        self._client.log_batch(run_id, metrics=metrics[-_PAGE:], params=parameters)
        self._client.set_terminated(run_id, _STATUS.get(trial["state"], "FAILED"), end)
        self._runs[number] = run_id

    def _curve(self, trial: Json, started: int) -> list[Any]:
        found, at = [], float(started)
        for row in trial["history"]:
            at += 1000 * float(row.get("seconds") or 0)
            step = int(row.get("epoch") or row.get("iteration") or 0)
            for name in ("loss", OBJECTIVE):
                if row.get(name) is not None:
                    label = _name(name) if name == "loss" else _name(f"curve.{name}")
                    found.append(self._entities.Metric(label, float(row[name]), int(at), step))
        return found

    def _parent(self) -> str:
        if _PARENT not in self._runs:
            self._find()
        if _PARENT not in self._runs:
            study = self._study
            tags = {"space": study.space.name, "config": study.config_path or "defaults"}
            self._runs[_PARENT] = self._create(study.study_id, _PARENT, tags, None)
        return self._runs[_PARENT]

    def _find(self) -> None:
        """Look up experiment and runs of this study on the server; runs that a kill cut off are deleted."""
        name = self._study.config.tuning.mlflow_experiment
        experiment = self._client.get_experiment_by_name(name)
        self._experiment = experiment.experiment_id if experiment else self._client.create_experiment(name)
        query = f"tags.`{STUDY_TAG}` = '{self._study.study_id}'"
        token = None
        while True:
            page = self._client.search_runs([self._experiment], query, max_results=_PAGE, page_token=token)
            for run in page:
                which = run.data.tags[TRIAL_TAG]
                if which != _PARENT and run.info.status == "RUNNING":
                    self._client.delete_run(run.info.run_id)
                else:
                    self._runs[which] = run.info.run_id
            token = page.token
            if not token:
                return

    def _create(self, name: str, which: str, tags: dict[str, str], started: int | None) -> str:
        study = self._study
        identity = {
            STUDY_TAG: study.study_id,
            TRIAL_TAG: which,
            "model_type": study.model,
            "data_version": study.data_version,
            "data_hash": study.content_hash,
            "seed": str(study.config.runtime.seed),
        }
        run = self._client.create_run(
            self._experiment, start_time=started, tags={**identity, **tags}, run_name=name
        )
        return str(run.info.run_id)


def _name(name: str) -> str:
    """Return a name that MLflow takes: it knows no "@"."""
    return name.replace("@", "_at_")
