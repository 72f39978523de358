"""The map from product embeddings to item factors that is stored with every model."""

import logging
from pathlib import Path

from recsys.cf.data.dataset import InteractionDataset
from recsys.cf.embeddings.load import aligned_embeddings, has_embeddings
from recsys.cf.embeddings.map import fit_item_map, write_item_map
from recsys.errors import DataError
from recsys.pipeline.run import RunReference
from recsys.types import Factors, Json

logger = logging.getLogger(__name__)


def write_map_of(run: RunReference, data: InteractionDataset, factors: Factors, path: Path) -> Json:
    """Write the map of a model to ``path`` and return what its metadata tells of it.

    Without embeddings, or with too few, nothing is written and {"enabled": False, "reason": ...} comes back: the
    map is an extra, and a night must not end because products came without texts.
    """
    config = run.config.bert
    if not config.item_map:
        return {"enabled": False, "reason": "bert.item_map is off"}
    store = run.open_store()
    if not has_embeddings(store, data.version, config):
        return {"enabled": False, "reason": "the data version has no product embeddings"}
    try:
        embeddings = aligned_embeddings(store, data, config)
        item_map = fit_item_map(embeddings, factors.item_factors, data.item_train_counts)
    except DataError as error:
        logger.warning("no item map: %s", error)
        return {"enabled": False, "reason": str(error)}
    write_item_map(path, item_map)
    return {"enabled": True, **item_map.facts()}
