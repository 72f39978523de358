"""Full-ranking evaluation against `implicit` and irspack: writes build/bench/evaluation.json, prints a table.

python tests/benchmarks/bench_evaluation.py [--size 26000x2244 --size 260000x22440] [--rounds 5]

Every round runs ours and the peers one after the other, so that a busy machine slows all of them; medians
are compared. BLAS has one thread in each. Metrics must agree.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numba
import numpy as np
from implicit.als import AlternatingLeastSquares
from implicit.evaluation import ranking_metrics_at_k
from irspack.evaluation import Evaluator
from irspack.recommenders.base import BaseRecommender
from scipy.sparse import csr_matrix

from recsys.cf.data.dataset import UserItemSets
from recsys.cf.evaluation.evaluate import evaluate, validate
from recsys.cf.evaluation.significance import paired_bootstrap, permutation_test
from recsys.cf.scoring.blocks import FactorScorer
from recsys.types import Factors

FACTORS, MEAN_SEEN = 64, 14
K_VALUES = (10, 20)
MEMORY_LIMIT_BYTES = 1 << 30


class GivenFactors(BaseRecommender, register_class=False):
    """irspack's door for factors that something else has trained."""

    def __init__(self, seen: csr_matrix, factors: Factors) -> None:
        super().__init__(seen)
        self.factors = factors

    def _learn(self) -> None:
        """Nothing to learn."""

    def get_score(self, user_indices: np.ndarray) -> np.ndarray:
        return self.factors.user_factors[user_indices] @ self.factors.item_factors.T

    def get_score_block(self, begin: int, end: int) -> np.ndarray:
        return self.factors.user_factors[begin:end] @ self.factors.item_factors.T


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


def median_seconds(
    works: dict[str, Callable[[], object]], rounds: int
) -> tuple[dict[str, float], dict[str, object]]:
    """Return the median time of each work, all run in turn in every round, and what each returned."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    found = {}
    for _ in range(rounds):
        for name, work in works.items():
            began = time.perf_counter()
            found[name] = work()
            seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(one) for name, one in seconds.items()}, found


def require_agreement(found: dict[str, dict[str, float]], metrics: list[str]) -> None:
    """Leave when a peer's value differs from ours, which is the first one: it was not the same work."""
    ours = next(iter(found.values()))
    for name in ("implicit", "irspack"):
        for metric in metrics:
            if abs(found[name][metric] - ours[metric]) > 1e-4:
                raise SystemExit(f"{metric}: ours {ours[metric]}, {name} {found[name][metric]}")


def row(work: str, size: str, unit: str, amount: float, seconds: dict[str, float]) -> dict:
    """Return a row of the document from the seconds of "ours" and of each peer."""
    speed = {name: amount / one for name, one in seconds.items()}
    ours = speed.pop("ours")
    return {
        "work": work,
        "size": size,
        "threads": numba.get_num_threads(),
        "unit": unit,
        "ours": round(ours),
        "peers": {name: round(one) for name, one in speed.items()},
        "ratio": {name: round(ours / one, 2) for name, one in speed.items()},
    }


def measure(n_users: int, n_items: int, rounds: int) -> list[dict]:
    factors, seen, truth = make_shop(n_users, n_items)
    held_out_sets, seen_sets = sets_of(truth), sets_of(seen)
    peer = AlternatingLeastSquares(factors=FACTORS)
    peer.user_factors, peer.item_factors = factors.user_factors, factors.item_factors
    evaluator, given = Evaluator(truth, n_threads=os.cpu_count()), GivenFactors(seen, factors)

    def ours(*, lists: bool) -> dict[str, float]:
        scorers = {"model": FactorScorer(factors)}
        found = evaluate(scorers, held_out_sets, seen_sets, k_values=K_VALUES, block_users=8192, lists=lists)
        return found["model"].metrics

    def implicit(k_values: tuple[int, ...] = K_VALUES) -> dict[str, float]:
        found = {k: ranking_metrics_at_k(peer, seen, truth, K=k, show_progress=False) for k in k_values}
        return {f"{name}@{k}": one[name] for k, one in found.items() for name in ("ndcg", "map")}

    def irspack(k_values: tuple[int, ...] = K_VALUES) -> dict[str, float]:
        return evaluator.get_scores(given, list(k_values))

    few = UserItemSets(held_out_sets.indptr[:513], held_out_sets.indices[:512])
    evaluate({"compile": FactorScorer(factors)}, few, seen_sets, k_values=K_VALUES, block_users=8192)
    size = f"{n_users} x {n_items}, {FACTORS} factors"
    works = {
        "6 metrics at 10 and 20": lambda: ours(lists=False),
        "the same and lists: coverage, novelty": lambda: ours(lists=True),
    }
    seconds, found = median_seconds({**works, "implicit": implicit, "irspack": irspack}, rounds)
    require_agreement(found, ["ndcg@10", "ndcg@20", "map@10", "map@20"])
    rows = [row(name, size, "users/s", n_users, {"ours": seconds[name]} | _peers(seconds)) for name in works]
    looks = {
        "ours": lambda: validate(factors, held_out_sets, seen_sets, 10),
        "implicit": lambda: implicit((10,)),
        "irspack": lambda: irspack((10,)),
    }
    seconds, found = median_seconds(looks, rounds)
    require_agreement(found, ["ndcg@10"])
    rows.append(row("a look at validation: recall, ndcg at 10", size, "users/s", n_users, seconds))
    return rows


