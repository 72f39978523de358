"""Quality of BPR on real data: ours in its modes, `implicit`, cornac: `make bench-bpr-quality`.

Everybody gets the same trials (learning rate x regularization, best check on a validation split carved out of
train), then five seeds on the test split of the set's published protocol. Prints means with 95 % t-intervals
over seeds, seconds to 99 % of the own best validation metric, and writes build/bench/bpr-quality.json. The row
auto is what a first night does: the trials of the nightly search (their number is printed), which also choose the mode.
``--seconds`` fits the chosen settings once more, for their time alone (on a machine with nothing else to do).
"""

import argparse
import itertools
import json
import os
import platform
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from bpr_peers import TRAINERS, pools_of
from public_splits import DATA, load
from scipy import stats

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "build" / "bench"
COMMAND = "python tests/benchmarks/bench_bpr_quality.py"
SEEDS, CHECKS, THREADS = 5, 8, 2
GRID = [
    {"learning_rate": rate, "regularization": regularization}
    for rate, regularization in itertools.product((0.02, 0.05, 0.15), (0.003, 0.01, 0.03))
]
EPOCHS = {"ml-1m-ncf": 48, "gowalla-lightgcn": 96, "hasaki": 240, "amazon_magazine": 240}
METHODS = {
    "train-cf uniform": ("train-cf", {"negative_sampling": "uniform"}),
    "train-cf adaptive": ("train-cf", {"negative_sampling": "adaptive"}),
    "train-cf hard_mixed (original)": ("train-cf", {"negative_sampling": "hard_mixed"}),
    "train-cf hard_mixed, explicit only": (
        "train-cf",
        {"negative_sampling": "hard_mixed", "explicit_only": True},
    ),
    "train-cf uniform, item bias": ("train-cf", {"negative_sampling": "uniform", "item_bias": True}),
    "train-cf auto": ("train-cf", {"samples_per_epoch": 5, "learning_rate_schedule": "step"}),
    "implicit": ("implicit", {}),
    "cornac": ("cornac", {}),
}
AUTO_TRIAL_EPOCHS, AUTO_EPOCHS = (
    100,
    250,
)  # passes over the positives: the product's 20 and 50 of five samples


def trainer_of(method, split):
    """Return a function (epochs, seed, validate, settings) for one row of the table."""
    name, fixed = METHODS[method]
    more = {key: value for key, value in fixed.items() if key != "explicit_only"}
    if name == "train-cf":
        pools = split.pools or pools_of(split.train)
        more["pools"] = _without_implicit(pools) if fixed.get("explicit_only") else pools

    def train(epochs, seed, validate, settings):
        return TRAINERS[name](
            split.train,
            epochs=epochs,
            threads=THREADS,
            seed=seed,
            validate=validate,
            checks=CHECKS,
            **settings,
            **more,
        )

    return train


def _without_implicit(pools):
    from dataclasses import replace

    from recsys.cf.data.dataset import UserItemSets

    nothing = UserItemSets(np.zeros(pools.n_users + 1, np.int64), np.zeros(0, np.int32))
    return replace(pools, implicit=nothing)


def trials_of(name, split, method):
    """Return [(best validation metric, settings, index of its check, seconds, metrics)], one per trial."""
    train, tried = trainer_of(method, split), []

    def one(epochs, settings):
        try:
            seconds, metrics, _, _ = train(epochs, 0, split.validate, settings)
        except Exception as error:  # noqa: BLE001 - a peer that diverges loses the trial, whatever it raises
            print(f"{name} {method} {settings}: {type(error).__name__}", file=sys.stderr)
            return 0.0
        best = int(np.nanargmax(metrics))
        tried.append((metrics[best], settings, best, seconds, metrics))
        return metrics[best]

    if method != "train-cf auto":
        for settings in GRID:
            one(EPOCHS[name], settings)
        return tried
    chosen, n_trials = search(lambda settings: one(AUTO_TRIAL_EPOCHS, settings))
    tried.clear()
    one(AUTO_EPOCHS, chosen)
    return tried + [(-1.0, None, 0, [], [])] * (n_trials - 1)  # for their number


def epochs_of(name, method):
    """Return the passes over the positives of a whole fit."""
    return AUTO_EPOCHS if method == "train-cf auto" else EPOCHS[name]


