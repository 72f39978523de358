"""Top 10 unseen items of all users: ours beside faiss, `implicit` and NumPy: writes build/bench/recommend.json.

python tests/benchmarks/bench_recommend.py [--size 26000x2244 --size 200000x20000] [--rounds 3] [--hnsw]

Every round runs ours and the peers one after the other, so that a busy machine slows all of them; medians are
compared. All lists must be equal, up to items whose exact scores differ by less than a float32 product's error.
A peer with a number of users behind its name was too slow for all: it served the first so many.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import faiss
import implicit.cpu.topk
import numba
import numpy as np
from bench_evaluation import make_shop, sets_of
from scipy.sparse import csr_matrix

from recsys.blas import one_blas_thread
from recsys.cf.data.dataset import UserItemSets
from recsys.cf.scoring.all_users import ExactSearch
from recsys.cf.scoring.all_users_kernel import drop_seen
from recsys.cf.scoring.blocks import FactorScorer
from recsys.cf.scoring.hnsw import HnswSearch, HnswSettings, recall
from recsys.cf.scoring.topk import recommend
from recsys.exact_scores import exact_scores, row_norms, score_error
from recsys.types import Factors

K = 10
SIZES = ("26000x2244", "200000x20000", "20000x224000")
# users x items that NumPy and the walk of the evaluation get at most: they are slower, and rates are what counts
SLOW_CELLS = 400_000_000


def first_rows(seen: csr_matrix, n_users: int) -> csr_matrix:
    return seen[:n_users] if n_users < seen.shape[0] else seen


def ours(search: ExactSearch, factors: Factors, seen: UserItemSets, n_users: int) -> np.ndarray:
    users = np.arange(n_users, dtype=np.int32)
    return np.concatenate([one.items for one in search.lists(factors.user_factors, users, seen, K)])


def evaluation_walk(factors: Factors, seen: UserItemSets, n_users: int) -> np.ndarray:
    return recommend(FactorScorer(factors), np.arange(n_users, dtype=np.int32), seen, K)[0]


def flat_faiss(index: faiss.IndexFlatIP, factors: Factors, seen: UserItemSets) -> np.ndarray:
    """Ask each user for k and as many more as the users who saw as much have seen, then leave those out."""
    n_users = factors.n_users
    asked = 2 ** np.ceil(np.log2(K + seen.counts())).astype(np.int64)
    found = np.full((n_users, K), -1, dtype=np.int32)
    for n_asked in np.unique(asked):
        for rows in np.array_split(
            np.flatnonzero(asked == n_asked), max(1, (asked == n_asked).sum() // 4096)
        ):
            _, items = index.search(factors.user_factors[rows], int(min(n_asked, index.ntotal)))
            unseen = np.full(items.shape, -1, dtype=np.int32)
            drop_seen(items, rows.astype(np.int32), seen.indptr, seen.indices, unseen)
            found[rows] = unseen[:, :K]
    return found


def implicit_topk(factors: Factors, seen: csr_matrix, threads: int) -> np.ndarray:
    items, _ = implicit.cpu.topk.topk(
        factors.item_factors, factors.user_factors, K, filter_query_items=seen, num_threads=threads
    )
    return items


def numpy_topk(factors: Factors, seen: csr_matrix, n_users: int) -> np.ndarray:
    found = np.empty((n_users, K), dtype=np.int32)
    for start in range(0, n_users, 256):
        rows = slice(start, min(start + 256, n_users))
        scores = factors.user_factors[rows] @ factors.item_factors.T
        block = seen[rows]
        scores[np.repeat(np.arange(block.shape[0]), np.diff(block.indptr)), block.indices] = -np.inf
        best = np.argpartition(-scores, K, axis=1)[:, :K]
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
        found[rows] = np.take_along_axis(best, order, axis=1)
    return found


def require_equal(name: str, found: np.ndarray, expected: np.ndarray, factors: Factors) -> int:
    """Return how many places of the lists differ by near ties; leave when one differs by more."""
    different = np.flatnonzero((found != expected[: len(found)]).any(axis=1))
    norms = row_norms(factors.user_factors[: len(found)])
    errors = score_error(factors.n_factors, norms, float(row_norms(factors.item_factors).max()))
    n_places = 0
    for user in different:
        a, b = (
            exact_scores(factors.user_factors[user], factors.item_factors[lists[user]])
            for lists in (found, expected)
        )
        n_places += int((found[user] != expected[user]).sum())
        if (np.abs(a.astype(np.float64) - b) > 2 * errors[user]).any():
            raise SystemExit(f"{name}: user {user} got {found[user]}, expected {expected[user]}")
    return n_places


def measure(n_users: int, n_items: int, threads: int, rounds: int) -> dict:
    factors, seen_matrix, _ = make_shop(n_users, n_items)
    seen = sets_of(seen_matrix)
    numba.set_num_threads(threads)
    faiss.omp_set_num_threads(threads)
    few = min(n_users, max(512, SLOW_CELLS // n_items))
    search = ExactSearch(factors.item_factors)
    index = faiss.IndexFlatIP(factors.n_factors)
    index.add(factors.item_factors)
    flat_faiss(index, Factors(factors.user_factors[:256], factors.item_factors), sets_of(seen_matrix[:256]))
    ours(search, factors, seen, 256)  # compiled before the clock starts
    evaluation_walk(factors, seen, 256)
    works: dict[str, tuple[int, Callable[[], np.ndarray]]] = {
        "ours": (n_users, lambda: ours(search, factors, seen, n_users)),
        "faiss flat": (n_users, lambda: flat_faiss(index, factors, seen)),
        "implicit.cpu.topk": (n_users, lambda: implicit_topk(factors, seen_matrix, threads)),
        "walk of the evaluation": (few, lambda: evaluation_walk(factors, seen, few)),
    }
    if threads == 1:
        part = first_rows(seen_matrix, few)

        def one_thread_numpy() -> np.ndarray:
            with one_blas_thread():
                return numpy_topk(factors, part, few)

        works["numpy"] = (few, one_thread_numpy)
    seconds: dict[str, list[float]] = {name: [] for name in works}
    found: dict[str, np.ndarray] = {}
    for _ in range(rounds):
        for name, (_, work) in works.items():
            began = time.perf_counter()
            found[name] = work()
            seconds[name].append(time.perf_counter() - began)
    rates = {name: round(works[name][0] / statistics.median(one)) for name, one in seconds.items()}
    return {
        "size": f"{n_users} x {n_items}, {factors.n_factors} factors",
        "threads": threads,
        "users_per_second": rates,
        "users_served": {name: n for name, (n, _) in works.items()},
        "near_ties": {name: require_equal(name, one, found["ours"], factors) for name, one in found.items()},
    }


def measure_hnsw(n_users: int, n_items: int, threads: int) -> list[dict]:
    """Return rates and recall of the approximate search for some sizes of its candidate list."""
    factors, seen_matrix, _ = make_shop(n_users, n_items)
    seen = sets_of(seen_matrix)
    numba.set_num_threads(threads)
    exact = ExactSearch(factors.item_factors)
    expected = ours(exact, factors, seen, n_users)
    rows = []
    began = time.perf_counter()
    search = HnswSearch(exact, HnswSettings(32, 200, 200))
    built = time.perf_counter() - began
    for ef_search in (50, 200):
        search._settings = HnswSettings(32, 200, ef_search)
        began = time.perf_counter()
        found = ours(search, factors, seen, n_users)  # type: ignore[arg-type]
        seconds = time.perf_counter() - began
        rows.append(
            {
                "size": f"{n_users} x {n_items}, {factors.n_factors} factors",
                "threads": threads,
                "ef_search": ef_search,
                "build_seconds": round(built, 1),
                "users_per_second": round(n_users / seconds),
                "recall": round(recall(found, expected), 4),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", action="append", help="users x items, such as 26000x2244; repeatable")
    parser.add_argument("--threads", type=int, action="append", help="repeatable; without it 1 and 2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--hnsw", action="store_true", help="measure the approximate index instead")
    parser.add_argument("--output", type=Path, default=Path("build/bench/recommend.json"))
    options = parser.parse_args()
    sizes = [tuple(map(int, size.split("x"))) for size in options.size or SIZES]
    rows: list[dict] = []
    for n_users, n_items in sizes:
        for threads in options.threads or (1, 2):
            made = (
                measure_hnsw(n_users, n_items, threads)
                if options.hnsw
                else [measure(n_users, n_items, threads, options.rounds)]
            )
            rows += made
            for one in made:
                print(json.dumps(one), flush=True)
    document = {
        "machine": f"{platform.platform()}, {os.cpu_count()} processors",
        "command": " ".join(sys.argv),
        "rows": rows,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
