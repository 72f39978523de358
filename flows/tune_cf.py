"""Tuning as a flow: one study per search space, its trials fanned out to threads, a Dask or a Ray cluster.

`python -m flows.tune_cf` runs it on the embedded default.
"""

import sys
from collections.abc import Sequence

from flows.embedded import use_embedded_server

if __name__ == "__main__" and "--help" not in sys.argv:  # Prefect reads its settings when it is imported
    use_embedded_server()

from prefect import flow

from flows.artifacts import show_study
from flows.reach import tell
from flows.trials import end_task, measure_task, open_studies_task, run_trials, runner_of
from flows.waiting import cancellation, wait_for_all
from recsys.config.settings import default_store_uri
from recsys.log import bind
from recsys.pipeline.study import StudyReference, finished_study, next_trials
from recsys.pipeline.tune_measure import CURRENT, WINNER
from recsys.pipeline.tune_record import Recorder
from recsys.registry.lease import running
from recsys.types import Json


@flow(name="tune-cf", flow_run_name="tune-cf {data_version}", persist_result=False)
def tune_cf(
    spaces: Sequence[str] | None = None,
    store: str | None = None,
    data_version: str = "latest",
    config_path: str | None = None,
    overrides: Sequence[str] = (),
    force: bool = False,
) -> list[Json]:
    """Search, compare with the current configuration, retrain, propose; return the results of the studies.

    Nothing that serves changes: adopting a proposal is `recsys tune adopt`.

    Args:
        spaces: search spaces, one study each; None: tuning.spaces of the configuration.
        store: where everything durable lives, a path or s3://bucket/prefix; None: RECSYS_STORE or ./store.
        data_version: "latest", an id or the beginning of a content hash.
        config_path: the current configuration; None: the defaults.
        overrides: settings such as "tuning.runner=dask" or "tuning.cluster=tcp://host:8786".
        force: search anew what an earlier study of the same space and data has searched.
    """
    studies = open_studies_task(
        store or default_store_uri(), spaces, data_version, config_path, overrides, force
    )
    return [tune_study.with_options(task_runner=runner_of(study))(study) for study in studies]


@flow(name="tune-study", flow_run_name="tune {study.space.name} {study.data_version}", persist_result=False)
def tune_study(study: StudyReference) -> Json:
    """Run one study; one that was killed goes on with the trials it lacks, a finished one is found."""
    bind(run_id=study.study_id, data_version=study.data_version)
    result = finished_study(study)
    if result is None:
        result = _search_and_compare(study)
    tell(show_study, result)
    return result


def _search_and_compare(study: StudyReference) -> Json:
    recorder = Recorder(study)
    with running(study.open_store(), study.study_id), cancellation() as cancelled:
        recorder.catch_up()
        while batch := next_trials(study):
            run_trials(study, batch, cancelled, recorder.tell)
        measured = [measure_task.submit(study, which) for which in (WINNER, CURRENT)]
        wait_for_all(measured)
        for future in measured:
            future.result()
        return end_task(study)


if __name__ == "__main__":
    from flows.tune_command import main

    main(tune_cf)
