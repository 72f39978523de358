"""The files of the original's layout, each in whatever format it was written, as plain arrays."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.cf.data.npz import read_csr
from recsys.cf.data.restricted_pickle import read_restricted_pickle
from recsys.cf.data.sources import Source
from recsys.errors import DataError, RawDataError

_MAPPING_NAMES = ("mappings", "user_item_mappings", "id_mappings")
_SUFFIXES = (".json", ".pkl", ".parquet", ".csv")
_USED = ("X_train_confidence", "X_train_binary", "user_pos_train", "val_interactions", "test_interactions")


class LegacyFiles:
    """Reads the original's files of one directory; every fault is a RawDataError that names the file."""

    def __init__(self, directory: Path) -> None:
        if not directory.is_dir():
            raise RawDataError(f"{directory} is not a directory: give the one with X_train_confidence.npz")
        self.directory = directory

    def sources(self) -> list[Source]:
        """Return the files that the import reads."""
        found = [
            self.directory / f"{name}{suffix}"
            for name in (*_USED, *_MAPPING_NAMES)
            for suffix in (".npz", *_SUFFIXES)
        ]
        return [Source(path.name, path) for path in found if path.is_file()]

    def ids(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return user_id by user_idx and item_id by item_idx of the original, as arrays of strings."""
        path, mappings = self._document(*_MAPPING_NAMES)
        if not isinstance(mappings, Mapping):
            raise RawDataError(f"{path}: expected {{user_to_idx, item_to_idx}}")
        return self._ids(path, mappings, "user"), self._ids(path, mappings, "item")

    def matrix(self, name: str) -> csr_matrix:
        """Return a CSR matrix."""
        path = self.directory / f"{name}.npz"
        if not path.is_file():
            raise RawDataError(f"{path} does not exist")
        try:
            matrix = read_csr(path)
            matrix.check_format(full_check=True)
        except (DataError, ValueError) as error:
            raise RawDataError(f"{path}: {error}") from error
        return matrix

    def positives(self, shape: tuple[int, int]) -> csr_matrix:
        """Return the positives as a binary matrix."""
        if not self._path("user_pos_train"):
            binary = self.matrix("X_train_binary")
            if binary.shape != shape:
                raise RawDataError(f"{self.directory}: X_train_binary is {binary.shape}, not {shape}")
            return binary
        path, sets = self._document("user_pos_train")
        try:
            pairs = [(int(user), int(item)) for user, items in sets.items() for item in items]
            users, items = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
            return csr_matrix((np.ones(len(pairs), np.float32), (users, items)), shape=shape)
        except (AttributeError, TypeError, ValueError) as error:
            raise RawDataError(
                f"{path}: expected {{user_idx: {{item_idx, ...}}}} within {shape}: {error}"
            ) from error

    def held_out(
        self, name: str, user_ids: NDArray[Any], item_ids: NDArray[Any]
    ) -> tuple[list[str], list[str], list[float | None]]:
        """Return (user_id, item_id, rating or None) of the rows of a held-out file."""
        if not self._path(name):
            return [], [], []
        path, table = self._table(name)
        missing = [one for one in ("user", "item") if not {f"{one}_id", f"{one}_idx"} & set(table.columns)]
        if missing:
            raise RawDataError(
                f"{path} has no column {missing[0]}_idx or {missing[0]}_id: {', '.join(table.columns)}"
            )
        known = "rating" in table.columns
        return (
            self._named(path, table, "user", user_ids),
            self._named(path, table, "item", item_ids),
            table["rating"].cast(pl.Float64, strict=False).to_list() if known else [None] * table.height,
        )

    def _path(self, *names: str) -> Path | None:
        candidates = (self.directory / f"{name}{suffix}" for name in names for suffix in _SUFFIXES)
        return next((path for path in candidates if path.is_file()), None)

    def _document(self, *names: str) -> tuple[Path, Any]:
        path = self._path(*names)
        if path is None:
            raise RawDataError(f"{self.directory} has no {' or '.join(names)} (.json or .pkl)")
        if path.suffix == ".pkl":
            return path, read_restricted_pickle(path)
        try:
            return path, json.loads(path.read_text("utf-8"))
        except (ValueError, OSError) as error:
            raise RawDataError(f"{path} is no JSON: {error}") from error

    def _table(self, name: str) -> tuple[Path, pl.DataFrame]:
        path = self._path(name)
        try:
            if path is not None and path.suffix == ".parquet":
                return path, pl.read_parquet(path, glob=False)
            if path is not None and path.suffix == ".csv":
                return path, pl.read_csv(path, infer_schema=False, glob=False)
            path, document = self._document(name)
            return path, pl.DataFrame(document, strict=False, infer_schema_length=None)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, TypeError, ValueError) as error:
            raise RawDataError(f"{path} holds no rows: {next(iter(str(error).splitlines()), '')}") from error

    def _ids(self, path: Path, mappings: Mapping[str, Any], kind: str) -> NDArray[Any]:
        forward, backward = mappings.get(f"{kind}_to_idx"), mappings.get(f"idx_to_{kind}")
        try:
            pairs: Iterable[tuple[Any, Any]]
            if forward is not None:
                pairs = ((idx, one) for one, idx in forward.items())
            else:
                pairs = backward.items() if isinstance(backward, Mapping) else enumerate(backward or ())
            ids = {int(idx): str(one) for idx, one in pairs}
        except (AttributeError, TypeError, ValueError) as error:
            raise RawDataError(f"{path}: {kind}_to_idx is no mapping from ids to numbers: {error}") from error
        if not ids or set(ids) != set(range(len(ids))) or len(set(ids.values())) != len(ids):
            raise RawDataError(f"{path}: {kind} numbers are not 0, 1, 2, ... for distinct ids")
        return np.array([ids[idx] for idx in range(len(ids))], dtype=object)

    def _named(self, path: Path, table: pl.DataFrame, kind: str, ids: NDArray[Any]) -> list[str]:
        if f"{kind}_idx" not in table.columns:
            return [str(one) for one in table[f"{kind}_id"].to_list()]
        idx = table[f"{kind}_idx"].cast(pl.Int64, strict=False)
        if not idx.is_between(0, len(ids) - 1).fill_null(False).all():
            raise RawDataError(f"{path}: {kind}_idx outside 0..{len(ids) - 1}")
        return [str(one) for one in ids[idx.to_numpy()]]
