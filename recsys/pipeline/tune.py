"""A whole study without Prefect: what `recsys tune` does, and what the flow does task by task."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

from recsys.cf.tuning.sampling import PlannedTrial
from recsys.config.settings import available_threads
from recsys.errors import ConfigError
from recsys.log import bind
from recsys.pipeline.study import StudyReference, finished_study, next_trials
from recsys.pipeline.tune_finish import finish_study
from recsys.pipeline.tune_measure import CURRENT, WINNER, final_look, measure
from recsys.pipeline.tune_record import Recorder
from recsys.pipeline.tune_trial import run_trial, tuning_data
from recsys.registry.lease import running
from recsys.types import Json

_SECONDS_BETWEEN_SIGNALS = 0.2
logger = logging.getLogger(__name__)


def run_study(study: StudyReference, *, on_trial: Callable[[Json], None] | None = None) -> Json:
    """Return the result of a study: search, comparison, final retrain, proposal, report.

    One that ended well before is returned as it was ("reused": true); one that was killed goes on with the
    trials it lacks. Trials run in threads of this process, each with its share of the cores.

    Raises ConfigError for a cluster runner, which is the flow's; the errors of trials; TrainingError when no
    trial came to its end.
    """
    finished = finished_study(study)
    if finished is not None:
        return {**finished, "reused": True}
    tuning = study.config.tuning
    if tuning.runner != "threads":
        raise ConfigError(
            f"tuning.runner {tuning.runner} belongs to the flow: python -m flows.tune_cf, or set it to threads"
        )
    bind(run_id=study.study_id, data_version=study.data_version)
    with running(study.open_store(), study.study_id):
        tuning_data(study)  # a damaged version ends the study here
        recorder = Recorder(study)
        recorder.catch_up()
        while batch := next_trials(study):
            for trial in _side_by_side(study, batch):
                recorder.tell(trial)
                if on_trial is not None:
                    on_trial(trial)
        for which in (WINNER, CURRENT):
            measure(study, which)
        final_look(study)
        return finish_study(study)


def trials_at_once(study: StudyReference) -> int:
    """Return how many trials run side by side on this machine."""
    config = study.config
    return config.tuning.trials_at_once or config.runtime.threads or available_threads()


def _side_by_side(study: StudyReference, batch: Sequence[PlannedTrial]) -> Iterator[Json]:
    """Yield the documents of a batch as its trials end. Ctrl-C, or a trial that fails, stops the others."""
    cancelled = threading.Event()
    with ThreadPoolExecutor(trials_at_once(study), thread_name_prefix="trial") as pool:
        waiting = {pool.submit(run_trial, study, planned, cancelled.is_set) for planned in batch}
        try:
            while waiting:
                # in short steps: a wait without a limit may swallow Ctrl-C
                ended, waiting = wait(waiting, _SECONDS_BETWEEN_SIGNALS, FIRST_COMPLETED)
                for future in ended:
                    yield future.result()
        except BaseException:
            cancelled.set()
            for future in waiting:
                future.cancel()
            raise
