"""The warm start of BPR: the newest registered model's factors by tonight's indices."""

import logging

from recsys.cf.data.dataset import InteractionDataset
from recsys.cf.evaluation.champion import align_rows
from recsys.cf.models.bpr_start import WarmStart
from recsys.pipeline.contender import read_factors
from recsys.pipeline.run import RunReference
from recsys.registry.artifact import fetch_model
from recsys.storage.scratch import scratch_folder
from recsys.types import Factors

logger = logging.getLogger(__name__)


def newest_model(run: RunReference, model: str) -> str | None:
    """Return the id of the newest registered model of that type that did not fail, or None."""
    entries = [entry for entry in run.registry().list(model) if entry.status != "failed"]
    return entries[0].model_id if entries else None


def load_warm_start(run: RunReference, model_id: str, data: InteractionDataset) -> WarmStart:
    """Return the model's factors by tonight's indices; users and items it does not know are marked."""
    with scratch_folder("warm") as directory:
        path = fetch_model(run.open_store(), model_id, directory / model_id)
        last, ids = read_factors(path, "bpr")
    users, known_users = align_rows(last.user_factors, ids.user_ids, data.mappings.user_ids)
    items, known_items = align_rows(last.item_factors, ids.item_ids, data.mappings.item_ids)
    logger.info(
        "BPR starts from %s: it knows %d of %d users and %d of %d items",
        *(model_id, known_users.sum(), len(known_users), known_items.sum(), len(known_items)),
    )
    return WarmStart(Factors(users, items), known_users, known_items)
