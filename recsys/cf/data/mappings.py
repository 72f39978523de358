"""The file of ids: which user_idx and item_idx stands for which of the shop's ids."""

from pathlib import Path

import numpy as np
import polars as pl

from recsys.cf.data.dataset import IdMappings, Ids, id_column

MAPPINGS_FILE = "mappings.parquet"


def write_mappings(path: Path, mappings: IdMappings) -> None:
    """Write the mappings as rows (kind "user" or "item", idx int32, id string)."""
    frames = [
        pl.DataFrame({"idx": np.arange(len(ids), dtype=np.int32), "id": id_column(ids)})
        .with_columns(kind=pl.lit(kind))
        .select("kind", "idx", "id")
        for kind, ids in (("user", mappings.user_ids), ("item", mappings.item_ids))
    ]
    pl.concat(frames).write_parquet(path)


def read_mappings(path: Path) -> IdMappings:
    """Return the mappings that ``write_mappings`` wrote."""
    frame = pl.read_parquet(path).sort("kind", "idx")
    users, items = (Ids(frame.filter(pl.col("kind") == kind)["id"]) for kind in ("user", "item"))
    return IdMappings(users, items)
