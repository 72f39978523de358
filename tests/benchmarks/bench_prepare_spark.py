"""Preparation by Spark on this machine beside preparation by polars: seconds, memory, and whether the bytes agree.

python tests/benchmarks/bench_prepare_spark.py [--sets hasaki demo 5000000] [--folder DIR]

hasaki and amazon_magazine are the real sets beside the project, demo the demo shop at its full size (369,099 rows
of CSV), a number that many rows as bench_prepare.py makes them. Every run is a process of its own; Spark's seconds
hold those of starting Java, which are told apart, and Spark's memory is that of Python and of its largest child, Java.
Writes build/bench/prepare_spark.json.
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

from bench_prepare import write_reviews

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
MASTER = "local[2]"


def run_once(engine_name: str, raw: str, items: str, store: str) -> None:
    """Prepare in this process and print seconds, peak memory and the version's hashes as JSON."""
    from recsys.cf.data.engine import prepare_engine
    from recsys.cf.data.prepare import prepare
    from recsys.config.schema import DataConfig, SparkConfig
    from recsys.engines.spark_session import spark_session
    from recsys.storage.open import open_store

    spark, marks = SparkConfig(master=MASTER, driver_memory="3g"), {}
    began = time.perf_counter()
    if engine_name == "spark":
        with spark_session(spark, "benchmark"):
            start_seconds = time.perf_counter() - began
            result = _prepared(
                prepare, open_store(store), raw, items, DataConfig(), prepare_engine("spark", spark), marks
            )
            seconds = time.perf_counter() - began
    else:
        start_seconds = 0.0
        result = _prepared(prepare, open_store(store), raw, items, DataConfig(), None, marks)
        seconds = time.perf_counter() - began
    manifest = json.loads(open_store(store).get(f"data/versions/{result.version}/manifest.json").data)
    peaks = [
        resource.getrusage(who).ru_maxrss * 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    ]
    document = {
        "seconds": seconds,
        "start_seconds": start_seconds,
        "marks": {step: at - began for step, at in marks.items()},
        "peak_bytes": sum(peaks) if engine_name == "spark" else peaks[0],
        "rows_in": result.rows_in,
        "train": result.train,
        "hashes": {name: entry["sha256"] for name, entry in manifest["files"].items()},
    }
    print(json.dumps(document))


def _prepared(prepare, store, raw, items, config, engine, marks):
    def note(step: str, _rows: int) -> None:
        marks[step] = time.perf_counter()

    return prepare(store, raw, items or None, config, seed=0, engine=engine, on_step=note)


def sources(name: str, folder: Path) -> tuple[str, str]:
    """Return the paths of reviews and products ("": none) of a set, made where they are not there."""
    if name == "demo":
        from recsys.cf.data.demo import write_demo_shop

        shop = write_demo_shop(folder / "demo", size="real", seed=42)
        return str(shop.reviews), str(shop.products)
    if name.isdigit():
        write_reviews(folder / "reviews.parquet", int(name))
        return str(folder / "reviews.parquet"), ""
    return str(SHARED / name / "interactions.parquet"), str(SHARED / name / "items.parquet")


def measure(name: str, folder: Path) -> dict:
    """Return a row of the table: both engines on one set."""
    found = {}
    with tempfile.TemporaryDirectory(dir=folder, prefix="bench-prepare-spark-") as directory:
        raw, items = sources(name, Path(directory))
        for engine in ("local", "spark"):
            done = subprocess.run(
                [sys.executable, __file__, "--once", engine, raw, items, f"{directory}/{engine}"],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "TMPDIR": directory},
            )
            found[engine] = json.loads(done.stdout.splitlines()[-1])
    local, spark = found["local"], found["spark"]
    same = local.pop("hashes") == spark.pop("hashes")
    print(f"{name:<16} {local['rows_in']:>11,} rows  same bytes: {same}")
    for engine, run in found.items():
        times = f"{run['seconds']:6.1f} s (start {run['start_seconds']:.1f})"
        print(f"    {engine:<6} {times} {run['peak_bytes'] / 2**30:5.2f} GiB")
    sys.stdout.flush()
    return {"set": name, "same_bytes": same, "local": local, "spark": spark}


def main() -> None:
    """Measure the sets and write the document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="+", default=["hasaki", "amazon_magazine", "demo", "5000000"])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--output", type=Path, default=Path("build/bench/prepare_spark.json"))
    parser.add_argument("--once", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        run_once(*options.once)
        return
    rows = [measure(name, options.folder) for name in options.sets]
    document = {"machine": platform.platform(), "command": " ".join(sys.argv), "master": MASTER, "rows": rows}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(document, indent=2) + "\n")
    if not all(row["same_bytes"] for row in rows):
        sys.exit("the engines made different bytes")


if __name__ == "__main__":
    main()
