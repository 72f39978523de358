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
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
from bpr_peers import TRAINERS, item_sets, pools_of
from scipy import stats
from scipy.sparse import csr_matrix

from recsys.cf.evaluation.evaluate import evaluate
from recsys.cf.scoring.blocks import FactorScorer

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"
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


class Split:
    """Train and validation rows, and a function from factors to {metric: per-user mean} on the test rows."""

    def __init__(self, train, validation, test, metrics, pools=None):
        self.train, self.validation, self.test, self.metrics, self.pools = (
            train,
            validation,
            test,
            metrics,
            pools,
        )

    def validate(self, factors):
        """Return NDCG on the validation rows (at most 3,000 users of them)."""
        k = int(self.metrics[-1].split("@")[1])
        found = _measure(factors, self.validation, self.train, k)
        return found[f"ndcg@{k}"]

    def measure(self, factors):
        """Return the test metrics."""
        k = int(self.metrics[-1].split("@")[1])
        found = _measure(factors, self.test, self.train, k)
        return {name: found[name] for name in self.metrics}


class NegativesSplit(Split):
    """Leave-one-out against 99 published negatives, as the NCF papers do."""

    def __init__(self, train, validation, positives, negatives):
        super().__init__(train, validation, None, ("hit_rate@10", "ndcg@10"))
        self.candidates = np.hstack([positives[:, None], negatives])

    def measure(self, factors):
        """Return HR@10 and NDCG@10 of the positive among its 99 negatives; ties count against it."""
        V = factors.item_factors[self.candidates]
        scores = np.einsum("uf,ucf->uc", factors.user_factors, V)
        rank = (scores[:, 1:] >= scores[:, :1]).sum(axis=1)
        hit = rank < 10
        return {
            "hit_rate@10": float(hit.mean()),
            "ndcg@10": float(np.where(hit, 1 / np.log2(rank + 2), 0).mean()),
        }


def _measure(factors, held_out, train, k):
    found = evaluate(
        {"m": FactorScorer(factors)}, held_out, item_sets(train), k_values=(k,), block_users=512, lists=False
    )
    return found["m"].metrics


def matrix_of(frame, shape=None):
    """Return a binary CSR of (user_id, item_id) rows whose ids are numbers."""
    users, items = (frame[name].cast(pl.Int64).to_numpy() for name in ("user_id", "item_id"))
    shape = shape or (users.max() + 1, items.max() + 1)
    matrix = csr_matrix((np.ones(len(users), np.float32), (users, items)), shape=shape)
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix


def carve(matrix, share, seed=0, max_users=3000):
    """Return (train without, validation with) a random share of each row, at least one entry left and taken."""
    random = np.random.default_rng(seed)
    keep = np.ones(matrix.nnz, dtype=bool)
    rows = np.flatnonzero(np.diff(matrix.indptr) >= 3)
    for user in random.choice(rows, size=min(max_users, len(rows)), replace=False):
        start, end = matrix.indptr[user], matrix.indptr[user + 1]
        n = max(1, round(share * (end - start)))
        keep[random.choice(np.arange(start, end), size=n, replace=False)] = False
    users = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    parts = [
        csr_matrix((np.ones(m.sum(), np.float32), (users[m], matrix.indices[m])), shape=matrix.shape)
        for m in (keep, ~keep)
    ]
    for part in parts:
        part.sort_indices()
    return parts[0], item_sets(parts[1])


def load(name):
    """Return the split of one data set."""
    folder = DATA / name
    if name in ("hasaki", "amazon_magazine"):
        return load_reviews(folder)
    both = pl.concat(
        [pl.read_parquet(folder / f).select("user_id", "item_id") for f in ("train.parquet", "test.parquet")]
    )
    shape = matrix_of(both).shape
    train, validation = carve(matrix_of(pl.read_parquet(folder / "train.parquet"), shape), 0.1)
    test = pl.read_parquet(folder / "test.parquet")
    if name == "gowalla-lightgcn":
        return Split(train, validation, item_sets(matrix_of(test, shape)), ("recall@20", "ndcg@20"))
    negatives = pl.read_parquet(folder / "test_negatives.parquet").sort(pl.col("user_id").cast(pl.Int64))
    positives = negatives["positive_item_id"].cast(pl.Int64).to_numpy()
    lists = np.array(negatives["negatives"].to_list(), dtype=np.int64)
    return NegativesSplit(train, validation, positives, lists)


def load_reviews(folder):
    """Return the split that our own preparation makes of a set of reviews."""
    from recsys.cf.data.load import load_processed_data
    from recsys.cf.data.prepare import prepare
    from recsys.cf.sampling.pools import build_pools
    from recsys.config.schema import DataConfig
    from recsys.storage.local import LocalStore

    with tempfile.TemporaryDirectory() as temporary:
        store = LocalStore(Path(temporary) / "store")
        prepare(store, folder / "interactions.parquet", None, DataConfig(), seed=42)
        data = load_processed_data(store)
    pools = build_pools(
        data.X_train_binary, data.user_seen_train, data.user_hard_neg_train, data.item_popularity
    )
    held_out = data.held_out("validation"), data.held_out("test")
    train = data.X_train_binary.copy()  # the peers refuse read-only arrays
    return Split(train, *held_out, ("recall@10", "ndcg@10"), pools)


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
