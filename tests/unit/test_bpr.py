"""The BPR trainer: it learns, stops, resumes and reproduces."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from shops import checkerboard, pools_of, random_positives

from recsys.cf.models.base import FitControl
from recsys.cf.models.bpr import fit_bpr, learning_rate_at, n_blocks
from recsys.cf.models.checkpoint import StoreCheckpoints
from recsys.config.schema import BprConfig
from recsys.errors import DivergedError, TrainingCancelled
from recsys.storage.memory import MemoryStore

UNIFORM = {"negative_sampling": "uniform"}


def test_learns_a_checkerboard():
    config = BprConfig(factors=8, epochs=40, learning_rate=0.1, samples_per_epoch=10, blocks=8, **UNIFORM)
    fit = fit_bpr(pools_of(checkerboard(20)), config, seed=1)
    U, V = fit.factors.user_factors, fit.factors.item_factors
    scores = U @ V.T
    same = np.add.outer(np.arange(20), np.arange(20)) % 2 == 0
    off_diagonal = same & ~np.eye(20, dtype=bool)
    assert scores[off_diagonal].min() > scores[~same].max()
    assert fit.history[-1]["loss"] < 0.2 < 0.4 < fit.history[0]["loss"]
    assert fit.history[-1]["ordered_share"] > 0.95


def test_same_seed_same_bytes_at_1_and_2_threads():
    pools = pools_of(random_positives(400, 90, 6, seed=1))
    config = BprConfig(factors=20, epochs=4, blocks=4, **UNIFORM)
    hashes = [
        fit_bpr(pools, config, seed=3, control=FitControl(threads=lambda t=threads: t)).factors.sha256()
        for threads in (1, 2, 2)
    ]
    assert hashes[0] == hashes[1] == hashes[2]
    assert fit_bpr(pools, config, seed=4).factors.sha256() != hashes[0]


@pytest.mark.parametrize("stop_after", [1, 2, 5, 6, 7])
def test_resumed_fit_ends_with_the_same_bytes_and_history(stop_after):
    pools = pools_of(random_positives(100, 40, 5, seed=1))
    config = BprConfig(factors=8, epochs=8, blocks=4, checkpoint_every=2, validate_every=3, **UNIFORM)

    def validate(factors):
        return {"recall@10": 0.0, "ndcg@10": float(np.abs(factors.user_factors).mean())}

    whole = fit_bpr(pools, config, seed=1, validate=validate)
    checkpoints = StoreCheckpoints(MemoryStore(), "runs/r/bpr/checkpoints")
    seen = []
    control = FitControl(
        on_progress=seen.append, cancelled=lambda: len(seen) == stop_after, checkpoints=checkpoints
    )
    with pytest.raises(TrainingCancelled):
        fit_bpr(pools, config, seed=1, validate=validate, control=control)
    resumed = fit_bpr(pools, config, seed=1, validate=validate, control=FitControl(checkpoints=checkpoints))
    assert resumed.resumed_from == (stop_after // 2 * 2 or None)
    assert resumed.factors.sha256() == whole.factors.sha256()
    timing = {"seconds", "peak_memory_bytes"}
    for a, b in zip(resumed.history, whole.history, strict=True):
        assert {k: v for k, v in a.items() if k not in timing} == {
            k: v for k, v in b.items() if k not in timing
        }


def test_early_stop_restores_the_best_epoch():
    pools = pools_of(random_positives(50, 30, 5, seed=1))
    kept = []

    def validate(factors):
        kept.append(factors.sha256())
        return {"recall@10": 0.0, "ndcg@10": [0.1, 0.3, 0.2, 0.2, 0.2, 0.9][len(kept) - 1]}

    config = BprConfig(factors=4, epochs=50, validate_every=2, patience=3, **UNIFORM)
    fit = fit_bpr(pools, config, seed=1, validate=validate)
    assert fit.best_iteration == 4
    assert len(fit.history) == 10
    assert fit.stopped_early
    assert fit.factors.sha256() == kept[1]


def test_step_schedule_is_the_originals():
    config = BprConfig(learning_rate=0.05)
    assert [learning_rate_at(config, epoch) for epoch in (0, 9, 10, 25)] == pytest.approx(
        [0.05, 0.05, 0.045, 0.05 * 0.81]
    )
    constant = BprConfig(learning_rate=0.05, learning_rate_schedule="constant")
    assert learning_rate_at(constant, 49) == 0.05


def test_divergence_is_an_error_that_says_what_to_change():
    pools = pools_of(random_positives(50, 30, 5, seed=1))
    config = BprConfig(factors=8, learning_rate=10, regularization=5.0, epochs=30, **UNIFORM)
    with pytest.raises(DivergedError, match=r"lower bpr\.learning_rate"):
        fit_bpr(pools, config, seed=1)


def test_history_tells_the_realised_shares_and_hardness():
    positives = random_positives(60, 40, 5, seed=1)
    implicit = [[i for i in range(5) if i not in positives[u].indices] for u in range(60)]
    config = BprConfig(factors=8, epochs=2, samples_per_epoch=50, negative_sampling="hard_mixed")
    row = fit_bpr(pools_of(positives, implicit=implicit), config, seed=1).history[0]
    assert row["share_implicit"] == pytest.approx(0.3, abs=0.02)
    assert row["share_uniform"] == pytest.approx(0.7, abs=0.02)
    assert 0 < row["hardness"] <= 0.5
    assert row["triplets"] == positives.nnz * 50


def test_compiled_and_interpreted_kernels_agree():
    script = (
        "import sys; sys.path.insert(0, 'tests/unit')\n"
        "from shops import pools_of, random_positives\n"
        "from recsys.cf.models.bpr import fit_bpr\n"
        "from recsys.config.schema import BprConfig\n"
        "pools = pools_of(random_positives(12, 9, 3, seed=1))\n"
        "config = BprConfig(factors=3, epochs=2, samples_per_epoch=2, blocks=2, init_std=0.3)\n"
        "fit = fit_bpr(pools, config, seed=1)\n"
        "print(fit.history[-1]['triplets'], *fit.factors.user_factors.ravel())\n"
    )
    outputs = []
    for disabled in ("0", "1"):
        environment = {**os.environ, "NUMBA_DISABLE_JIT": disabled, "PYTHONWARNINGS": "ignore"}
        done = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            env=environment,
            cwd=Path(__file__).resolve().parents[2],
            check=True,
        )
        outputs.append(np.array(done.stdout.split(), dtype=np.float64))
    np.testing.assert_allclose(outputs[0], outputs[1], atol=1e-5)


@pytest.mark.parametrize(
    ("n_positives", "expected"), [(100, 2), (30_000, 2), (300_000, 4), (3_000_000, 8), (10**12, 64)]
)
def test_blocks_follow_the_size_of_the_data(n_positives, expected):
    assert n_blocks(n_positives, BprConfig(samples_per_epoch=5)) == expected


def test_blocks_of_the_configuration_win_and_parts_of_an_epoch_are_smaller():
    assert n_blocks(10**9, BprConfig(blocks=3)) == 3
    config = BprConfig(negative_sampling="adaptive", samples_per_epoch=5, adaptive_refreshes=5)
    assert n_blocks(300_000, config) == 2
