"""Speed of exact ALS: ours, `implicit` (conjugate gradient, Cholesky), irspack (both, iALS++): `make bench-als`.

Seconds per iteration, medians without the first one, and the loss that everybody reaches from the same start
after the same iterations. Every measurement is a process of its own, interleaved. Sizes are demo shops; writes
build/bench/als.json.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import sys

import numpy as np
from bench_bpr import OUT, SIZES, train_matrix
from own_process import measure_in_own_process

ITERATIONS = {"real": 10, "spec": 10, "10 x spec": 3}
FACTORS, REGULARIZATION = 64, 50.0
COMMAND = "python tests/benchmarks/bench_als.py"


def confidences(size):
    """Return the matrix to solve: weights 1 + 10 (c - 1) / 5 of confidences c in [4.5, 6]."""
    matrix = train_matrix(size)
    c = np.random.default_rng(0).uniform(4.5, 6, matrix.nnz)
    matrix.data = (1 + 2 * (c - 1)).astype(np.float32)
    return matrix


def work(size, solver, threads):
    """Measure one cell in this process and print it as JSON."""
    from als_peers import SOLVERS

    from recsys.cf.models.als_loss import als_loss

    matrix = confidences(size)
    settings = {"factors": FACTORS, "regularization": REGULARIZATION, "threads": threads, "seed": 0}
    SOLVERS[solver](matrix[:200], iterations=1, **settings)  # compiles
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds, factors = SOLVERS[solver](matrix, iterations=ITERATIONS[size], **settings)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        json.dumps(
            {
                "seconds": statistics.median(seconds[1:]),
                "loss": als_loss(matrix, factors, REGULARIZATION),
                "sha256": factors.sha256(),
                "peak_mb": peak / 1024,
                "before_mb": before / 1024,
            }
        )
    )


def measure(size, solver, threads):
    """Return the JSON of one measurement in a fresh process."""
    return measure_in_own_process(__file__, size, solver, threads, OPENBLAS_NUM_THREADS="1")


def main():
    """Measure everything, write the JSON, print the table."""
    from als_peers import SOLVERS

    parser = argparse.ArgumentParser()
    parser.add_argument("--work", nargs=3)
    parser.add_argument("--sizes", nargs="*", default=list(SIZES))
    parser.add_argument("--threads", nargs="*", type=int, default=[1, 2])
    parser.add_argument("--repeats", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.work:
        size, solver, threads = arguments.work
        work(size, solver, int(threads))
        return
    cells = [(size, threads) for size in arguments.sizes for threads in arguments.threads]
    results = {(*cell, solver): [] for cell in cells for solver in SOLVERS}
    for repeat in range(arguments.repeats):
        for size, threads, solver in results:
            results[size, threads, solver].append(measure(size, solver, threads))
        print(f"round {repeat + 1} of {arguments.repeats} done", file=sys.stderr)
    write(cells, list(SOLVERS), results, arguments.repeats)


def write(cells, solvers, results, repeats):
    """Write build/bench/als.json and print a Markdown table of seconds, ratios and losses."""
    peers = solvers[1:]
    rows = []
    print(
        "| size | threads | "
        + " | ".join([f"{solvers[0]} ms", *(f"{name} ms (ratio)" for name in peers)])
        + " |"
    )
    print("|---|---|" + "---|" * len(solvers))
    for size, threads in cells:
        found = {solver: results[size, threads, solver] for solver in solvers}
        seconds = {name: statistics.median(one["seconds"] for one in all_) for name, all_ in found.items()}
        ours = seconds[solvers[0]]
        ratio = {name: seconds[name] / ours for name in peers}
        rows.append(
            {
                "work": f"ALS, {FACTORS} factors, regularization {REGULARIZATION:g}",
                "size": size,
                "threads": threads,
                "unit": "seconds per iteration",
                "ours": ours,
                "peers": {name: seconds[name] for name in peers},
                "ratio": ratio,
                "iterations": ITERATIONS[size],
                "loss": {name: all_[0]["loss"] for name, all_ in found.items()},
                "peak_mb": {name: max(one["peak_mb"] for one in all_) for name, all_ in found.items()},
                "sha256": found[solvers[0]][0]["sha256"],
            }
        )
        cells_of_row = [
            f"{ours * 1e3:.1f}",
            *(f"{seconds[name] * 1e3:.1f} ({ratio[name]:.1f}×)" for name in peers),
        ]
        print(f"| {size} | {threads} | " + " | ".join(cells_of_row) + " |")
    print("\n| size | threads | loss: " + " | ".join(solvers) + " |\n|---|---|" + "---|" * len(solvers))
    for row in rows:
        best = min(row["loss"].values())
        shown = [f"{row['loss'][name]:.6g} (+{row['loss'][name] / best - 1:.2%})" for name in solvers]
        print(f"| {row['size']} | {row['threads']} | " + " | ".join(shown) + " |")
    by_size = {}
    for row in rows:
        by_size.setdefault(row["size"], set()).add(json.dumps(row["sha256"]))
    for size, hashes in by_size.items():
        print(f"{size}: {'the same' if len(hashes) == 1 else 'DIFFERENT'} SHA-256 at every number of threads")
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    document = {"machine": machine, "command": COMMAND, "repeats": repeats, "rows": rows}
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "als.json").write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
