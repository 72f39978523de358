"""A fit by TorchRec from the outside: resumed, killed, cancelled, diverged, out of memory, on two hosts."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from sharded_fits import little_config, little_pools, needs_torchrec, sharded_fit

from recsys.cf.models import torchrec_fit
from recsys.cf.models.base import FitControl
from recsys.cf.models.checkpoint import StoreCheckpoints
from recsys.cf.models.torchrec_fit import fit_bpr_torchrec
from recsys.cf.models.torchrec_ranks import command
from recsys.config.schema import TorchRecConfig
from recsys.errors import DivergedError, NotEnoughMemory, TrainingCancelled, TrainingError, WorkerLost
from recsys.storage.memory import MemoryStore

pytestmark = needs_torchrec
LONG = {"epochs": 6, "checkpoint_every": 2, "validate_every": 3, "patience": 9}


def by_spread(factors):
    return {"recall@10": 0.0, "ndcg@10": float(np.abs(factors.item_factors).mean())}


def ranks_at_work():
    """Return the processes of ranks that descend from this one."""
    found = []
    for process in psutil.Process().children(recursive=True):
        line = process.cmdline()
        if "torch.distributed.run" not in line and any("torchrec_worker" in part for part in line):
            found.append(process)
    return found


def test_rank_killed_is_a_lost_worker_and_the_rerun_ends_with_the_same_bytes():
    pools, config = little_pools(), little_config(**LONG)
    whole = sharded_fit(pools, config, validate=by_spread)
    checkpoints, killed = StoreCheckpoints(MemoryStore(), "runs/r/bpr/checkpoints"), []

    def kill_one(row):
        if row["epoch"] == 3:  # it waits for the word after its validation
            killed.extend(ranks_at_work())
            os.kill(killed[-1].pid, signal.SIGKILL)

    with pytest.raises(WorkerLost, match="after epoch 3") as lost:
        sharded_fit(pools, config, validate=by_spread, on_progress=kill_one, checkpoints=checkpoints)
    assert lost.value.retryable
    assert "signal 9" in str(lost.value)
    assert len(killed) == 2
    assert not any(process.is_running() for process in killed)
    rerun = sharded_fit(pools, config, validate=by_spread, checkpoints=checkpoints)
    assert rerun.resumed_from == 2
    assert rerun.factors.sha256() == whole.factors.sha256()
    assert [row["loss"] for row in rerun.history] == [row["loss"] for row in whole.history]
    assert rerun.best_iteration == whole.best_iteration


def test_cancelled_in_the_middle_of_an_epoch(caplog):
    config = little_config(epochs=1, samples_per_epoch=10_000)  # minutes
    asked = []

    def cancelled():
        if "ranks of TorchRec are at work" in caplog.text:
            asked.append(time.monotonic())
        return bool(asked)

    with caplog.at_level("INFO"), pytest.raises(TrainingCancelled):
        sharded_fit(little_pools(), config, cancelled=cancelled)
    assert ranks_at_work() == []
    assert time.monotonic() - asked[0] < 60


def test_patience_ends_the_ranks_early():
    config = little_config(epochs=50, validate_every=1, patience=2)
    fit = sharded_fit(little_pools(), config, ranks=1, validate=lambda _: {"ndcg@10": 0.5, "recall@10": 0.5})
    assert (len(fit.history), fit.best_iteration, fit.stopped_early) == (3, 1, True)


def test_divergence_and_want_of_memory_are_told_as_such(monkeypatch):
    with pytest.raises(DivergedError, match=r"lower bpr\.learning_rate"):
        sharded_fit(little_pools(), little_config(learning_rate=10.0, init_std=30.0, epochs=20), ranks=1)
    real = torchrec_fit.Job
    monkeypatch.setattr(torchrec_fit, "Job", lambda **facts: real(**{**facts, "n_users": 10**12}))
    with pytest.raises(NotEnoughMemory, match=r"torchrec\.hosts"):
        sharded_fit(little_pools(), little_config(), ranks=1)


def test_a_defect_in_a_rank_is_told_and_not_run_again(monkeypatch):
    real = torchrec_fit.Job
    monkeypatch.setattr(torchrec_fit, "Job", lambda **facts: real(**{**facts, "model": "nothing"}))
    with pytest.raises(TrainingError, match="KeyError: 'nothing'") as told:
        sharded_fit(little_pools(), little_config(), ranks=2)
    assert not told.value.retryable


def test_ranks_end_when_their_driver_is_killed(tmp_path):
    script = (
        "from sharded_fits import *\n"
        "sharded_fit(little_pools(), little_config(epochs=100_000),"
        " on_progress=lambda row: print(row['epoch'], flush=True))"
    )
    environment = {**paths(), "TMPDIR": str(tmp_path)}  # its working directory stays behind
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment) as driver:
        assert driver.stdout.readline()
        ranks = psutil.Process(driver.pid).children(recursive=True)
        driver.kill()
    _, alive = psutil.wait_procs(ranks, timeout=60)
    assert len(ranks) >= 3, "torchrun and two ranks"
    assert alive == []


def test_two_torchruns_meet_as_two_hosts_would(tmp_path, free_port):
    settings = TorchRecConfig(
        ranks=1, hosts=2, batch_size=64, rendezvous=f"localhost:{free_port}", shared_directory=str(tmp_path)
    )
    others = []

    def start_other(files, job, *rest):
        others.append(subprocess.Popen(command(settings, files), env=paths(), stderr=subprocess.DEVNULL))
        return follow(files, job, *rest)

    follow = torchrec_fit.follow
    pools, config = little_pools(), little_config()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torchrec_fit, "follow", start_other)
        fit = fit_bpr_torchrec(pools, config, settings=settings, seed=3, control=FitControl())
    assert others[0].wait(120) == 0
    alone = sharded_fit(pools, config, ranks=1)
    np.testing.assert_allclose(fit.factors.user_factors, alone.factors.user_factors, atol=2e-5)


def paths():
    """Return this process's environment with everything that it can import."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


@pytest.fixture
def free_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
