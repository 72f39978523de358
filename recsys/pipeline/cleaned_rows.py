"""The cleaned rows of a data version, for what the matrices have forgotten: times and cold-start users."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from recsys.cf.data.files import INTERACTIONS_FILE
from recsys.cf.data.manifest import file_key, read_manifest
from recsys.errors import DataValidationError
from recsys.storage.base import Store


def load_cleaned_rows(store: Store, version: str, columns: Sequence[str]) -> pl.DataFrame:
    """Return ``columns`` of interactions.parquet: all cleaned rows, cold-start users too.

    Args:
        version: Id of a data version.
        columns: Of ``build.INTERACTION_COLUMNS``.

    Raises:
        DataValidationError: The stored file is not the one that was published.
    """
    expected = read_manifest(store, version).files[INTERACTIONS_FILE].sha256
    with TemporaryDirectory(prefix="recsys-rows-") as directory:
        path = Path(directory) / INTERACTIONS_FILE
        if store.get_file(file_key(version, INTERACTIONS_FILE), path) != expected:
            finding = f"{INTERACTIONS_FILE}: SHA-256 differs from the manifest"
            raise DataValidationError(f"data version {version} is damaged: {finding}", (finding,))
        return pl.read_parquet(path, columns=list(columns))
