"""The lists of all users on a Spark cluster: each task writes one file, by the code that one machine runs.

Executors read the model from their host's verified copy and put the files into the store themselves; what goes
through Spark are numbers of files and their entries for the manifest. So the bytes are those of the local engine.
"""

import json
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from recsys.cf.models.threads import use_compiled_threads
from recsys.engines.spark_session import spark_session
from recsys.pipeline.list_parts import write_part
from recsys.pipeline.list_set import ListSet
from recsys.storage.open import store_uri_anywhere
from recsys.types import Json


def write_parts_on_spark(lists: ListSet, parts: Sequence[int]) -> dict[int, Json]:
    """Return the entries of these files by number, after a task of the cluster has written each.

    A task that dies is run again elsewhere by Spark; files that were finished are found then.

    Raises:
        ConfigError, EngineError, EngineUnavailable: See ``spark_session``.
    """
    lists = lists.model_copy(update={"store_uri": store_uri_anywhere(lists.store_uri)})
    with spark_session(lists.config.spark, f"recommend-all {lists.set_id}") as session:
        numbers = session.sparkContext.parallelize(list(parts), len(parts)).map(lambda part: (part,))
        frame = session.createDataFrame(numbers, "part long")
        written = frame.mapInArrow(partial(_write, lists.model_dump_json()), "part long, entry string")
        return {int(row["part"]): json.loads(row["entry"]) for row in written.collect()}


def _write(document: str, batches: Iterator[Any]) -> Iterator[Any]:
    """Write the files whose numbers come; on an executor, in a Python process that Spark uses for many tasks."""
    import pyarrow as pa

    lists = ListSet.model_validate_json(document)
    use_compiled_threads(1)  # a task is one core
    for batch in batches:
        parts = batch.column("part").to_pylist()
        entries = [json.dumps(write_part(lists, part)) for part in parts]
        yield pa.RecordBatch.from_arrays(
            [pa.array(parts, pa.int64()), pa.array(entries, pa.string())], names=["part", "entry"]
        )
