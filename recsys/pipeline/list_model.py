"""A registered model as batch recommendations read it: mapped factors, arrays and columns, no object per user."""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.cf.data.dataset import UserItemSets
from recsys.cf.data.mappings import MAPPINGS_FILE
from recsys.cf.data.npz import read_arrays
from recsys.errors import DataError, IntegrityError
from recsys.registry.artifact import split_model_id
from recsys.registry.cache import cached_model, default_cache_dir
from recsys.storage.open import open_store
from recsys.types import Factors, ScoreRange


@dataclass(frozen=True)
class ListModel:
    """The verified files of one model."""

    factors: Factors  # mapped, read-only
    seen: UserItemSets
    user_ids: pl.Series  # String, user_ids[user_idx]
    item_ids: pl.Series  # String, item_ids[item_idx]
    item_popularity: NDArray[np.float32]
    score_range: ScoreRange


@lru_cache(maxsize=1)
def open_list_model(store_uri: str, model_id: str, manifest_sha256: str) -> ListModel:
    """Return a model from this host's verified copy; opened once per process.

    Processes of one host share the copy (``recsys.registry.cache``), and its pages in memory.

    Raises:
        ModelNotFound: The store has no such model.
        IntegrityError: Its files are not those that were registered, or do not fit each other.
    """
    directory = cached_model(open_store(store_uri), model_id, manifest_sha256, default_cache_dir())
    name = split_model_id(model_id)[0]
    try:
        model = _read(directory, name)
    except (DataError, OSError, ValueError, KeyError, TypeError, pl.exceptions.PolarsError) as error:
        raise IntegrityError(f"{model_id} cannot be read, its files are incomplete: {error}") from error
    n_users, n_items = len(model.user_ids), len(model.item_ids)
    sizes = (model.factors.n_users, len(model.seen), model.factors.n_items, len(model.item_popularity))
    if sizes != (n_users, n_users, n_items, n_items):
        raise IntegrityError(
            f"the files of {model_id} do not fit: {n_users} user ids, {n_items} item ids, but rows of U, seen, V "
            f"and popularity are {sizes}"
        )
    return model


def _read(directory: Path, name: str) -> ListModel:
    ids = pl.read_parquet(directory / MAPPINGS_FILE).sort("kind", "idx")
    metadata = json.loads((directory / f"{name}_metadata.json").read_bytes())
    U, V = (np.load(directory / f"{name}_{side}.npy", mmap_mode="r", allow_pickle=False) for side in "UV")
    arrays = read_arrays(directory / "seen_items.npz")
    # The kernels want aligned arrays: those of models from before November 2026 may be not, and are copied then.
    indptr, indices = (np.require(arrays[name], requirements="A") for name in ("indptr", "indices"))
    return ListModel(
        factors=Factors(U, V),
        seen=UserItemSets(indptr, indices),
        user_ids=ids.filter(kind="user")["id"],
        item_ids=ids.filter(kind="item")["id"],
        item_popularity=np.load(directory / "item_popularity.npy", allow_pickle=False),
        score_range=ScoreRange.from_json(metadata["score_range"]),
    )
