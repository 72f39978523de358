"""Batch recommendations as a flow: the top items of every user of a model, as Parquet in the store.

`python -m flows.recommend_all` runs it on the embedded default.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from flows.embedded import use_embedded_server

if __name__ == "__main__" and "--help" not in sys.argv:  # Prefect reads its settings when it is imported
    use_embedded_server()

from prefect import flow, task

from flows.artifacts import show_lists
from flows.progress import ListsProgress
from flows.reach import tell
from flows.tasks import STAGE, of_run
from recsys.config.load import load_config
from recsys.config.settings import default_store_uri
from recsys.log import bind
from recsys.pipeline.list_copy import check_output, copy_set
from recsys.pipeline.list_set import ListSet, open_set
from recsys.pipeline.recommend_all import (
    finished_set,
    measure_recall,
    publish_lists,
    write_lists,
)
from recsys.types import Json


@flow(name="recommend-all", flow_run_name="recommend-all {model}", persist_result=False)
def recommend_all(
    model: str = "champion",
    store: str | None = None,
    config_path: str | None = None,
    overrides: Sequence[str] = (),
    output: str | None = None,
) -> Json:
    """Return what was written: the lists of all users of a model; those that exist are found, not made again.

    Args:
        model: model id, its unique beginning, "champion" or "previous".
        store: where everything durable lives, a path or s3://bucket/prefix; None: RECSYS_STORE or ./store.
        config_path: the configuration file; None: the defaults.
        overrides: settings such as "recommend.k=20" or "runtime.engine.recommend=spark".
        output: local directory that gets a copy of the files.
    """
    if output is not None:
        check_output(Path(output))
    lists, result = open_set_task(store or default_store_uri(), model, config_path, overrides)
    bind(run_id=lists.set_id, data_version=lists.data_version)
    if result is None:
        with lists.lease():
            measured = of_run(recall_task, lists)(lists)
            entries = of_run(lists_task, lists)(lists)
            result = of_run(publish_task, lists)(lists, entries, measured)
    if output is not None:
        copy_set(lists, result, Path(output))
    tell(show_lists, result)
    return result


@task(name="open set", **STAGE)
def open_set_task(
    store: str, model: str, config_path: str | None, overrides: Sequence[str]
) -> tuple[ListSet, Json | None]:
    """Pin model and settings; return the set, and its result if it was made before."""
    config = load_config(Path(config_path) if config_path else None, overrides)
    lists = open_set(store, config, model)
    return lists, finished_set(lists)


@task(name="measure recall", **STAGE)
def recall_task(lists: ListSet) -> Json | None:
    """Compare approximate lists with exact ones, before all are made; nothing to do for exact ones."""
    return measure_recall(lists)


@task(name="write lists", **STAGE)
def lists_task(lists: ListSet) -> list[Json]:
    """Write the files that no earlier attempt has finished; return the entries of all."""
    with ListsProgress(lists.n_users) as progress:
        return write_lists(lists, progress)[0]


@task(name="publish lists", **STAGE)
def publish_task(lists: ListSet, entries: Sequence[Json], measured: Json | None) -> Json:
    """Write the manifest: from now on the set is there."""
    return publish_lists(lists, entries, measured)


if __name__ == "__main__":
    from flows.recommend_command import main

    main(recommend_all)
