"""Speed of BPR: ours, `implicit` and cornac, sampling included: `make bench-bpr`.

Every measurement is a process of its own (peak memory), interleaved, medians of five. Everybody trains the same
number of triplets, a multiple of the positives of the train split. Sizes are demo shops; writes build/bench/bpr.json.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import sys
import tempfile
from pathlib import Path

from own_process import ROOT, measure_in_own_process

OUT = ROOT / "build" / "bench"
SIZES = {
    "real": {"size": "real"},
    "spec": {"size": "spec"},
    "10 x spec": {"size": "spec", "users": 260_000, "items": 22_440, "interactions": 3_690_000},
}
WORK = {"uniform": ["train-cf", "implicit", "cornac"], "hard_mixed": ["train-cf"], "adaptive": ["train-cf"]}
EPOCHS = {"real": 100, "spec": 25, "10 x spec": 5}
REPEATS = 5
COMMAND = "python tests/benchmarks/bench_bpr.py"


def train_matrix(size):
    """Return the train positives of a demo shop of that size, made once."""
    from scipy.sparse import load_npz, save_npz

    from recsys.cf.data.demo import write_demo_shop
    from recsys.cf.data.load import load_processed_data
    from recsys.cf.data.prepare import prepare
    from recsys.config.schema import DataConfig
    from recsys.storage.local import LocalStore

    kept = OUT / "data" / f"train-{size.replace(' ', '')}.npz"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as temporary:
            place = Path(temporary)
            write_demo_shop(place / "raw", seed=42, **SIZES[size])
            store = LocalStore(place / "store")
            prepare(store, place / "raw" / "reviews.csv", None, DataConfig(), seed=42)
            save_npz(kept, load_processed_data(store).X_train_binary)
    return load_npz(kept)


def work(size, mode, trainer, threads):
    """Measure one cell in this process and print it as JSON."""
    from bpr_peers import TRAINERS, pools_of

    train = train_matrix(size)
    # the default: each positive five times an epoch, so a fifth of the epochs
    more = (
        {"samples_per_epoch": 5, "negative_sampling": mode, "pools": pools_of(train)}
        if trainer == "train-cf"
        else {}
    )
    TRAINERS[trainer](train, epochs=5, threads=threads, seed=0, **more)  # compiles, warms caches
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds, _, _, triplets = TRAINERS[trainer](train, epochs=EPOCHS[size], threads=threads, seed=1, **more)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rate = triplets / seconds[-1]
    print(json.dumps({"rate": rate, "peak_mb": peak / 1024, "before_mb": before / 1024}))


def measure(size, mode, trainer, threads):
    """Return the JSON of one measurement in a fresh process."""
    return measure_in_own_process(__file__, size, mode, trainer, threads, OPENBLAS_NUM_THREADS="1")


def main():
    """Measure everything, write the JSON, print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", nargs=4)
    parser.add_argument("--sizes", nargs="*", default=list(SIZES))
    parser.add_argument("--repeats", type=int, default=REPEATS)
    arguments = parser.parse_args()
    if arguments.work:
        size, mode, trainer, threads = arguments.work
        work(size, mode, trainer, int(threads))
        return
    cells = [
        (size, mode, trainer, threads)
        for size in arguments.sizes
        for threads in (1, 2)
        for mode, trainers in WORK.items()
        for trainer in trainers
    ]
    results = {cell: [] for cell in cells}
    for repeat in range(arguments.repeats):
        for cell in cells:
            results[cell].append(measure(*cell))
        print(f"round {repeat + 1} of {arguments.repeats} done", file=sys.stderr)
    write(cells, results, arguments.repeats)


def write(cells, results, repeats):
    """Write build/bench/bpr.json and print a Markdown table of medians and ratios."""
    rows = []
    print(
        "| size | negatives | threads | train-cf M/s | implicit M/s (ratio) | cornac M/s (ratio) "
        "| peak MB ours / implicit / cornac |"
    )
    print("|---|---|---|---|---|---|---|")
    for size, mode, trainer, threads in cells:
        if trainer != "train-cf":
            continue
        medians = {
            name: {
                key: statistics.median(one[key] for one in results[size, of, name, threads])
                for key in ("rate", "peak_mb")
            }
            for name, of in (("train-cf", mode), ("implicit", "uniform"), ("cornac", "uniform"))
        }
        rate = {name: one["rate"] / 1e6 for name, one in medians.items()}
        ratio = {name: rate["train-cf"] / rate[name] for name in ("implicit", "cornac")}
        rows.append(
            {
                "work": f"BPR {mode}",
                "size": size,
                "threads": threads,
                "unit": "million triplets per second, sampling included",
                "ours": rate["train-cf"],
                "peers": {name: rate[name] for name in ratio},
                "ratio": ratio,
                "peak_mb": {name: one["peak_mb"] for name, one in medians.items()},
            }
        )
        peaks = " / ".join(f"{one['peak_mb']:.0f}" for one in medians.values())
        print(
            f"| {size} | {mode} | {threads} | {rate['train-cf']:.1f} | {rate['implicit']:.1f} "
            f"({ratio['implicit']:.1f}×) | {rate['cornac']:.1f} ({ratio['cornac']:.1f}×) | {peaks} |"
        )
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    document = {"machine": machine, "command": COMMAND, "repeats": repeats, "rows": rows}
    (OUT / "bpr.json").write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
