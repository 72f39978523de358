"""Where ended trials are told: the experiments file and, where one is named, an MLflow server."""

import logging
from collections.abc import Sequence
from pathlib import Path

from recsys.pipeline.experiments import append_rows, trial_row
from recsys.pipeline.mlflow_runs import MlflowRuns, tracking_uri
from recsys.pipeline.study import StudyReference, trial_documents
from recsys.types import Json

logger = logging.getLogger(__name__)


class Recorder:
    """Writes each ended trial once, also those that an earlier attempt ended but did not live to tell."""

    def __init__(self, study: StudyReference) -> None:
        self._study = study
        tuning = study.config.tuning
        self._file = Path(tuning.experiments) if tuning.experiments else None
        uri = tracking_uri(tuning)
        self._mlflow = MlflowRuns(study, uri) if uri else None

    def catch_up(self) -> None:
        """Tell every ended trial that has not been told yet."""
        self._tell(trial_documents(self._study))

    def tell(self, trial: Json) -> None:
        """Tell one ended trial, unless that was done before."""
        self._tell([trial])

    def _tell(self, trials: Sequence[Json]) -> None:
        if self._file is not None:
            append_rows(self._file, [trial_row(self._study, trial) for trial in trials])
        if self._mlflow is not None:
            for trial in trials:
                self._mlflow.log_trial(trial)

    def finish(self, result: Json, files: dict[str, bytes]) -> str | None:
        """Close the books with the study's result and its files; return the MLflow address, if any."""
        self.catch_up()
        return self._mlflow.finish(result, files) if self._mlflow is not None else None
