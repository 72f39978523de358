"""The cleaned rows of a data version, for what the matrices have forgotten: times and cold-start users."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from recsys.cf.data.files import INTERACTIONS_FILE, InteractionsFile
from recsys.cf.data.load import fetch_files, local_directory
from recsys.cf.data.manifest import read_manifest
from recsys.config.settings import data_cache_dir
from recsys.storage.base import Store


def load_cleaned_rows(store: Store, version: str, columns: Sequence[str]) -> pl.DataFrame:
    """Return ``columns`` of interactions.parquet: all cleaned rows, cold-start users too.

    Args:
        version: Id of a data version.
        columns: Of ``build.INTERACTION_COLUMNS``.

    Raises:
        DataValidationError: The stored file is not the one that was published.
    """
    with _rows_file(store, version) as path:
        return pl.read_parquet(path, columns=list(columns))


def load_numbered_rows(store: Store, version: str, columns: Sequence[str]) -> pl.DataFrame:
    """Return what ``load_cleaned_rows`` does in half the memory, read in parts.

    user_id is the number of the user in the order of the file, which is that of the ids (UInt32), split is categorical.
    """
    parts, last_id, n_users = [], None, 0
    with _rows_file(store, version) as path:
        for part in InteractionsFile(path).batches():
            if part.is_empty():
                continue
            users = part["user_id"]
            number = users.rle_id().cast(pl.Int64) + (n_users - int(users[0] == last_id))
            last_id, n_users = users[-1], int(number[-1]) + 1
            parts.append(
                part.select(columns).with_columns(
                    user_id=number.cast(pl.UInt32), split=pl.col("split").cast(pl.Categorical)
                )
            )
    return pl.concat(parts)


@contextmanager
def _rows_file(store: Store, version: str) -> Iterator[Path]:
    manifest = read_manifest(store, version)
    with local_directory(data_cache_dir(), version) as directory:
        fetch_files(store, manifest, (INTERACTIONS_FILE,), directory)
        yield directory / INTERACTIONS_FILE
