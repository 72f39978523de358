"""What a data version offers to measure with: its held-out users, its baselines, the memory there is."""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from recsys.cf.data.dataset import InteractionDataset, UserItemSets
from recsys.cf.data.load import load_product_embeddings
from recsys.cf.embeddings.align import align_embeddings
from recsys.cf.evaluation.baselines import (
    popularity_scorer,
    random_scorer,
    recent_popularity_scorer,
    similarity_scorer,
)
from recsys.cf.evaluation.cold_start import COLUMNS
from recsys.cf.evaluation.evaluate import Evaluation, evaluate
from recsys.cf.evaluation.lists import unit_rows
from recsys.cf.models.memory import require_memory
from recsys.cf.scoring.blocks import ItemScorer, Scorer
from recsys.cf.scoring.user_sample import sample_sets
from recsys.cf.scoring.walk import TILE_USERS
from recsys.config.schema import TrainingConfig
from recsys.config.settings import free_memory_bytes
from recsys.pipeline.cleaned_rows import load_numbered_rows
from recsys.storage.base import Store
from recsys.types import FloatMatrix

POPULARITY, CHAMPION = "popularity", "champion"
_RECENT, _SIMILARITY, _RANDOM = "popularity_recent", "similarity", "random"
# Share of the free memory that scores may take: the rest is for what is kept of every user.
_SCORES_SHARE = 0.5
# The score range holds the scores of a thread's tile, without those of seen items, and once more in float64.
_COPIES_OF_A_TILE = 4


@dataclass(frozen=True)
class Testbed:
    """The test users of a data version and the baselines every model is held against."""

    data: InteractionDataset
    config: TrainingConfig
    interactions: pl.DataFrame  # all cleaned rows, the columns of ``cold_start``, users by number
    held_out: UserItemSets  # of the test users, or of the sample that evaluation.max_users asks for
    popularity: ItemScorer  # the one the gates ask, as evaluation.popularity says
    baselines: Mapping[str, Scorer]  # with it
    item_vectors: FloatMatrix | None  # unit vectors by item_idx
    block_users: int

    def evaluate(self, scorers: Mapping[str, Scorer]) -> dict[str, Evaluation]:
        """Return the evaluation of these scorers and of every baseline, in one walk over the same users."""
        config = self.config.evaluation
        return evaluate(
            {**scorers, **self.baselines},
            self.held_out,
            self.data.user_seen_train,
            k_values=config.k_values,
            block_users=self.block_users,
            auc=config.auc,
            item_vectors=self.item_vectors if config.diversity else None,
        )


def open_testbed(store: Store, data: InteractionDataset, config: TrainingConfig) -> Testbed:
    """Return the testbed of a data version. Raises NotEnoughMemory, ConfigError, DataValidationError.

    Baselines: popularity, popularity of the recent days, chance, and similarity of items where the version
    has embeddings.
    """
    settings = config.evaluation
    interactions = load_numbered_rows(store, data.version, COLUMNS)
    recent = recent_popularity_scorer(interactions, data.n_items, settings.recent_days)
    popularity = recent if settings.popularity == "recent" else popularity_scorer(data, settings.popularity)
    embeddings = load_product_embeddings(store, data.version)
    aligned = None if embeddings is None else align_embeddings(embeddings, data.mappings)
    vectors = None if aligned is None else unit_rows(aligned.vectors)
    baselines: dict[str, Scorer] = {POPULARITY: popularity}
    if settings.popularity != "recent":
        baselines[_RECENT] = recent
    if vectors is not None:
        baselines[_SIMILARITY] = similarity_scorer(vectors, data.user_pos_train, popularity)
    baselines[_RANDOM] = random_scorer(data, config.runtime.seed)
    return Testbed(
        data,
        config,
        interactions,
        sample_sets(data.held_out("test"), settings.max_users, config.runtime.seed),
        popularity,
        baselines,
        vectors,
        _block_users(data.n_items, settings.block_users),
    )


def _block_users(n_items: int, configured: int) -> int:
    """Return the users to score at a time: as configured, fewer where memory is short."""
    tile_bytes = _COPIES_OF_A_TILE * TILE_USERS * n_items * 4
    require_memory(
        "evaluation",
        tile_bytes,
        f"{n_items} items are scored for {TILE_USERS} users at least; keep fewer items",
    )
    tiles = max(1, int(free_memory_bytes() * _SCORES_SHARE) // tile_bytes)
    return min(configured, tiles * TILE_USERS)
