"""Quality of ALS on published splits: native beside `implicit`, as many trials each: `make bench-als-quality`.

Trials climb ladders of settings on a validation part of train; then five seeds on all of train, measured by the
set's published protocol. Prints means with 95 % t-intervals over seeds, writes build/bench/als-quality.json.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time

import numpy as np
from bench_bpr_quality import OUT
from public_splits import DATA, load
from scipy import stats
from scipy.sparse import csr_matrix

from recsys.cf.models.als import fit_als
from recsys.cf.models.als_native import fit_als_native
from recsys.cf.models.base import FitControl
from recsys.config.schema import AlsConfig

COMMAND = "python tests/benchmarks/bench_als_quality.py"
SETS = ("ml-1m-ncf", "gowalla-lightgcn")
SEEDS, TRIALS, THREADS, ITERATIONS, FACTORS = 5, 20, 2, 16, 64
LADDERS = {
    "native": {
        "regularization": (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0),
        "unobserved_weight": (0.003, 0.01, 0.03, 0.1, 0.3, 1.0),
        "regularization_exponent": (0.0, 0.25, 0.5, 0.75, 1.0),
    },
    "implicit": {
        "regularization": (0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0),
        "alpha": (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0),
    },
}
STARTS = {
    "native": {"regularization": 3.0, "unobserved_weight": 0.1, "regularization_exponent": 0.5},
    "implicit": {"regularization": 30.0, "alpha": 8.0},
}
PUBLISHED = {
    "ml-1m-ncf": "iALS, 64 factors (Rendle et al. 2021): 0.722 / 0.445",
    "gowalla-lightgcn": "LightGCN 0.1830 / 0.1554, SimpleX 0.1872 / 0.1557",
}


def train(method, likes, settings, seed):
    """Return (factors, seconds) of one fit; an observed pair weighs 1 (native) or alpha more than others."""
    common = {"factors": FACTORS, "iterations": ITERATIONS, "use_gpu": "false"}
    weighted = csr_matrix(likes, copy=True)
    control = FitControl(threads=lambda: THREADS)
    started = time.perf_counter()
    if method == "native":
        config = AlsConfig(solver="native", **common, **settings)
        weighted.data = np.full(likes.nnz, 1 + config.unobserved_weight, np.float32)
        fit = fit_als_native(weighted, config, seed=seed, control=control)
    else:
        weighted.data = np.full(likes.nnz, 1 + settings["alpha"], np.float32)
        fit = fit_als(
            weighted, AlsConfig(solver="implicit", **common, **settings), seed=seed, control=control
        )
    return fit.factors, time.perf_counter() - started


def climb(ladders, start, score):
    """Return (best settings, its score, trials): neighbours on the ladders, in turn, while any is better."""
    tried, best = {}, start

    def tell(settings):
        key = tuple(settings.values())
        if key not in tried:
            tried[key] = score(settings)
        return tried[key]

    tell(best)
    moved = True
    while moved and len(tried) < TRIALS:
        moved = False
        for name, values in ladders.items():
            for step in (-1, 1):
                at = values.index(best[name]) + step
                while 0 <= at < len(values) and len(tried) < TRIALS:
                    candidate = {**best, name: values[at]}
                    if tell(candidate) <= tell(best):
                        break
                    best, at, moved = candidate, at + step, True
    return best, tell(best), len(tried)


def run(name, split, method):
    """Return the row of one method on one set."""
    likes = split.train

    def score(settings):
        value = split.validate(train(method, likes, settings, 0)[0])
        print(f"{name} {method} {settings}: {value:.4f}", file=sys.stderr)
        return value

    settings, top, trials = climb(LADDERS[method], STARTS[method], score)
    held = split.validation
    users = np.repeat(np.arange(len(held)), held.counts())
    taken = csr_matrix((np.ones(len(users), np.float32), (users, held.indices)), shape=likes.shape)
    split.train = csr_matrix(likes + taken)
    split.train.sort_indices()
    found, seconds = [], []
    for seed in range(1, SEEDS + 1):
        factors, took = train(method, split.train, settings, seed)
        found.append(split.measure(factors))
        seconds.append(took)
    split.train = likes
    row = {"set": name, "method": method, "settings": settings, "trials": trials, "validation": top}
    row["seconds"] = statistics.median(seconds)
    for metric in split.metrics:
        values = [one[metric] for one in found]
        half = stats.t.ppf(0.975, SEEDS - 1) * statistics.stdev(values) / SEEDS**0.5
        row[metric] = {"mean": statistics.mean(values), "half_width": half}
    return row


def main():
    """Measure the sets that are there, print a table for each, write the JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sets", nargs="*", default=list(SETS))
    rows = []
    for name in parser.parse_args().sets:
        if not (DATA / name).is_dir():
            print(f"{name}: absent, skipped", file=sys.stderr)
            continue
        split = load(name)
        print(f"\n| {name} | " + " | ".join(split.metrics) + " | settings | trials | s per fit |")
        print("|---|" + "---|" * (len(split.metrics) + 3))
        for method in LADDERS:
            row = run(name, split, method)
            rows.append(row)
            write(rows)
            cells = [f"{row[m]['mean']:.4f} ± {row[m]['half_width']:.4f}" for m in split.metrics]
            chosen = ", ".join(f"{key} {value:g}" for key, value in row["settings"].items())
            print(
                f"| {method} | "
                + " | ".join(cells)
                + f" | {chosen} | {row['trials']} | {row['seconds']:.1f} |",
                flush=True,
            )
        print(f"\npublished: {PUBLISHED[name]}")


def write(rows):
    """Write the rows found so far: a run cut short keeps them."""
    OUT.mkdir(parents=True, exist_ok=True)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    document = {"machine": machine, "command": COMMAND, "seeds": SEEDS, "rows": rows}
    (OUT / "als-quality.json").write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
