from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.cf.data.dataset import UserItemSets
from recsys.cf.evaluation.evaluate import evaluate
from recsys.cf.scoring.blocks import ItemScorer

GOWALLA = Path(__file__).parents[2].parent / "shared" / "data" / "gowalla-lightgcn"


def read_sets(name: str, n_users: int) -> UserItemSets:
    frame = pl.read_parquet(GOWALLA / name)
    user_column, item_column = frame.columns[:2]
    frame = frame.select(pl.col(user_column).cast(int), pl.col(item_column).cast(int)).unique()
    frame = frame.sort(user_column, item_column)
    counts = np.bincount(frame[user_column].to_numpy(), minlength=n_users)
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return UserItemSets(indptr, frame[item_column].to_numpy().astype(np.int32))


@pytest.mark.real_data
@pytest.mark.skipif(
    not GOWALLA.is_dir(), reason="the Gowalla split is not at ../shared/data/gowalla-lightgcn"
)
def test_popularity_on_gowalla_reaches_the_figures_measured_elsewhere():
    """An independent measurement of this split has Recall@20 0.0416 and NDCG@20 0.0317 for popularity."""
    n_users, n_items = 29_858, 40_981
    seen, held_out = read_sets("train.parquet", n_users), read_sets("test.parquet", n_users)
    counts = np.bincount(seen.indices, minlength=n_items).astype(np.float32)
    metrics = evaluate(
        {"popularity": ItemScorer(counts)}, held_out, seen, k_values=[20], block_users=256, lists=False
    )["popularity"].metrics
    assert metrics["recall@20"] == pytest.approx(0.0416, abs=1e-4)
    assert metrics["ndcg@20"] == pytest.approx(0.0317, abs=1e-4)
