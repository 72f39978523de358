"""Preparation and loading at 0.37, 5 and 50 million rows: writes build/bench/prepare.json and prints it as a table.

python tests/benchmarks/bench_prepare.py [--rows 370000 5000000 50000000] [--folder DIR]

Each size is prepared and loaded in a process of its own, so that its peak memory is its own. The reviews are made
here: 10 rows a user, skewed items, a comment on every second row, duplicates of pairs. 50 million rows need
8 GB of disk in --folder for a while.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

CHUNK_ROWS = 1_000_000
ROWS_PER_USER = 10
N_TEXTS = 10_000
STARS, STAR_SHARES = [1, 2, 3, 4, 5], [0.05, 0.05, 0.1, 0.2, 0.6]
FIRST_SECOND, SECONDS = 1_600_000_000, 94_000_000
WORDS = (  # noqa: SIM905
    "da dầu mụn dùng hai tuần thấy kiềm thấm nhanh không bết dính sẽ mua lại hàng đẹp giao shop tốt rất thơm "
    "mịn ok good great bad skin cream works well smell"
).split()


def write_reviews(path: Path, n_rows: int) -> None:
    """Write a shop's reviews as one Parquet file; memory for one chunk."""
    random = np.random.default_rng(0)
    texts = pl.Series([" ".join(random.choice(WORDS, size=random.integers(2, 25))) for _ in range(N_TEXTS)])
    with tempfile.TemporaryDirectory(dir=path.parent) as directory:
        for number, start in enumerate(range(0, n_rows, CHUNK_ROWS)):
            chunk = _chunk(random, texts, min(CHUNK_ROWS, n_rows - start), n_rows)
            chunk.write_parquet(Path(directory) / f"{number:04d}.parquet")
        pl.scan_parquet(f"{directory}/*.parquet").sink_parquet(path, row_group_size=CHUNK_ROWS)


def _chunk(random: np.random.Generator, texts: pl.Series, n: int, n_rows: int) -> pl.DataFrame:
    n_users, n_items = n_rows // ROWS_PER_USER, max(2_000, int(7 * n_rows**0.5))
    user = (n_users * random.random(n) ** 1.5).astype(np.int64)
    seconds = FIRST_SECOND + random.integers(0, SECONDS, n)
    return pl.DataFrame(
        {
            # Scattered, so that neighbours in time are no neighbours by id.
            "user": user * 2_654_435_761 % 10_000_000_000,
            "item": (n_items * random.random(n) ** 3).astype(np.int64),
            "rating": random.choice(STARS, size=n, p=STAR_SHARES).astype(np.float32),
            "timestamp": (seconds * 1_000_000).astype(np.int64),
            "text": texts.gather(random.integers(0, N_TEXTS, n)),
            "commented": random.random(n) < 0.5,
        }
    ).select(
        pl.format("U{}", pl.col("user").cast(pl.String).str.zfill(10)).alias("user_id"),
        pl.format("sp-{}", pl.col("item").cast(pl.String).str.zfill(7)).alias("item_id"),
        "rating",
        pl.col("timestamp").cast(pl.Datetime("us", "UTC")),
        pl.when("commented").then("text").alias("comment"),
    )


def run_once(step: str, raw: str, store: str) -> None:
    """Do one step in this process and print seconds and peak memory as JSON."""
    from recsys.cf.data.load import load_processed_data
    from recsys.cf.data.prepare import prepare
    from recsys.config.schema import DataConfig
    from recsys.storage.open import open_store

    began = time.perf_counter()
    if step == "prepare":
        prepared = prepare(open_store(store), raw, None, DataConfig(), seed=0)
        sizes = {"users": prepared.users, "items": prepared.items, "train": prepared.train}
    else:
        sizes = {"train": int(load_processed_data(open_store(store)).X_train_confidence.nnz)}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": time.perf_counter() - began, "peak_bytes": peak, **sizes}))


def measure(n_rows: int, folder: Path) -> list[dict]:
    rows = []
    with tempfile.TemporaryDirectory(dir=folder, prefix="bench-prepare-") as directory:
        raw, store = Path(directory) / "reviews.parquet", Path(directory) / "store"
        write_reviews(raw, n_rows)
        for step in ("prepare", "load"):
            done = subprocess.run(
                [sys.executable, __file__, "--step", step, str(raw), str(store)],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "TMPDIR": directory},
            )
            found = json.loads(done.stdout)
            rows.append(
                {
                    "work": step,
                    "size": f"{n_rows:,} rows, {found['train']:,} in train",
                    "threads": len(os.sched_getaffinity(0)),
                    "unit": "rows/s",
                    "ours": round(n_rows / found["seconds"]),
                    "seconds": round(found["seconds"], 1),
                    "peak_gib": round(found["peak_bytes"] / 2**30, 2),
                    "peers": {},
                    "ratio": {},
                }
            )
            print(
                f"{step:<8} {rows[-1]['size']:<45} {rows[-1]['seconds']:>7} s "
                f"{rows[-1]['ours']:>9,} rows/s  peak {rows[-1]['peak_gib']:.2f} GiB",
                flush=True,
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[370_000, 5_000_000, 50_000_000])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--output", type=Path, default=Path("build/bench/prepare.json"))
    parser.add_argument("--step", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        run_once(*options.step)
        return
    rows = [row for n_rows in options.rows for row in measure(n_rows, options.folder)]
    document = {"machine": platform.platform(), "command": " ".join(sys.argv), "rows": rows}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
