"""Raw reviews of the three sizes, made out of core: memory for one chunk, a few seconds per million rows."""

import os
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
from bench_prepare import FIRST_SECOND, N_TEXTS, SECONDS, STAR_SHARES, STARS, WORDS

CHUNK_ROWS = 1_000_000
N_TASTES = 16
# users, items, raw rows; pairs that come twice are dropped by preparation
SIZES = {
    "real": (2_100, 500, 30_000),
    "spec": (26_000, 2_244, 370_000),
    "10x": (260_000, 22_440, 3_700_000),
    "100x": (2_600_000, 224_400, 37_000_000),
}


def write_reviews(path: Path, size: str) -> None:
    """Write the reviews of one size as one Parquet file, in no order; comments on every second row."""
    n_rows = SIZES[size][2]
    random = np.random.default_rng(0)
    texts = pl.Series([" ".join(random.choice(WORDS, size=random.integers(2, 25))) for _ in range(N_TEXTS)])
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as directory:
        for number, start in enumerate(range(0, n_rows, CHUNK_ROWS)):
            chunk = _chunk(random, texts, min(CHUNK_ROWS, n_rows - start), size)
            chunk.write_parquet(Path(directory) / f"{number:04d}.parquet")
        whole = path.with_suffix(f".{os.getpid()}")
        pl.scan_parquet(f"{directory}/*.parquet").sink_parquet(whole, row_group_size=CHUNK_ROWS)
        whole.replace(path)


def _chunk(random: np.random.Generator, texts: pl.Series, n: int, size: str) -> pl.DataFrame:
    n_users, n_items, _ = SIZES[size]
    user = (n_users * random.random(n) ** 1.5).astype(np.int64)
    popular = (n_items * random.random(n) ** 3).astype(np.int64)
    # two thirds of what a user takes is of the user's taste: something to learn
    of_taste = np.minimum(popular - popular % N_TASTES + user % N_TASTES, n_items - 1)
    item = np.where(random.random(n) < 2 / 3, of_taste, popular)
    seconds = FIRST_SECOND + random.integers(0, SECONDS, n)
    return pl.DataFrame(
        {
            # scattered, so that neighbours by activity are no neighbours by id
            "user": user * 2_654_435_761 % 10_000_000_000,
            "item": item * 40_503 % 10_000_019,
            "rating": random.choice(STARS, size=n, p=STAR_SHARES).astype(np.float32),
            "timestamp": (seconds * 1_000_000).astype(np.int64),
            "text": texts.gather(random.integers(0, N_TEXTS, n)),
            "commented": random.random(n) < 0.5,
        }
    ).select(
        pl.format("U{}", pl.col("user").cast(pl.String).str.zfill(10)).alias("user_id"),
        pl.format("sp-{}", pl.col("item").cast(pl.String).str.zfill(8)).alias("item_id"),
        "rating",
        pl.col("timestamp").cast(pl.Datetime("us", "UTC")),
        pl.when("commented").then("text").alias("comment"),
    )