def _peers(seconds: dict[str, float]) -> dict[str, float]:
    return {name: seconds[name] for name in ("implicit", "irspack")}


def measure_statistics(n_users: int, resamples: int) -> list[dict]:
    """Return the time of a paired bootstrap and a permutation test, every user's values distinct."""
    rng = np.random.default_rng(1)
    a, b = rng.random(n_users), rng.random(n_users)
    rows = []
    for name, work in (
        ("paired bootstrap", lambda: paired_bootstrap(a, b, resamples=resamples, level=0.95, seed=1)),
        ("permutation test", lambda: permutation_test(a, b, permutations=resamples, seed=1)),
    ):
        work()
        seconds, _ = median_seconds({"ours": work}, 3)
        rows.append(row(name, f"{n_users} users", "resamples/s", resamples, seconds))
    return rows


def measure_memory(n_users: int, n_items: int) -> list[dict]:
    """Return the peak resident size of one walk with lists, and what of it the walk added; fresh process."""
    code = "import bench_evaluation as b; print(b.walk_alone(*map(int, __import__('sys').argv[1:])))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(n_users), str(n_items)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
        capture_output=True,
        text=True,
        check=True,
    )
    before, peak = json.loads(done.stdout.strip().splitlines()[-1])
    return [
        {
            "work": "peak memory of a walk with lists, data included",
            "size": f"{n_users} x {n_items}, {FACTORS} factors",
            "threads": numba.get_num_threads(),
            "unit": "MB",
            "ours": round(peak / 1e6),
            "before the walk": round(before / 1e6),
            "peers": {"limit": round(MEMORY_LIMIT_BYTES / 1e6)},
            "ratio": {"limit": round(MEMORY_LIMIT_BYTES / peak, 2)},
        }
    ]


def walk_alone(n_users: int, n_items: int) -> str:
    """Walk once and return [resident bytes before, peak] as JSON."""
    factors, seen, truth = make_shop(n_users, n_items)
    held_out_sets, seen_sets = sets_of(truth), sets_of(seen)
    del seen, truth
    before = peak_bytes()
    scorers = {"model": FactorScorer(factors)}
    evaluate(scorers, held_out_sets, seen_sets, k_values=K_VALUES, block_users=8192)
    return json.dumps([before, peak_bytes()])


def peak_bytes() -> int:
    """Return the largest resident size of this process; unlike ru_maxrss without that of its parent."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", action="append", help="users x items, such as 26000x2244; repeatable")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("build/bench/evaluation.json"))
    options = parser.parse_args()
    rows = []
    for size in options.size or ["26000x2244", "260000x22440"]:
        n_users, n_items = map(int, size.split("x"))
        rows += measure(n_users, n_items, options.rounds)
        rows += measure_memory(n_users, n_items)
    rows += measure_statistics(26_000, 10_000)
    document = {
        "machine": f"{platform.platform()}, {os.cpu_count()} processors",
        "command": " ".join(sys.argv),
        "rows": rows,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(document, indent=2) + "\n")
    for one in rows:
        ratios = ", ".join(
            f"{name} {value:,} ({one['ratio'][name]} x)" for name, value in one["peers"].items()
        )
        print(f"{one['work']:<48} {one['size']:<28} {one['ours']:>10,} {one['unit']:<11} {ratios}")


if __name__ == "__main__":
    main()
