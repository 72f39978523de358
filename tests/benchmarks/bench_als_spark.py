"""Spark's ALS beside our native solver and `implicit`: seconds per iteration, and the loss of both: `make bench-spark`.

Spark's seconds are the slope between a short and a long fit of one session, after a first fit that warms Java up;
the time a session takes to start is told apart. Losses are those of one objective (als_objective with
regularization_counts: positives), computed by one function, of runs to convergence. Every measurement is a process
of its own. Sizes are demo shops, and hasaki where ../shared/data is. Writes build/bench/als_spark.json.
"""

import argparse
import json
import logging
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from bench_bpr import OUT
from own_process import ROOT, measure_in_own_process
from scipy.sparse import csr_matrix

FACTORS, REGULARIZATION = 64, 50.0
LOSS_REGULARIZATION = 3.0  # with 50 the sparse shops' optimum is zero, where every solver agrees
ENGINES = ("spark", "native", "implicit-cg", "implicit-cholesky")
ITERATIONS = {"real": (5, 20), "spec": (3, 9)}
CONVERGED = {"hasaki": 60, "real": 60}
COMMAND = "python tests/benchmarks/bench_als_spark.py"


def confidences(size):
    """Return (confidence, positives) of a demo shop's train positives, or of hasaki's train rows."""
    if size == "hasaki":
        return hasaki()
    from bench_bpr import train_matrix

    matrix = csr_matrix(train_matrix(size), dtype=np.float32)
    confidence = matrix.copy()
    confidence.data = np.random.default_rng(0).uniform(4.5, 6, matrix.nnz).astype(np.float32)
    return confidence, matrix


def hasaki():
    """Return both matrices of the real set, disliked pairs included."""
    from recsys.cf.data.load import load_processed_data
    from recsys.cf.data.prepare import prepare
    from recsys.config.schema import DataConfig
    from recsys.storage.local import LocalStore

    raw = ROOT.parent / "shared" / "data" / "hasaki" / "interactions.parquet"
    with tempfile.TemporaryDirectory() as folder:
        store = LocalStore(Path(folder))
        prepare(store, raw, None, DataConfig(), seed=1)
        data = load_processed_data(store)
        return csr_matrix(data.X_train_confidence, copy=True), csr_matrix(data.X_train_binary, copy=True)


def settings(iterations, **changes):
    """Return the configuration of a fit."""
    from recsys.config.schema import AlsConfig

    fixed = {"factors": FACTORS, "regularization": REGULARIZATION, "alpha": 10.0, "iterations": iterations}
    return AlsConfig(**{**fixed, **changes})


def native_settings(iterations, **changes):
    """Return the native solver's settings of Spark's objective."""
    return settings(
        iterations,
        solver="native",
        regularization_exponent=1.0,
        regularization_counts="positives",
        patience=iterations,
        **changes,
    )


def spark_section():
    """Return two cores of this machine as the cluster."""
    from recsys.config.schema import SparkConfig

    return SparkConfig(master="local[2]", partitions=4)


def time_spark(size):
    """Return seconds per iteration and of the session's start."""
    from recsys.cf.models.als_train import train_als
    from recsys.engines.spark_session import spark_session

    confidence, positives = confidences(size)
    started = time.perf_counter()
    with spark_session(spark_section(), "bench"):
        start = time.perf_counter() - started
        few, many = ITERATIONS[size]
        seconds = {
            n: train_als(confidence, positives, settings(n), seed=0, spark=spark_section()).history[0][
                "seconds"
            ]
            for n in (few, few + 1, many)  # the first fit warms up
        }
    return {
        "seconds": (seconds[many] - seconds[few + 1]) / (many - few - 1),
        "start": start,
        "fit": seconds[many],
    }


