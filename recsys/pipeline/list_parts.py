"""One file of a set of recommendations: computed, written as Parquet, put into the store, found again."""

import logging
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Protocol

import numpy as np
import polars as pl

from recsys.cf.data.dataset import UserItemSets
from recsys.cf.scoring.all_users import ExactSearch, TopLists, empty_lists
from recsys.cf.scoring.hnsw import HnswSearch, HnswSettings
from recsys.errors import ObjectNotFound
from recsys.pipeline.list_model import ListModel, open_list_model
from recsys.pipeline.list_set import ListSet, part_name
from recsys.storage.base import Store
from recsys.storage.documents import put_deterministic, put_file_deterministic, read_document, to_bytes
from recsys.storage.scratch import scratch_folder
from recsys.types import FloatMatrix, IndexVector, Json

# Called now and then with the number of users done since the last call; may raise TrainingCancelled.
UsersDone = Callable[[int], None]
COLUMNS = {
    "user_id": "string",
    "item_ids": "list<string>, best first",
    "scores": "list<float32>, descending",
    "normalized": "list<float32>, 0 to 1",
}
_ROWS_PER_GROUP = 50_000  # what a reader that wants few users must read
logger = logging.getLogger(__name__)


class Search(Protocol):
    """Finds the lists of users: ``ExactSearch`` or ``HnswSearch``."""

    def lists(
        self, user_factors: FloatMatrix, users: IndexVector, seen: UserItemSets, k: int
    ) -> Iterator[TopLists]:
        """Yield the lists of ``users``, block by block."""
        ...


def write_part(lists: ListSet, part: int, on_users: UsersDone = lambda _: None) -> Json:
    """Return the entry of one file for the manifest, after computing the file unless that was done before.

    Returns:
        {"name", "sha256", "n_bytes", "n_users", "first_user_idx", "n_short": lists with fewer than k items}.
        Equal sets give equal bytes, whoever computes them.
    """
    store = lists.open_store()
    known = finished_part(store, lists, part)
    if known is not None:
        on_users(known["n_users"])
        return known
    users = lists.users(part)
    model = lists.model()
    found = compute_lists(lists, np.arange(users.start, users.stop, dtype=np.int32), on_users)
    name = f"{part_name(part)}.parquet"
    with scratch_folder("lists") as temporary:
        path = temporary / name
        lists_frame(model, users, found).write_parquet(
            path, compression="zstd", statistics=True, row_group_size=_ROWS_PER_GROUP
        )
        entry: Json = {
            "name": name,
            "sha256": put_file_deterministic(store, f"{lists.prefix}/{name}", path),
            "n_bytes": path.stat().st_size,
            "n_users": len(users),
            "first_user_idx": users.start,
            "n_short": int((found.items[:, -1] < 0).sum()),
        }
    put_deterministic(store, f"{lists.prefix}/{part_name(part)}.json", to_bytes(entry))
    logger.info("%s: %d users, %.1f MB", entry["name"], entry["n_users"], entry["n_bytes"] / 1e6)
    return entry


def finished_part(store: Store, lists: ListSet, part: int) -> Json | None:
    """Return the entry of a file that an earlier attempt has finished and whose bytes are still those; else None."""
    key = f"{lists.prefix}/{part_name(part)}"
    entry = read_document(store, f"{key}.json", required=("name", "sha256", "n_users", "n_short"))
    if entry is None:
        return None
    try:
        intact = store.sha256(f"{key}.parquet") == entry["sha256"]
    except ObjectNotFound:
        intact = False
    return entry if intact else None


def compute_lists(
    lists: ListSet, users: IndexVector, on_users: UsersDone, *, exact: bool = False
) -> TopLists:
    """Return the lists of these users by the method of the set, or exactly."""
    model, k = lists.model(), lists.config.recommend.k
    search: Search = _exact_search(lists) if exact else search_of(lists)
    found, done = empty_lists(len(users), k), 0
    for block in search.lists(model.factors.user_factors, users, model.seen, k):
        stop = done + len(block.items)
        found.items[done:stop], found.scores[done:stop] = block.items, block.scores
        on_users(stop - done)
        done = stop
    return found


def search_of(lists: ListSet) -> Search:
    """Return the search of the set's method; made once per process."""
    ours, exact = lists.config.recommend, _exact_search(lists)
    if ours.method == "exact":
        return exact
    settings = HnswSettings(ours.hnsw_m, ours.hnsw_ef_construction, ours.hnsw_ef_search)
    return _hnsw_search(exact, settings)


def lists_frame(model: ListModel, users: range, found: TopLists) -> pl.DataFrame:
    """Return one row per user: user_id, and item_ids, scores and normalized of the same length each, best first."""
    shape = found.items.shape
    items = pl.Series(found.items.ravel())
    listed = items >= 0
    flat = pl.DataFrame(
        {
            "item_ids": model.item_ids.gather(items.clip(0)),
            "scores": found.scores.ravel(),
            "normalized": model.score_range.normalize(found.scores).astype(np.float32).ravel(),
        }
    ).with_columns(pl.when(listed).then(pl.all()))
    columns = {name: flat[name].reshape(shape).arr.to_list().list.drop_nulls() for name in flat.columns}
    return pl.DataFrame({"user_id": model.user_ids[users.start : users.stop], **columns})


def _exact_search(lists: ListSet) -> ExactSearch:
    return _exact_search_of(lists.store_uri, lists.model_id, lists.manifest_sha256)


@lru_cache(maxsize=1)
def _exact_search_of(store_uri: str, model_id: str, manifest_sha256: str) -> ExactSearch:
    return ExactSearch(open_list_model(store_uri, model_id, manifest_sha256).factors.item_factors)


@lru_cache(maxsize=1)
def _hnsw_search(exact: ExactSearch, settings: HnswSettings) -> HnswSearch:
    return HnswSearch(exact, settings)
