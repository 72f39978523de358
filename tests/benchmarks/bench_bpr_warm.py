"""What a warm start of BPR is worth: last night's model on today's data: `python tests/benchmarks/bench_bpr_warm.py`.

Last night knows the first 95 % of the reviews (by time), tonight all of them. Prints, over five seeds, the epoch of
the best validation NDCG@10, the epochs until 99 % of the cold start's best, and the test metrics.
"""

import statistics
import sys
import tempfile
from pathlib import Path

import polars as pl

from recsys.cf.data.load import load_processed_data
from recsys.cf.data.prepare import prepare
from recsys.cf.evaluation.champion import align_rows
from recsys.cf.evaluation.evaluate import validate
from recsys.cf.models.bpr import fit_bpr
from recsys.cf.models.bpr_start import WarmStart
from recsys.cf.sampling.pools import build_pools
from recsys.config.schema import BprConfig, DataConfig
from recsys.storage.local import LocalStore
from recsys.types import Factors

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
SETTINGS = {"negative_sampling": "uniform", "regularization": 0.03, "learning_rate": 0.1}
CONFIG = BprConfig(epochs=60, validate_every=1, patience=60, learning_rate_schedule="constant", **SETTINGS)
SEEDS = 5


def nights(folder, directory):
    """Return the data of last night and of tonight."""
    rows = pl.read_parquet(folder / "interactions.parquet").sort("timestamp")
    datasets = []
    for name, part in (("last", rows.head(int(0.95 * rows.height))), ("tonight", rows)):
        part.write_parquet(directory / f"{name}.parquet")
        store = LocalStore(directory / name)
        prepare(store, directory / f"{name}.parquet", None, DataConfig(), seed=42)
        datasets.append(load_processed_data(store))
    return datasets


def fit(data, seed, warm=None):
    """Return (validation NDCG@10 by epoch, test metrics of the best epoch)."""
    pools = build_pools(
        data.X_train_binary, data.user_seen_train, data.user_hard_neg_train, data.item_popularity
    )
    held_out, seen = data.held_out("validation"), data.user_seen_train
    result = fit_bpr(
        pools, CONFIG, seed=seed, warm=warm, validate=lambda one: validate(one, held_out, seen, 10)
    )
    curve = [row["ndcg@10"] for row in result.history]
    return curve, validate(result.factors, data.held_out("test"), seen, 10), result.factors


def aligned(factors, last, tonight):
    """Return last night's factors by tonight's indices."""
    U, known_users = align_rows(factors.user_factors, last.mappings.user_ids, tonight.mappings.user_ids)
    V, known_items = align_rows(factors.item_factors, last.mappings.item_ids, tonight.mappings.item_ids)
    return WarmStart(Factors(U, V), known_users, known_items)


def main():
    """Print the table."""
    print("| set | start | best epoch | epochs to 99 % of the cold best | NDCG@10 test | Recall@10 test |")
    print("|---|---|---|---|---|---|")
    for name in ("hasaki", "amazon_magazine"):
        if not (DATA / name).is_dir():
            print(f"{name}: absent, skipped", file=sys.stderr)
            continue
        with tempfile.TemporaryDirectory() as temporary:
            last, tonight = nights(DATA / name, Path(temporary))
        rows = {"cold": [], "warm": []}
        for seed in range(1, SEEDS + 1):
            warm = aligned(fit(last, seed)[2], last, tonight)
            cold_curve, cold_test, _ = fit(tonight, seed + 100)
            for start, (curve, test) in (
                ("cold", (cold_curve, cold_test)),
                ("warm", fit(tonight, seed + 100, warm)[:2]),
            ):
                reached = [at for at, value in enumerate(curve, 1) if value >= 0.99 * max(cold_curve)]
                best = curve.index(max(curve)) + 1
                rows[start].append(
                    (best, reached[0] if reached else None, test["ndcg@10"], test["recall@10"])
                )
        for start, found in rows.items():
            best, reached, ndcg, recall = zip(*found, strict=True)
            to_99 = [one for one in reached if one is not None]
            told = (
                f"{statistics.median(to_99):.0f}"
                if len(to_99) == SEEDS
                else f"reached in {len(to_99)} of {SEEDS}"
            )
            print(
                f"| {name} | {start} | {statistics.median(best):.0f} | {told} | {statistics.mean(ndcg):.4f} "
                f"| {statistics.mean(recall):.4f} |"
            )


if __name__ == "__main__":
    main()
