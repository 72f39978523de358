"""Registered models with random factors, for tests of batch recommendations: their stores, and how lists are read."""

import io
import json
from pathlib import Path

import numpy as np
import polars as pl
from sample_models import SCORE_RANGE, publish

from recsys.registry.catalogue import Registry
from recsys.storage.local import LocalStore


def store_with_champion(folder: Path, *, n_users: int = 300, n_items: int = 80, seed: int = 0) -> LocalStore:
    """Return a store in ``folder`` whose champion is a random model; some users have seen nearly everything."""
    store = LocalStore(folder)
    registry = Registry(store)
    model_id = publish(
        registry, random_model(folder.with_name(f"{folder.name}-files"), n_users, n_items, seed)
    )
    registry.promote(model_id, reasons=["test"])
    return store


def random_model(directory: Path, n_users: int, n_items: int, seed: int, n_factors: int = 16) -> Path:
    """Write the files of a model with random factors into ``directory``."""
    rng = np.random.default_rng(seed)
    directory.mkdir(parents=True)
    np.save(directory / "als_U.npy", rng.standard_normal((n_users, n_factors), dtype=np.float32))
    np.save(directory / "als_V.npy", rng.standard_normal((n_items, n_factors), dtype=np.float32))
    n_seen = rng.integers(0, 12, n_users)
    n_seen[::37] = n_items - 4  # their lists are shorter than ten
    rows = [np.sort(rng.choice(n_items, n, replace=False)) for n in n_seen]
    indptr = np.concatenate([[0], np.cumsum(n_seen)]).astype(np.int64)
    np.savez(directory / "seen_items.npz", indptr=indptr, indices=np.concatenate(rows).astype(np.int32))
    np.save(directory / "item_popularity.npy", np.log1p(rng.integers(0, 9, n_items)).astype(np.float32))
    users, items = ([f"{kind}{i:05d}" for i in range(n)] for kind, n in (("u", n_users), ("i", n_items)))
    ids = [("user", i, one) for i, one in enumerate(users)] + [
        ("item", i, one) for i, one in enumerate(items)
    ]
    schema = {"kind": pl.String, "idx": pl.Int32, "id": pl.String}
    pl.DataFrame(ids, schema=schema, orient="row").write_parquet(directory / "mappings.parquet")
    pl.DataFrame(
        {
            "item_idx": range(n_items),
            "item_id": items,
            "title": [f"title {one}" for one in items],
            "num_sold_time": [1] * n_items,
        }
    ).write_parquet(directory / "items.parquet")
    (directory / "als_metadata.json").write_text(json.dumps({"score_range": SCORE_RANGE}))
    return directory


def parquet_of(store: LocalStore, prefix: str) -> dict[str, bytes]:
    """Return the objects of a set by name."""
    return {
        info.key.removeprefix(f"{prefix}/"): store.get(info.key).data for info in store.list(f"{prefix}/")
    }


def rows_of(store: LocalStore, prefix: str) -> pl.DataFrame:
    """Return all lists of a set, in the order of its files."""
    manifest = json.loads(store.get(f"{prefix}/manifest.json").data)
    return pl.concat(
        pl.read_parquet(io.BytesIO(store.get(f"{prefix}/{entry['name']}").data))
        for entry in manifest["files"]
    )
