"""The hybrid by TorchRec beside the local one: triplets per second, and quality on hasaki: `make bench-torchrec`.

Speed: the demo shop `real` with random text vectors of 384 dimensions, batches of 4,096, the median epoch
after the first.
Quality: the product's preparation of hasaki with its text vectors, the defaults of `hybrid`, four seeds; metrics
per test user are averaged over the seeds, differences have paired 95 % bootstrap intervals.
Writes build/bench/torchrec_hybrid.json.
"""

import json
import os
import platform
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
from bench_bpr import OUT, train_matrix
from bench_torchrec import METRICS, per_user
from bpr_peers import pools_of
from public_splits import DATA

from recsys.cf.embeddings.align import AlignedEmbeddings
from recsys.cf.models.base import FitControl
from recsys.config.schema import HybridConfig, TorchRecConfig

WIDTHS = [("local", 1), ("local", 2), ("torchrec", 1), ("torchrec", 2)]  # threads or ranks
SEEDS = (1, 2, 3, 4)


def fit(pools, embeddings, config, trainer, width, seed):
    """Return a fit by the local model (``width`` threads) or TorchRec (``width`` ranks)."""
    from recsys.cf.models.hybrid import fit_hybrid
    from recsys.cf.models.torchrec_hybrid_fit import fit_hybrid_torchrec

    control = FitControl(threads=lambda: width)
    if trainer == "local":
        return fit_hybrid(pools, embeddings, config, seed=seed, control=control)
    settings = TorchRecConfig(ranks=width)
    return fit_hybrid_torchrec(pools, embeddings, config, seed=seed, settings=settings, control=control)


def measure_speed():
    """Return {(trainer, width): triplets per second}."""
    train = train_matrix("real")
    n_items, random = train.shape[1], np.random.default_rng(0)
    vectors = random.standard_normal((n_items, 384), dtype=np.float32)
    embeddings = AlignedEmbeddings(vectors, np.ones(n_items, bool), "random", "1", (), 0)
    config, pools = HybridConfig(epochs=4, samples_per_epoch=1, batch_size=4096), pools_of(train)
    rates = {}
    for trainer, width in WIDTHS:
        history = fit(pools, embeddings, config, trainer, width, 1).history[1:]
        rates[trainer, width] = statistics.median(row["triplets"] / row["seconds"] for row in history)
    return rates


def hasaki():
    """Return the prepared data of hasaki and its text vectors by item_idx."""
    from recsys.cf.data.load import load_processed_data
    from recsys.cf.data.prepare import prepare
    from recsys.cf.embeddings.load import aligned_embeddings
    from recsys.config.load import load_config
    from recsys.storage.local import LocalStore

    with tempfile.TemporaryDirectory() as place:
        store, folder, config = LocalStore(Path(place)), DATA / "hasaki", load_config(None)
        files = (folder / "interactions.parquet", folder / "items.parquet")
        prepare(store, *files, config.data, seed=42, embeddings=folder / "product_embeddings.npz")
        data = load_processed_data(store)
        return data, aligned_embeddings(store, data, config.bert)


def measure_quality():
    """Return {trainer: {metric: per-user means over the seeds}} and the means of each seed."""
    from recsys.cf.sampling.pools import build_pools

    data, embeddings = hasaki()
    pools = build_pools(
        data.X_train_binary, data.user_seen_train, data.user_hard_neg_train, data.item_popularity
    )
    measured, by_seed = {}, {}
    for trainer in ("local", "torchrec"):
        runs = []
        for seed in SEEDS:
            factors = fit(pools, embeddings, HybridConfig(), trainer, 2, seed).factors
            runs.append(per_user(data, factors))
        measured[trainer] = {metric: np.mean([run[metric] for run in runs], axis=0) for metric in METRICS}
        by_seed[trainer] = {metric: [float(run[metric].mean()) for run in runs] for metric in METRICS}
    return measured, by_seed


def main():
    """Measure, print two tables and write."""
    from recsys.cf.evaluation.significance import paired_bootstrap

    rates = measure_speed()
    print("| trainer | threads or ranks | million triplets / s |\n|---|---|---|")
    for (trainer, width), rate in rates.items():
        print(f"| {trainer} | {width} | {rate / 1e6:.2f} |")
    document = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "speed": [{"trainer": t, "width": w, "triplets_per_second": rate} for (t, w), rate in rates.items()],
    }
    if (DATA / "hasaki").is_dir():
        measured, by_seed = measure_quality()
        document["quality_by_seed"], document["difference"] = by_seed, {}
        print("\n| hasaki | local | TorchRec, 2 ranks | difference |\n|---|---|---|---|")
        for metric in METRICS:
            ours, theirs = measured["torchrec"][metric], measured["local"][metric]
            one = paired_bootstrap(ours, theirs, resamples=10_000, level=0.95, seed=1)
            document["difference"][metric] = one.to_json()
            told = f"{one.difference:+.4f} [{one.low:+.4f}, {one.high:+.4f}]"
            print(f"| {metric} | {theirs.mean():.4f} | {ours.mean():.4f} | {told} |")
        print(json.dumps(by_seed))
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "torchrec_hybrid.json").write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    sys.exit(main())
