"""What numba's cache saves a first night, and what machine code for x86-64-v3 costs: seconds, cold and warm.

python tests/benchmarks/bench_warm_up.py [REPETITIONS]

One process per figure, on the demo shop `spec`, one model at a time; JSON goes to build/bench/warm_up.json.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RECSYS = [sys.executable, "-c", "from recsys.cli.main import run; run()"]
SETTINGS = {
    "bpr": ("runtime.models=[bpr]", "bpr.preset=original", "bpr.epochs=20"),
    "als": ("runtime.models=[als]", "als.solver=native", "als.preset=default", "als.iterations=15"),
}


def recsys(place: Path, *arguments: str, **environment: str) -> tuple[str, float]:
    """Return what a command prints and the seconds of its process."""
    own = {
        "PYTHONPATH": str(ROOT),
        "RECSYS_LOG_DIR": str(place / "logs"),
        "RECSYS_STATE": str(place / "state"),
    }
    started = time.perf_counter()
    done = subprocess.run(
        [*RECSYS, *arguments],
        cwd=place,
        env={**os.environ, **own, **environment},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout, time.perf_counter() - started


def night(place: Path, model: str, cache: str, processor: str) -> dict[str, object]:
    """Return the figures of a forced night with one model."""
    settings = [part for one in SETTINGS[model] for part in ("--set", one)]
    chosen = {"NUMBA_CPU_NAME": processor} if processor else {}
    out, seconds = recsys(
        place, "run", "--force", "--json", *settings, NUMBA_CACHE_DIR=str(place / cache), **chosen
    )
    trained = json.loads(out)["models"][model]
    epochs = [one["seconds"] for one in trained["history"]]
    return {
        "model": model,
        "processor": processor or "this one",
        "first_epoch_seconds": epochs[0],
        "later_epoch_seconds": statistics.median(epochs[1:]),
        "training_seconds": trained["seconds"],
        "command_seconds": seconds,
        "factors": trained["factors_sha256"],
    }


def main(repetitions: int) -> None:
    """Measure everything and print one line for each night."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        recsys(place, "demo-data", "--size", "spec", "--output", "raw")
        recsys(place, "prepare", "raw/reviews.csv", "--items", "raw/products.csv")
        for _ in range(repetitions):
            for model in SETTINGS:
                for processor in ("", "x86-64-v3"):
                    cache = f"cache-{processor}"
                    shutil.rmtree(place / cache, ignore_errors=True)
                    for state in ("cold", "warm"):
                        rows.append({"cache": state, **night(place, model, cache, processor)})
                        print(
                            {name: value for name, value in rows[-1].items() if name != "factors"}, flush=True
                        )
    target = ROOT / "build" / "bench" / "warm_up.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
