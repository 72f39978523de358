"""The public data sets in their published splits, for benchmarks of quality: what to train on, how to measure."""

import tempfile
from pathlib import Path

import numpy as np
import polars as pl
from bpr_peers import item_sets
from scipy.sparse import csr_matrix

from recsys.cf.evaluation.evaluate import evaluate
from recsys.cf.scoring.blocks import FactorScorer

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


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
