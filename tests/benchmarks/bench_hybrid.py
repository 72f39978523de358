"""Speed and memory of the hybrid model beside our BPR kernel: `python tests/benchmarks/bench_hybrid.py`.

Million triplets per second, sampling included, 64 factors, embeddings of 384 dimensions; every measurement is a
process of its own. Sizes are demo shops; writes build/bench/hybrid.json.
"""

import argparse
import json
import os
import platform
import resource
import statistics
from pathlib import Path

from bench_bpr import OUT, train_matrix
from own_process import measure_in_own_process

EPOCHS = {"real": 6, "spec": 2, "10 x spec": 1}
BATCHES = (1024, 4096, 16384)
DIMENSIONS = 384
COMMAND = "python tests/benchmarks/bench_hybrid.py"


def work(size, trainer, threads):
    """Measure one cell in this process and print it as JSON; ``trainer`` is bpr or a batch size."""
    import numpy as np
    from bpr_peers import pools_of

    from recsys.cf.embeddings.align import AlignedEmbeddings
    from recsys.cf.models.base import FitControl
    from recsys.cf.models.bpr import fit_bpr
    from recsys.cf.models.hybrid import fit_hybrid
    from recsys.config.schema import BprConfig, HybridConfig
    from recsys.planning.memory import hybrid_bytes

    train = train_matrix(size)
    n_users, n_items = train.shape
    pools, control = pools_of(train), FitControl(threads=lambda: threads)
    if trainer == "bpr":
        config = BprConfig(epochs=EPOCHS[size] + 1, negative_sampling="uniform", learning_rate=0.01)
        fit, predicted = fit_bpr(pools, config, seed=1, control=control), 0
        before = 0
    else:
        config = HybridConfig(epochs=EPOCHS[size] + 1, batch_size=int(trainer))
        vectors = np.random.default_rng(0).standard_normal((n_items, DIMENSIONS), dtype=np.float32)
        known = np.ones(n_items, dtype=bool)
        embeddings = AlignedEmbeddings(vectors, known, "random", "1", (), 0)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        fit = fit_hybrid(pools, embeddings, config, seed=1, control=control)
        predicted = hybrid_bytes(n_users, n_items, pools.n_positives, DIMENSIONS, config)
    measured = fit.history[1:]  # the first epoch compiles and warms up
    rate = sum(row["triplets"] for row in measured) / sum(row["seconds"] for row in measured)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    more = {"peak_mb": peak / 1024, "before_mb": before / 1024, "predicted_mb": predicted / 2**20}
    print(json.dumps({"rate": rate, **more}))


def measure(size, trainer, threads):
    """Return the JSON of one measurement in a fresh process."""
    return measure_in_own_process(__file__, size, trainer, threads)


def main():
    """Measure everything, write the JSON, print the table of medians."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", nargs=3)
    parser.add_argument("--sizes", nargs="*", default=list(EPOCHS))
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments.work[0], arguments.work[1], int(arguments.work[2]))
        return
    trainers = [*map(str, BATCHES), "bpr"]
    cells = [(size, threads) for size in arguments.sizes for threads in (1, 2)]
    results = {(cell, trainer): [] for cell in cells for trainer in trainers}
    for _ in range(arguments.repeats):
        for (size, threads), trainer in results:
            results[(size, threads), trainer].append(measure(size, trainer, threads))
    rows = []
    head = " | ".join(f"hybrid M/s, batch {batch}" for batch in BATCHES)
    print(
        f"| size | threads | {head} | BPR kernel M/s | MB of the fit at {BATCHES[1]}: measured / predicted |"
    )
    print("|---|---|" + "---|" * (len(BATCHES) + 2))
    for cell in cells:
        rate = {
            trainer: statistics.median(one["rate"] for one in results[cell, trainer]) / 1e6
            for trainer in trainers
        }
        typical = results[cell, str(BATCHES[1])][0]
        used = typical["peak_mb"] - typical["before_mb"]
        rows.append(
            {
                "work": "hybrid",
                "size": cell[0],
                "threads": cell[1],
                "unit": "million triplets per second, sampling included",
                "ours": rate[str(BATCHES[1])],
                "peers": {"bpr kernel": rate["bpr"]},
                "ratio": {"bpr kernel": rate[str(BATCHES[1])] / rate["bpr"]},
                "by_batch": rate,
                "memory_mb": {"measured": used, "predicted": typical["predicted_mb"]},
            }
        )
        cells_of_row = " | ".join(f"{rate[trainer]:.2f}" for trainer in trainers)
        print(f"| {cell[0]} | {cell[1]} | {cells_of_row} | {used:.0f} / {typical['predicted_mb']:.0f} |")
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    document = {"machine": machine, "command": COMMAND, "repeats": arguments.repeats, "rows": rows}
    Path(OUT / "hybrid.json").write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
