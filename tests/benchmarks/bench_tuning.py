"""How long the original's grids take, and what tuning gains: `python tests/benchmarks/bench_tuning.py`.

Grids: both 54-setting grids on the demo shop at `real` size, each in a process of its own, end to end (search,
comparison, retrain, test, report). Gains: the spaces als and bpr on each real data set against two current
configurations, `auto` (the product's default, a short search of its own) and the fixed values of the schema.
Prints the tables of the README and writes build/bench/tuning.json.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"
COMMAND = "python tests/benchmarks/bench_tuning.py"
GRIDS = ("als-original", "bpr-original")
CURRENT = {
    "auto": (),
    "schema": ("als.preset=default", "bpr.preset=original"),
}


def run(folder, *arguments):
    """Return (JSON document, wall seconds) of a recsys command in its own process."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    environment |= {"PYTHONPATH": str(ROOT), "RECSYS_STATE": str(folder / "state")}
    command = [sys.executable, "-c", "from recsys.cli.main import run; run()", *map(str, arguments), "--json"]
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)
    if done.returncode:
        sys.exit(f"{arguments} failed:\n{done.stderr}")
    return json.loads(done.stdout), time.perf_counter() - began


def tune(folder, space, settings=()):
    """Return (result of the study, wall seconds)."""
    words = [word for one in settings for word in ("--set", one)]
    document, seconds = run(folder, "tune", "--space", space, "--store", "store", *words)
    return document["studies"][0], seconds


def prepare(folder, name):
    """Put a data version of a set, or of the demo shop, into folder/store."""
    if name == "demo":
        run(folder, "demo-data", "--size", "real", "--output", "raw")
        files, columns = (folder / "raw" / "reviews.csv", folder / "raw" / "products.csv"), ()
    else:
        files = (DATA / name / "interactions.parquet", DATA / name / "items.parquet")
        columns = (
            "--column",
            "user_id=user_id",
            "--column",
            "timestamp=timestamp",
            "--item-column",
            "title=title",
        )
    return run(folder, "prepare", files[0], "--items", files[1], "--store", "store", *columns)[0]


def grids():
    """Return a row per grid."""
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        prepared = prepare(folder, "demo")
        for space in GRIDS:
            result, seconds = tune(folder, space)
            fits = sum(one["seconds"] for one in result["trials"])
            rows.append({"space": space, "trials": result["n_trials"], "seconds": seconds, "fits": fits})
            print(
                f"| {space} | {result['n_trials']} | {prepared['users']:,} × {prepared['items']:,} | {seconds:.0f} | "
                f"{fits:.0f} | {max(one['seconds'] for one in result['trials']):.1f} |"
            )
    return rows


def gains(names):
    """Return a row per set, model and current configuration."""
    rows = []
    for name in names:
        if not (DATA / name).is_dir():
            print(f"{name}: {DATA / name} is absent, skipped", file=sys.stderr)
            continue
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            prepare(folder, name)
            for model in ("als", "bpr"):
                for current, settings in CURRENT.items():
                    result, seconds = tune(folder, model, settings)
                    rows.append({"set": name, "model": model, "current": current, "seconds": seconds})
                    rows[-1] |= {key: result[key] for key in ("winner", "comparison", "final", "n_trials")}
                    print(gain_row(rows[-1]))
    return rows


def gain_row(row):
    """Return the table row of one study."""

    def told(metric, where):
        test = row["final"]["metrics"]
        found = (
            row["comparison"][metric] if where == "validation" else row["final"]["versus"]["current"][metric]
        )
        ours = row["winner"]["metrics"][metric] if where == "validation" else test["winner"][metric]
        theirs = ours - found["difference"]
        return f"{ours:.4f} / {theirs:.4f}, {found['difference']:+.4f} [{found['low']:+.4f}, {found['high']:+.4f}]"

    cells = [row["set"], row["model"].upper(), row["current"], str(row["n_trials"]), f"{row['seconds']:.0f}"]
    cells += [told("ndcg@10", "validation"), told("ndcg@10", "test"), told("recall@10", "test")]
    return "| " + " | ".join(cells) + " |"


def main():
    """Measure what was asked for and print the tables."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--part", choices=("grids", "gains", "all"), default="all")
    options.add_argument("--sets", nargs="*", default=["hasaki", "amazon_magazine"])
    given = options.parse_args()
    document = {"command": COMMAND, "machine": f"{platform.machine()}, {os.cpu_count()} cores"}
    if given.part in ("grids", "all"):
        print("| grid | trials | users × items | wall s | s of fits | longest trial s |\n|" + "---|" * 6)
        document["grids"] = grids()
    if given.part in ("gains", "all"):
        head = [
            "set",
            "model",
            "current",
            "trials",
            "wall s",
            "validation NDCG@10, tuned / current, difference",
        ]
        head += ["test NDCG@10", "test Recall@10"]
        print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
        document["gains"] = gains(given.sets)
    target = ROOT / "build" / "bench" / f"tuning-{given.part}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