def time_local(size, engine):
    """Return seconds per iteration of a solver on this machine, its first iteration left out."""
    from als_peers import SOLVERS

    from recsys.cf.models.als_confidence import scale_confidence
    from recsys.cf.models.als_train import train_als
    from recsys.cf.models.base import FitControl

    confidence, positives = confidences(size)
    if engine == "native":
        control = FitControl(threads=lambda: 2)
        fit = train_als(confidence, positives, native_settings(11), seed=0, control=control)
        return {"seconds": statistics.median(row["seconds"] for row in fit.history[1:])}
    user_items = scale_confidence(confidence, positives, settings(11))
    seconds, _ = SOLVERS[engine](
        user_items, factors=FACTORS, regularization=REGULARIZATION, iterations=11, threads=2, seed=0
    )
    return {"seconds": statistics.median(seconds[1:])}


def losses(size):
    """Return the losses of Spark, of the native solver (five times the iterations) and of zeros, of one objective."""
    from recsys.cf.models.als_confidence import scale_confidence
    from recsys.cf.models.als_loss import als_loss
    from recsys.cf.models.als_objective import positive_counts, positives_regularization
    from recsys.cf.models.als_train import train_als

    confidence, positives = confidences(size)
    n, changes = CONVERGED[size], {"regularization": LOSS_REGULARIZATION}
    fits = {
        "spark": train_als(confidence, positives, settings(n, **changes), seed=0, spark=spark_section()),
        "native": train_als(confidence, positives, native_settings(5 * n, **changes), seed=0),
    }
    user_items = scale_confidence(confidence, positives, settings(n))
    weights = positives_regularization(positive_counts(user_items), LOSS_REGULARIZATION)
    found = {name: als_loss(user_items, fit.factors, weights) for name, fit in fits.items()}
    return {**found, "zeros": float(user_items.data[user_items.data > 0].sum(dtype=np.float64))}


def work(part, size, engine):
    """Measure one cell in this process and print it as JSON."""
    if part == "time":
        print(json.dumps(time_spark(size) if engine == "spark" else time_local(size, engine)))
    else:
        print(json.dumps(losses(size)))


def main():
    """Measure everything, write the JSON, print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", nargs=3)
    parser.add_argument("--sizes", nargs="*", default=list(ITERATIONS))
    parser.add_argument("--losses", nargs="*", default=list(CONVERGED))
    arguments = parser.parse_args()
    if arguments.work:
        logging.basicConfig(level=logging.WARNING)
        work(*arguments.work)
        return
    document = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "command": COMMAND,
        "seconds": {},
        "losses": {},
    }
    print(f"| size | {' | '.join(f'{engine} s per iteration' for engine in ENGINES)} | Spark's start s |")
    print("|---|" + "---|" * (len(ENGINES) + 1))
    for size in arguments.sizes:
        found = {engine: measure("time", size, engine) for engine in ENGINES}
        document["seconds"][size] = found
        cells = [f"{found[engine]['seconds']:.3f}" for engine in ENGINES]
        print(f"| {size} | {' | '.join(cells)} | {found['spark']['start']:.1f} |")
    print("\n| size | loss of zeros | Spark's loss | native's loss | ratio - 1 |\n|---|---|---|---|---|")
    for size in arguments.losses:
        if size == "hasaki" and not (ROOT.parent / "shared" / "data").is_dir():
            print("hasaki: ../shared/data is not on this machine", file=sys.stderr)
            continue
        found = document["losses"][size] = measure("loss", size, "both")
        ratio = found["spark"] / found["native"] - 1
        print(
            f"| {size} | {found['zeros']:.6g} | {found['spark']:.6g} | {found['native']:.6g} | {ratio:+.3%} |"
        )
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "als_spark.json").write_text(json.dumps(document, indent=1))


def measure(part, size, engine):
    """Return the JSON of one measurement in a fresh process."""
    return measure_in_own_process(__file__, part, size, engine, OPENBLAS_NUM_THREADS="1")


if __name__ == "__main__":
    main()
