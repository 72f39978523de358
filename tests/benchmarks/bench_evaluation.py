"""Full-ranking evaluation against `implicit`: writes build/bench/evaluation.json and prints it as a table.

python tests/benchmarks/bench_evaluation.py [--users 26000 --items 2244]
"""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np
from implicit.als import AlternatingLeastSquares
from implicit.evaluation import ranking_metrics_at_k
from scipy.sparse import csr_matrix

from recsys.cf.data.dataset import UserItemSets
from recsys.cf.evaluation.evaluate import evaluate, validate
from recsys.cf.scoring.blocks import FactorScorer
from recsys.types import Factors

FACTORS, ROUNDS, MEAN_SEEN = 64, 5, 14
K_VALUES = (10, 20)


def make_shop(n_users: int, n_items: int) -> tuple[Factors, csr_matrix, csr_matrix]:
    """Return random factors, seen items and one held-out item per user, one the factors rather like."""
    rng = np.random.default_rng(0)
    factors = Factors(*(rng.standard_normal((n, FACTORS), dtype=np.float32) for n in (n_users, n_items)))
    n_seen = rng.geometric(1 / MEAN_SEEN, n_users).clip(1, n_items // 4)
    rows = np.repeat(np.arange(n_users), n_seen)
    ones = np.ones(len(rows), dtype=np.float32)
    seen = csr_matrix((ones, (rows, rng.integers(0, n_items, len(rows)))), shape=(n_users, n_items))
    seen.sum_duplicates()
    held_out = np.empty(n_users, dtype=np.int32)
    for user in range(n_users):
        candidates = np.setdiff1d(
            rng.integers(0, n_items, 60), seen.indices[slice(*seen.indptr[user : user + 2])]
        )
        scores = factors.item_factors[candidates] @ factors.user_factors[user]
        held_out[user] = candidates[scores.argmax()]
    truth = csr_matrix((np.ones(n_users), held_out, np.arange(n_users + 1)), shape=seen.shape)
    return factors, seen, truth


def sets_of(matrix: csr_matrix) -> UserItemSets:
    return UserItemSets(matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32))


def median_seconds(work: Callable[[], object]) -> float:
    work()  # compile and warm up
    seconds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def measure(n_users: int, n_items: int) -> list[dict]:
    factors, seen, truth = make_shop(n_users, n_items)
    held_out_sets, seen_sets = sets_of(truth), sets_of(seen)
    peer = AlternatingLeastSquares(factors=FACTORS)
    peer.user_factors, peer.item_factors = factors.user_factors, factors.item_factors

    def ours() -> dict[str, float]:
        scorers = {"model": FactorScorer(factors)}
        return evaluate(scorers, held_out_sets, seen_sets, k_values=K_VALUES, block_users=1024)[
            "model"
        ].metrics

    def theirs(k_values: tuple[int, ...]) -> list[dict[str, float]]:
        return [ranking_metrics_at_k(peer, seen, truth, K=k, show_progress=False) for k in k_values]

    for k, found in zip(K_VALUES, theirs(K_VALUES), strict=True):
        if abs(found["ndcg"] - ours()[f"ndcg@{k}"]) > 1e-4:
            raise SystemExit(
                f"ndcg@{k}: ours {ours()[f'ndcg@{k}']}, implicit {found['ndcg']}: not the same work"
            )
    works = [
        ("6 metrics at 10 and 20, coverage, novelty", ours, lambda: theirs(K_VALUES)),
        (
            "look at validation: recall and ndcg at 10",
            lambda: validate(factors, held_out_sets, seen_sets, 10),
            lambda: theirs(K_VALUES[:1]),
        ),
    ]
    rows = []
    for work, our_work, their_work in works:
        speed, peer_speed = (n_users / median_seconds(one) for one in (our_work, their_work))
        rows.append(
            {
                "work": work,
                "size": f"{n_users} x {n_items}, {FACTORS} factors",
                "threads": numba.get_num_threads(),
                "unit": "users/s",
                "ours": round(speed),
                "peers": {"implicit": round(peer_speed)},
                "ratio": {"implicit": round(speed / peer_speed, 2)},
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=26_000)
    parser.add_argument("--items", type=int, default=2_244)
    parser.add_argument("--output", type=Path, default=Path("build/bench/evaluation.json"))
    options = parser.parse_args()
    rows = measure(options.users, options.items)
    document = {"machine": platform.platform(), "command": " ".join(sys.argv), "rows": rows}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(document, indent=2) + "\n")
    for row in rows:
        sys.stdout.write(
            f"{row['work']:<45} {row['size']:<28} {row['ours']:>9,} {row['unit']}  "
            f"implicit {row['peers']['implicit']:>7,}  {row['ratio']['implicit']:.1f} x\n"
        )


if __name__ == "__main__":
    main()
