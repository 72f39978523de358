"""TorchRec beside our kernel and `implicit`: triplets per second, and quality on hasaki: `make bench-torchrec`.

Speed: demo shops, uniform negatives, 64 factors, sampling included, starting and compiling not. Each measurement is a
process of its own, interleaved; medians. Quality: the product's preparation of hasaki, the same settings for all, three
seeds; metrics per test user are averaged over the seeds, differences have paired 95 % bootstrap intervals.
Writes build/bench/torchrec.json. On one machine TorchRec loses: it is for tables that no machine holds.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
from bench_bpr import OUT, train_matrix
from own_process import measure_in_own_process
from public_splits import DATA

from recsys.cf.models.base import FitControl
from recsys.config.schema import BprConfig, DataConfig, TorchRecConfig

SPEED = [
    # trainer, threads or ranks, batch
    ("kernel", 1, 0),
    ("kernel", 2, 0),
    ("implicit", 1, 0),
    ("implicit", 2, 0),
    ("torchrec", 1, None),
    ("torchrec", 2, None),
    ("torchrec", 1, 16_384),
    ("torchrec", 2, 16_384),
]
SEEDS, EPOCHS = (1, 2, 3), 30
SETTINGS = {"negative_sampling": "uniform", "learning_rate": 0.05, "regularization": 0.03, "epochs": EPOCHS}
METRICS = ("recall@10", "ndcg@10")


def fit(pools, config, trainer, width, batch, seed):
    """Return a fit by the kernel (``width`` threads) or TorchRec (``width`` ranks)."""
    from recsys.cf.models.bpr import fit_bpr
    from recsys.cf.models.torchrec_fit import fit_bpr_torchrec

    control = FitControl(threads=lambda: width)
    if trainer == "kernel":
        return fit_bpr(pools, config, seed=seed, control=control)
    settings = TorchRecConfig(ranks=width, batch_size=batch)
    return fit_bpr_torchrec(pools, config, settings=settings, seed=seed, control=control)


def speed(size, trainer, width, batch):
    """Print the triplets per second of one trainer as JSON."""
    from bpr_peers import pools_of, with_implicit

    train = train_matrix(size)
    if trainer == "implicit":
        with_implicit(train, epochs=5, threads=width, seed=0)
        seconds, _, _, triplets = with_implicit(train, epochs=40, threads=width, seed=1)
        print(json.dumps({"rate": triplets / seconds[-1]}))
        return
    config = BprConfig(negative_sampling="uniform", epochs=4, samples_per_epoch=1)
    history = fit(pools_of(train), config, trainer, width, batch, 1).history[1:]
    print(json.dumps({"rate": statistics.median(row["triplets"] / row["seconds"] for row in history)}))


def measure_speed(sizes, repeats):
    """Return {size: {(trainer, width, batch): median rate}}."""
    cells = [(size, *row) for size in sizes for row in SPEED]
    rates = {cell: [] for cell in cells}
    for _ in range(repeats):
        for cell in cells:
            rates[cell].append(measure_in_own_process(__file__, *cell, OPENBLAS_NUM_THREADS="1")["rate"])
    return {size: {row: statistics.median(rates[size, *row]) for row in SPEED} for size in sizes}


def hasaki():
    """Return the prepared data of hasaki."""
    from recsys.cf.data.load import load_processed_data
    from recsys.cf.data.prepare import prepare
    from recsys.storage.local import LocalStore

    with tempfile.TemporaryDirectory() as place:
        store, folder = LocalStore(Path(place)), DATA / "hasaki"
        prepare(store, folder / "interactions.parquet", folder / "items.parquet", DataConfig(), seed=42)
        return load_processed_data(store)


def per_user(data, factors):
    """Return {metric: its value for each test user}."""
    from recsys.cf.evaluation.evaluate import evaluate
    from recsys.cf.scoring.blocks import FactorScorer

    scorer, held_out = {"m": FactorScorer(factors)}, data.held_out("test")
    found = evaluate(scorer, held_out, data.user_seen_train, k_values=(10,), block_users=1024, lists=False)
    return found["m"].per_user


def measure_quality():
    """Return {trainer: {metric: per-user means over the seeds}}."""
    from recsys.cf.sampling.pools import build_pools

    data = hasaki()
    pools = build_pools(
        data.X_train_binary, data.user_seen_train, data.user_hard_neg_train, data.item_popularity
    )
    measured = {}
    for name, trainer, width in (
        ("kernel", "kernel", 1),
        ("1 rank", "torchrec", 1),
        ("2 ranks", "torchrec", 2),
    ):
        runs = []
        for seed in SEEDS:
            factors = fit(pools, BprConfig(**SETTINGS), trainer, width, None, seed).factors
            runs.append(per_user(data, factors))
        measured[name] = {metric: np.mean([run[metric] for run in runs], axis=0) for metric in METRICS}
    return measured


def print_speed(rates):
    """Print the table of speeds."""
    print("| size | trainer | processes or threads | batch | million triplets / s |\n|---|---|---|---|---|")
    for size, row in rates.items():
        for (trainer, width, batch), rate in row.items():
            told = "-" if trainer != "torchrec" else batch or "by items"
            print(f"| {size} | {trainer} | {width} | {told} | {rate / 1e6:.2f} |")


def print_quality(measured):
    """Print the table of metrics and return its intervals as JSON."""
    from recsys.cf.evaluation.significance import paired_bootstrap

    rows = []
    print("| hasaki | Recall@10 | NDCG@10 | difference in Recall@10 | in NDCG@10 |\n|---|---|---|---|---|")
    for name, base in (("kernel", None), ("1 rank", "kernel"), ("2 ranks", "kernel"), ("2 ranks", "1 rank")):
        values, differences = [], []
        for metric in METRICS:
            own = measured[name][metric]
            values.append(f"{own.mean():.4f}")
            if base is None:
                differences.append("")
                continue
            one = paired_bootstrap(own, measured[base][metric], resamples=10_000, level=0.95, seed=1)
            rows.append({"of": name, "against": base, "metric": metric, **one.to_json()})
            differences.append(f"to {base}: {one.difference:+.4f} [{one.low:+.4f}, {one.high:+.4f}]")
        print(f"| {name} | {' | '.join(values)} | {' | '.join(differences)} |")
    return rows


def main():
    """Measure and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", nargs=4)
    parser.add_argument("--sizes", nargs="*", default=["real", "spec"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--skip", choices=["speed", "quality"])
    arguments = parser.parse_args()
    if arguments.work:
        size, trainer, width, batch = arguments.work
        speed(size, trainer, int(width), None if batch == "None" else int(batch))
        return
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    kept = OUT / "torchrec.json"
    document = json.loads(kept.read_text()) if kept.exists() else {}  # the other half, where one is skipped
    document["machine"] = machine
    if arguments.skip != "speed":
        rates = measure_speed(arguments.sizes, arguments.repeats)
        print_speed(rates)
        document["repeats"] = arguments.repeats
        document["speed"] = [
            {"size": size, "trainer": t, "width": w, "batch": b, "triplets_per_second": rate}
            for size, row in rates.items()
            for (t, w, b), rate in row.items()
        ]
    if arguments.skip != "quality" and (DATA / "hasaki").is_dir():
        document["quality"] = print_quality(measure_quality())
    OUT.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    sys.exit(main())
