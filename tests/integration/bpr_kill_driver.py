"""Trains BPR in a child process, kills it at a random point, and again, until a child comes to the end.

Prints {"kills": n, "sha256": ..., "resumed": ...}. Children are forked from a parent that imported everything
and never ran a parallel kernel (OpenMP does not survive a fork), so that twenty kills take seconds.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit"))

from shops import pools_of, random_positives

from recsys.cf.models.base import FitControl
from recsys.cf.models.bpr import fit_bpr
from recsys.cf.models.checkpoint import StoreCheckpoints
from recsys.config.schema import BprConfig
from recsys.storage.local import LocalStore

CONFIG = BprConfig(
    factors=16, epochs=400, checkpoint_every=2, validate_every=3, patience=400, negative_sampling="adaptive"
)


def train(store, started):
    """Run or go on with the fit; write a byte to ``started`` when the first epoch of this process is done."""
    pools = pools_of(random_positives(1500, 200, 8, seed=1))

    def on_progress(_row):
        if started is not None:
            os.write(started, b".")

    def validate(factors):
        return {"recall@10": 0.0, "ndcg@10": float(abs(factors.item_factors).mean())}

    checkpoints = StoreCheckpoints(LocalStore(store), "runs/r/bpr/checkpoints")
    control = FitControl(on_progress=on_progress, checkpoints=checkpoints, threads=lambda: 2)
    fit = fit_bpr(pools, CONFIG, seed=3, validate=validate, control=control)
    return {"sha256": fit.factors.sha256(), "resumed": fit.resumed_from, "epochs": len(fit.history)}


def child(store, report):
    """Train in a forked process; return (pid, read end of the pipe that tells of progress)."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        report.write_text(json.dumps(train(store, writing)))
        os._exit(0)
    os.close(writing)
    return pid, reading


def main(directory, wanted_kills, seed):
    """Kill ``wanted_kills`` times, then let the fit end."""
    draw, kills = random.Random(seed), 0
    report = directory / "report.json"
    while True:
        pid, reading = child(directory / "store", report)
        os.read(reading, 1)  # the first epoch of this child is done
        if kills < wanted_kills:
            time.sleep(draw.uniform(0, 0.05))
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        os.close(reading)
        if os.WIFSIGNALED(status):
            kills += 1
        else:
            break
    sys.stdout.write(json.dumps({"kills": kills, **json.loads(report.read_text())}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
