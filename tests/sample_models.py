"""Small trained-looking models for tests of the registry: the files a pipeline writes."""

import json
from pathlib import Path

import numpy as np
import polars as pl

from recsys.registry.artifact import new_version, stage_model
from recsys.registry.catalogue import Registry

# Three users, four items. u0 . V = (4, 3, 2, 1), u1 the reverse, u2 likes all alike.
USER_FACTORS = np.array([[1, 0], [0, 1], [1, 1]], dtype=np.float32)
ITEM_FACTORS = np.array([[4, 1], [3, 2], [2, 3], [1, 4]], dtype=np.float32)
SEEN = [[0], [3, 0], []]
POPULARITY = np.log1p(np.array([5, 1, 9, 0])).astype(np.float32)
SCORE_RANGE = {"method": "test_set", "min": 1.0, "max": 4.0, "mean": 2.5, "std": 1.0}
SCORE_RANGE |= {"p01": 1.0, "p50": 2.5, "p99": 3.0, "num_samples": 12}


def write_model(directory: Path, model_type: str = "als", scale: float = 1.0) -> Path:
    """Write the files of a model into ``directory``; ``scale`` makes models differ."""
    directory.mkdir(parents=True)
    np.save(directory / f"{model_type}_U.npy", USER_FACTORS * np.float32(scale))
    np.save(directory / f"{model_type}_V.npy", ITEM_FACTORS)
    indptr = np.cumsum([0, *map(len, SEEN)]).astype(np.int64)
    indices = np.array([item for row in SEEN for item in sorted(row)], dtype=np.int32)
    np.savez(directory / "seen_items.npz", indptr=indptr, indices=indices)
    np.save(directory / "item_popularity.npy", POPULARITY)
    ids = [("user", i, f"u{i}") for i in range(3)] + [("item", i, f"item-{i}") for i in range(4)]
    pl.DataFrame(ids, schema=["kind", "idx", "id"], orient="row").write_parquet(
        directory / "mappings.parquet"
    )
    pl.DataFrame(
        {
            "item_idx": [0, 1, 2, 3],
            "item_id": [f"item-{i}" for i in range(4)],
            "title": ["Kem", "Son", None, "Sữa"],
            "num_sold_time": [1, 2, 3, 4],
        }
    ).write_parquet(directory / "items.parquet")
    (directory / f"{model_type}_metadata.json").write_text(json.dumps({"score_range": SCORE_RANGE}))
    return directory


def publish(
    registry: Registry,
    directory: Path,
    model_type: str = "als",
    *,
    recall: float = 0.2,
    run_id: str = "run-1",
) -> str:
    """Stage and register the model in ``directory`` under a new version; return its id."""
    model_id = stage_model(registry.store, model_type, new_version(), directory, facts={"run_id": run_id})
    registry.register(
        model_id, model_type, data_version="v_1", run_id=run_id, metrics={"recall@10": recall, "ndcg@10": 0.1}
    )
    return model_id
