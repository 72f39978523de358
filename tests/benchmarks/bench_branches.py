"""What ALS and BPR cost each other when they train side by side, as in the flow: `make bench-branches`.

The same two fits (default ALS, original BPR, no validation) in turns: one after the other with all threads, side by
side with shares of the threads, and side by side with all threads for each. Writes build/bench/branches.json.
"""

import argparse
import json
import os
import platform
import statistics
import threading
import time

from bench_bpr import OUT, train_matrix
from bpr_peers import pools_of

from recsys.cf.models.als import fit_als
from recsys.cf.models.base import FitControl
from recsys.cf.models.bpr import fit_bpr
from recsys.cf.models.threads import ThreadShares
from recsys.config.schema import AlsConfig, BprConfig
from recsys.config.settings import available_threads

COMMAND = "python tests/benchmarks/bench_branches.py"
ITERATIONS, EPOCHS = {"real": 60, "spec": 60, "10 x spec": 8}, {"real": 50, "spec": 25, "10 x spec": 3}


def fits(size):
    """Return {branch: function of the control that fits it}; both take some seconds."""
    train = train_matrix(size)
    pools, confidence = pools_of(train), train * 11.0
    als = AlsConfig(preset="default", iterations=ITERATIONS[size])
    bpr = BprConfig(preset="original", epochs=EPOCHS[size])
    return {
        "als": lambda control: fit_als(confidence, als, seed=1, control=control),
        "bpr": lambda control: fit_bpr(pools, bpr, seed=1, control=control),
    }


def run(branches, threads):
    """Return the seconds of each branch, all started together with a function that gives their threads."""
    seconds = {}

    def timed(name, fit):
        started = time.perf_counter()
        with threads.join():
            fit(FitControl(threads=threads.share))
        seconds[name] = time.perf_counter() - started

    workers = [threading.Thread(target=timed, args=branch) for branch in branches.items()]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return seconds


class AllThreads(ThreadShares):
    """Gives every branch all threads, to show what that costs."""

    def share(self):
        """Return all threads."""
        return available_threads()


def measure(branches):
    """Return {way: {branch or "both": seconds}} of one round."""
    total = available_threads()
    alone = {name: run({name: fit}, ThreadShares(total))[name] for name, fit in branches.items()}
    found = {"one after the other": {**alone, "both": sum(alone.values())}}
    for way, threads in (
        ("side by side, shares", ThreadShares),
        ("side by side, all threads each", AllThreads),
    ):
        started = time.perf_counter()
        seconds = run(branches, threads(total))
        found[way] = {**seconds, "both": time.perf_counter() - started}
    return found


def main():
    """Measure, print a table, write the JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", nargs="*", default=["real", "spec"])
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    rows = []
    print("| size | way | ALS s (slowdown) | BPR s (slowdown) | both done after s |")
    print("|---|---|---|---|---|")
    for size in arguments.sizes:
        branches = fits(size)
        measure(branches)  # compiles, warms caches
        rounds = [measure(branches) for _ in range(arguments.repeats)]
        ways = {
            way: {
                what: statistics.median(one[way][what] for one in rounds) for what in ("als", "bpr", "both")
            }
            for way in rounds[0]
        }
        alone = ways["one after the other"]
        for way, seconds in ways.items():
            slow = {name: seconds[name] / alone[name] for name in ("als", "bpr")}
            rows.append({
                "work": f"ALS and BPR {way}", "size": size, "threads": available_threads(), "unit": "s",
                "ours": seconds["both"], "peers": {}, "ratio": {}, "seconds": seconds, "slowdown": slow,
            })  # fmt: skip
            cells = [f"{seconds[name]:.2f} ({slow[name]:.2f}×)" for name in ("als", "bpr")]
            print(f"| {size} | {way} | {cells[0]} | {cells[1]} | {seconds['both']:.2f} |", flush=True)
    OUT.mkdir(parents=True, exist_ok=True)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    document = {"machine": machine, "command": COMMAND, "repeats": arguments.repeats, "rows": rows}
    (OUT / "branches.json").write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
