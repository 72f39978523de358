"""Parquet objects of our store as a Spark table: a Python data source, so no Hadoop file system and no jars.

Each executor opens the store by its URI, with the credentials of its own environment, and reads ranges of bytes.
Import this module only where Spark is used: it needs pyspark and pyarrow.
"""

import importlib
import json
from collections.abc import Iterator, MutableMapping, Sequence
from typing import Any

from recsys.errors import DataError
from recsys.storage.open import open_store, store_uri_anywhere
from recsys.storage.ranges import open_object

_BATCH_ROWS = 1 << 16
_source: Any = importlib.import_module("pyspark.sql.datasource")
_types: Any = importlib.import_module("pyspark.sql.pandas.types")


def read_parquet(session: Any, store_uri: str, keys: Sequence[str], columns: Sequence[str]) -> Any:
    """Return a DataFrame of ``columns`` of Parquet objects, a partition for each of their row groups, in order.

    Args:
        session: from ``spark_session``.
        store_uri: as ``open_store`` takes it; executors must reach it. A local path: one they all see.
        keys: Parquet objects of one schema.
        columns: names, in the order wanted.

    Rows are read when Spark runs a job, and read anew by each job. Errors of the store on an executor come out
    of the session as themselves (``StoreUnavailable`` and so on), after Spark tried the task four times; an
    object that is no Parquet or lacks a column gives DataError. Memory of an executor: the columns of a row group.
    """
    session.dataSource.register(StoreParquet)
    options = {
        "store": store_uri_anywhere(store_uri),
        "keys": json.dumps(list(keys)),
        "columns": json.dumps(list(columns)),
    }
    return session.read.format(StoreParquet.name()).options(**options).load()


class StoreParquet(_source.DataSource):  # type: ignore[misc]
    """The data source; Spark makes it anew from its options wherever it needs it."""

    def __init__(self, options: MutableMapping[str, str]) -> None:
        super().__init__(options)
        self._store_uri = options["store"]
        self._keys, self._columns = json.loads(options["keys"]), json.loads(options["columns"])

    @classmethod
    def name(cls) -> str:
        """Return the name of the format."""
        return "recsys_store"

    def schema(self) -> Any:
        """Return the columns with the types that the first object gives them."""
        with _opened(self._store_uri, self._keys[0]) as parquet:
            names = parquet.schema_arrow.names
            missing = [name for name in self._columns if name not in names]
            if missing:
                raise DataError(
                    f"{self._keys[0]} in {self._store_uri} lacks the columns {', '.join(missing)}"
                )
            fields = [parquet.schema_arrow.field(name) for name in self._columns]
        return _types.from_arrow_schema(_arrow().schema(fields))

    def reader(self, schema: Any) -> "_Reader":
        """Return what reads rows of ``schema``."""
        return _Reader(self._store_uri, self._keys, schema)


class _RowGroup(_source.InputPartition):  # type: ignore[misc]
    def __init__(self, key: str, number: int) -> None:
        self.key, self.number = key, number


class _Reader(_source.DataSourceReader):  # type: ignore[misc]
    def __init__(self, store_uri: str, keys: Sequence[str], schema: Any) -> None:
        self._store_uri, self._keys, self._schema = store_uri, keys, schema

    def partitions(self) -> Sequence[_RowGroup]:
        """Return the row groups of all objects."""
        groups = []
        for key in self._keys:
            with _opened(self._store_uri, key) as parquet:
                groups += [_RowGroup(key, number) for number in range(parquet.num_row_groups)]
        return groups

    def read(self, partition: _RowGroup) -> Iterator[Any]:
        """Yield the record batches of a row group."""
        target = _types.to_arrow_schema(self._schema)
        with _opened(self._store_uri, partition.key) as parquet:
            for batch in parquet.iter_batches(_BATCH_ROWS, [partition.number], columns=target.names):
                table = _arrow().Table.from_batches([batch]).select(target.names).cast(target)
                yield from table.to_batches()


class _opened:  # noqa: N801  (reads as a function)
    """A context with the Parquet file behind a key."""

    def __init__(self, store_uri: str, key: str) -> None:
        self._where = f"{key} in {store_uri}"
        self._stream = open_object(open_store(store_uri), key)

    def __enter__(self) -> Any:
        parquet = importlib.import_module("pyarrow.parquet")
        try:
            return parquet.ParquetFile(self._stream, pre_buffer=True)
        except _arrow().ArrowInvalid as error:
            raise DataError(f"{self._where} is no Parquet file: {error}") from error

    def __exit__(self, *_: object) -> None:
        self._stream.close()


def _arrow() -> Any:
    return importlib.import_module("pyarrow")