def search(score):
    """Return (settings chosen, number of trials) of the nightly search on ``score``."""
    from types import SimpleNamespace

    from recsys.cf.tuning.auto import BPR_SPACE, choose_settings

    def fit(settings):
        return SimpleNamespace(history=[{"epoch": 1, "ndcg@10": score(dict(settings))}])

    choice = choose_settings(BPR_SPACE, frozenset(BPR_SPACE.ladders), None, 10**6, fit)
    return dict(choice.settings), len(choice.trials)


def run(name, split, method):
    """Return the row of one method on one set: tuned settings, test metrics over seeds, seconds to 99 %."""
    train, epochs = trainer_of(method, split), epochs_of(name, method)
    tried = trials_of(name, split, method)
    top, settings, best, seconds, metrics = max(tried, key=lambda one: one[0])
    best_epochs = max(1, (best + 1) * (epochs // CHECKS))
    found = [split.measure(train(best_epochs, seed, None, settings)[2]) for seed in range(1, SEEDS + 1)]
    row = {"set": name, "method": method, "settings": settings, "epochs": best_epochs, "validation": top}
    row |= {"seconds_to_99": seconds_to_99(seconds, metrics), "trials": len(tried)}
    for metric in split.metrics:
        values = [one[metric] for one in found]
        half = stats.t.ppf(0.975, SEEDS - 1) * statistics.stdev(values) / SEEDS**0.5
        row[metric] = {"mean": statistics.mean(values), "half_width": half}
    return row


def seconds_to_99(seconds, metrics):
    """Return the seconds of training up to the first check within 1 % of the best."""
    return next(t for t, m in zip(seconds, metrics, strict=True) if m >= 0.99 * max(metrics))


def time_again(rows, sets):
    """Replace the seconds of the rows by those of one more fit each with their settings."""
    for name in sets:
        split = load(name)
        for row in rows:
            if row["set"] == name:
                train = trainer_of(row["method"], split)
                seconds, metrics, _, _ = train(
                    epochs_of(name, row["method"]), 0, split.validate, row["settings"]
                )
                row["seconds_to_99"] = seconds_to_99(seconds, metrics)


def print_table(name, rows):
    """Print the rows of one set as a Markdown table."""
    metrics = [key for key in rows[0] if "@" in key]
    print(f"\n| {name} | " + " | ".join(metrics) + " | settings | trials | s to 99 % of own best |")
    print("|---|" + "---|" * (len(metrics) + 3))
    for row in rows:
        cells = [f"{row[m]['mean']:.4f} ± {row[m]['half_width']:.4f}" for m in metrics]
        mode = row["settings"].get("negative_sampling")
        chosen = (f"{mode}, " if mode else "") + f"lr {row['settings']['learning_rate']}, "
        chosen += f"reg {row['settings']['regularization']}, {row['epochs']} epochs"
        cells += [chosen, str(row["trials"]), f"{row['seconds_to_99']:.2f}"]
        print(f"| {row['method']} | " + " | ".join(cells) + " |", flush=True)


def main():
    """Measure the sets that are there, keep the rows of the others, write the JSON, print a table for each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sets", nargs="*", default=list(EPOCHS))
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    parser.add_argument("--seconds", action="store_true", help="only time the settings chosen before again")
    arguments = parser.parse_args()
    path = OUT / "bpr-quality.json"
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    sets = [name for name in arguments.sets if (DATA / name).is_dir()]
    print("absent, skipped:", sorted(set(arguments.sets) - set(sets)), file=sys.stderr)
    if arguments.seconds:
        time_again(rows, sets)
        write(path, rows)
    for name in [] if arguments.seconds else sets:
        split = load(name)
        for method in arguments.methods:
            started = time.perf_counter()
            row = run(name, split, method)
            rows = [old for old in rows if (old["set"], old["method"]) != (name, method)] + [row]
            write(path, rows)
            print(f"{name} {method}: {time.perf_counter() - started:.0f} s in all", file=sys.stderr)
    order = list(METHODS)
    for name in sets:
        mine = [row for row in rows if row["set"] == name]
        print_table(name, sorted(mine, key=lambda row: order.index(row["method"])))


def write(path, rows):
    """Write the JSON of all rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    document = {"machine": machine, "command": COMMAND, "trials": len(GRID), "seeds": SEEDS, "rows": rows}
    path.write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
