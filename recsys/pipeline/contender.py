"""A registered model brought to a data version, so that it is measured on the same users as the others."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recsys.cf.data.dataset import IdMappings, InteractionDataset, UserItemSets, positions
from recsys.cf.data.mappings import MAPPINGS_FILE, read_mappings
from recsys.cf.data.npz import open_array, read_arrays
from recsys.cf.evaluation.champion import align_factors
from recsys.cf.models.als_confidence import row_blocks
from recsys.cf.scoring.blocks import PartialScorer
from recsys.registry.artifact import fetch_model, read_manifest, split_model_id
from recsys.storage.base import Store
from recsys.storage.scratch import scratch_folder
from recsys.types import Factors


@dataclass(frozen=True)
class Contender:
    """A registered model as a scorer over the users and items of a data version."""

    model_id: str
    data_version: str  # it was trained on
    scorer: PartialScorer
    n_leaked_pairs: int  # test pairs that were in its own training data
    leaked_users: NDArray[np.bool_]  # by user_idx of the data version: who has such a pair


@dataclass(frozen=True)
class DamagedModel:
    """A registered model whose files are not those that were registered."""

    model_id: str
    reason: str


def read_factors(directory: Path, model_type: str) -> tuple[Factors, IdMappings]:
    """Return the factors of a fetched model and the ids their rows stand for."""
    U, V = (open_array(directory / f"{model_type}_{side}.npy") for side in "UV")
    return Factors(U, V), read_mappings(directory / MAPPINGS_FILE)


def load_contender(
    store: Store, model_id: str, data: InteractionDataset, *, expected_sha256: str | None = None
) -> Contender:
    """Return a registered model, its files verified, its users and items matched by the shop's ids.

    Users it does not know are scored by the popularity of ``data``, as serving does. ``expected_sha256`` is the
    manifest's hash as the registry recorded it. Raises ModelNotFound, IntegrityError, RegistryError.
    """
    with scratch_folder("contender") as directory:
        path = fetch_model(store, model_id, directory / model_id, expected_sha256=expected_sha256)
        name = split_model_id(model_id)[0]
        factors, ids = read_factors(path, name)
        arrays = read_arrays(path / "seen_items.npz")
        trained = UserItemSets(arrays["indptr"], arrays["indices"])
    leaked = _leaked_pairs(trained, ids, data)
    users = np.zeros(len(data.mappings.user_ids), dtype=np.bool_)
    users[data.test_interactions["user_idx"].to_numpy()[leaked]] = True
    return Contender(
        model_id,
        str(read_manifest(store, model_id)["facts"].get("data_version", "")),
        align_factors(factors, ids, data.mappings, data.item_popularity),
        int(leaked.sum()),
        users,
    )


def _leaked_pairs(trained: UserItemSets, ids: IdMappings, data: InteractionDataset) -> NDArray[np.bool_]:
    """Return for each row of the test interactions of ``data`` whether the model was trained on its pair."""
    users = positions(ids.user_ids, data.mappings.user_ids)
    items = positions(ids.item_ids, data.mappings.item_ids)
    test = data.test_interactions
    user, item = users[test["user_idx"].to_numpy()], items[test["item_idx"].to_numpy()]
    known = np.flatnonzero((user >= 0) & (item >= 0))
    n_items = len(ids.item_ids)
    pairs = user[known] * n_items + item[known]
    order = np.argsort(pairs)
    pairs = pairs[order]
    leaked = np.zeros(test.height, dtype=np.bool_)
    for rows in row_blocks(trained.indptr):
        counts = np.diff(trained.indptr[rows.start : rows.stop + 1])
        owner = np.repeat(np.arange(rows.start, rows.stop, dtype=np.int64), counts)
        entries = trained.indices[trained.indptr[rows.start] : trained.indptr[rows.stop]]
        first, last = np.searchsorted(pairs, [rows.start * n_items, rows.stop * n_items])
        found = np.isin(pairs[first:last], owner * n_items + entries)
        leaked[known[order[first:last][found]]] = True
    return leaked
