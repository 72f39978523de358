"""Prepare and the whole night on each real data set and on the demo shop: `python tests/benchmarks/bench_real_data.py`.

Every set gets a fresh store and processes of its own; prints the table of the README and writes
build/bench/real-data.json.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SETS = {
    "demo shop (real)": None,
    "hasaki": ROOT.parent / "shared" / "data" / "hasaki",
    "amazon_magazine": ROOT.parent / "shared" / "data" / "amazon_magazine",
}
COMMAND = "python tests/benchmarks/bench_real_data.py"


def run(directory, *arguments):
    """Return the JSON document of a command, run in its own process in ``directory``."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        [sys.executable, *map(str, arguments), "--json"],
        capture_output=True,
        text=True,
        cwd=directory,
        env=environment,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{arguments} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def measure(name, folder):
    """Return (prepare document, result document) of one set."""
    recsys = ("-c", "from recsys.cli.main import run; run()")
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        if folder is None:
            run(directory, *recsys, "demo-data", "--size", "real", "--output", "raw")
            files = (directory / "raw" / "reviews.csv", directory / "raw" / "products.csv")
            mapping = ()
        else:
            files = (folder / "interactions.parquet", folder / "items.parquet")
            mapping = (
                "--column",
                "user_id=user_id",
                "--column",
                "timestamp=timestamp",
                "--item-column",
                "title=title",
            )
        prepared = run(
            directory, *recsys, "prepare", files[0], "--items", files[1], "--store", "store", *mapping
        )
        config = ROOT / "deployments" / "training_config.yaml"
        result = run(directory, "-m", "flows.train_cf", "--store", "store", "--config", config)
    print(f"{name}: done", file=sys.stderr)
    return prepared, result


def row(name, prepared, result):
    """Return the table row of one set."""
    cells = [name, f"{prepared['rows_in']:,}", f"{prepared['users']:,} × {prepared['items']:,}"]
    cells += [f"{prepared['train']:,}", f"{prepared['test_users']:,}"]
    baseline = result["baselines"]["popularity"]
    cells.append(f"{baseline['recall@10']:.4f}")
    for model in ("als", "bpr"):
        facts = result["models"][model]
        low, high = facts["improvement_ci"]["recall@10"]
        cells.append(
            f"{facts['metrics']['recall@10']:.4f} / {facts['metrics']['ndcg@10']:.4f} "
            f"({facts['improvement']['recall@10']:+.0%} [{low:+.0%}, {high:+.0%}])"
        )
    champion = result["decision"]["champion"] or "none"
    cells.append(champion.split("_")[0].upper())
    times = [f"{result['models'][model]['seconds']:.0f}" for model in ("als", "bpr")]
    cells += [f"{prepared['seconds']:.1f}", " / ".join(times), f"{result['peak_memory_bytes'] / 1e6:.0f}"]
    return "| " + " | ".join(cells) + " |"


def main():
    """Measure what is there and print the table."""
    head = [
        *("set", "raw rows", "users × items", "train rows", "test users", "popularity Recall@10"),
        *(f"{model} Recall@10 / NDCG@10 (gain [95 %])" for model in ("ALS", "BPR")),
        *("champion", "prepare s", "ALS / BPR s, side by side, with trials", "peak MB"),
    ]
    lines, documents = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)], []
    for name, folder in SETS.items():
        if folder is not None and not folder.is_dir():
            print(f"{name}: {folder} is absent, skipped", file=sys.stderr)
            continue
        prepared, result = measure(name, folder)
        lines.append(row(name, prepared, result))
        documents.append({"set": name, "prepare": prepared, "result": result})
    target = ROOT / "build" / "bench" / "real-data.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    target.write_text(json.dumps({"machine": machine, "command": COMMAND, "rows": documents}, indent=1))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
