"""The native ALS as a fit: the same bytes at any number of threads and after a resume, early stop, divergence."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from als_reference import dense_of, interactions, means
from scipy.sparse import csr_matrix
from scipy.sparse import random as random_matrix

from recsys.cf.models.als_confidence import continuous_preferences, scale_confidence
from recsys.cf.models.als_native import fit_als_native
from recsys.cf.models.als_objective import Prior
from recsys.cf.models.als_train import train_als
from recsys.cf.models.base import FitControl
from recsys.cf.models.checkpoint import StoreCheckpoints
from recsys.config.schema import AlsConfig
from recsys.errors import ConfigError, DivergedError, TrainingCancelled
from recsys.storage.memory import MemoryStore


def native(**settings):
    return AlsConfig(**{"solver": "native", "factors": 6, "regularization": 0.7, "iterations": 4, **settings})


def threads(n):
    return FitControl(threads=lambda: n)


@pytest.mark.parametrize("exponent", [0.0, 1.0])
def test_same_seed_same_bytes_at_any_number_of_threads_and_in_two_runs(exponent):
    user_items = interactions(3000, 200, 60)
    config = native(factors=40, regularization_exponent=exponent)
    prior = Prior(item_means=means(200, 40))
    hashes = [
        fit_als_native(user_items, config, seed=5, prior=prior, control=threads(n)).factors.sha256()
        for n in (1, 2, 2)
    ]
    assert hashes[0] == hashes[1] == hashes[2]
    assert fit_als_native(user_items, config, seed=6, prior=prior).factors.sha256() != hashes[0]


def test_resumed_fit_ends_with_the_same_bytes():
    user_items = interactions(100, 40)
    config = native(iterations=9, checkpoint_every=3)
    prior = Prior(item_means=means(40, 6))
    whole = fit_als_native(user_items, config, seed=1, prior=prior)
    checkpoints = StoreCheckpoints(MemoryStore(), "runs/r/als/checkpoints")
    seen = []
    control = FitControl(
        on_progress=seen.append, cancelled=lambda: seen[-1]["iteration"] == 7, checkpoints=checkpoints
    )
    with pytest.raises(TrainingCancelled):
        fit_als_native(user_items, config, seed=1, prior=prior, control=control)
    resumed = fit_als_native(
        user_items, config, seed=1, prior=prior, control=FitControl(checkpoints=checkpoints)
    )
    assert resumed.resumed_from == 6
    assert resumed.factors.sha256() == whole.factors.sha256()
    assert [row["loss"] for row in resumed.history] == [row["loss"] for row in whole.history]


def test_early_stop_returns_the_best_factors():
    kept = []

    def validate(factors):
        kept.append(factors.sha256())
        return {"recall@10": 0.0, "ndcg@10": [0.1, 0.3, 0.2, 0.2, 0.2][len(kept) - 1]}

    fit = fit_als_native(interactions(), native(iterations=15, patience=3), seed=1, validate=validate)
    assert (fit.best_iteration, len(fit.history), fit.stopped_early) == (2, 5, True)
    assert fit.factors.sha256() == kept[1]


def test_normalised_rows_have_length_one():
    fit = fit_als_native(interactions(silent=False), native(normalize=True), seed=1)
    lengths = np.linalg.norm(fit.factors.user_factors, axis=1)
    likes = (interactions(silent=False).toarray() > 0).any(axis=1)
    np.testing.assert_allclose(lengths[likes], 1, rtol=1e-5)
    assert not lengths[~likes].any()  # who likes nothing has no direction


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_divergence_is_an_error_that_says_what_to_change(value):
    user_items = interactions()
    user_items.data[3] = value
    with pytest.raises(DivergedError, match=r"lower als\.alpha"):
        fit_als_native(user_items, native(), seed=1)


def test_the_data_is_never_written_to():
    user_items = interactions()
    before = user_items.data.copy()
    for array in (user_items.data, user_items.indices, user_items.indptr):
        array.flags.writeable = False
    fit_als_native(user_items, native(), seed=1)
    assert (user_items.data == before).all()


def test_continuous_preferences_are_the_confidence_in_0_to_1():
    random = np.random.default_rng(0)
    confidence = interactions()
    confidence.data = random.uniform(1, 6, confidence.nnz).astype(np.float32)
    positives = csr_matrix((np.ones(confidence.nnz, np.float32), confidence.indices, confidence.indptr))
    config = native(preference="continuous", iterations=300, patience=300)
    liked = continuous_preferences(confidence)
    np.testing.assert_allclose(liked, (confidence.data - 1) / 5, rtol=1e-6)
    user_items = scale_confidence(confidence, positives, config)
    assert (user_items.data > 0).all()
    fit = train_als(confidence, positives, config, seed=1)
    dense = dense_of(user_items, config, liked)
    assert fit.history[-1]["loss"] == pytest.approx(dense.loss(fit.factors), rel=1e-5)
    assert np.abs(dense.gradients(fit.factors)[0]).max() < 1e-2


def test_the_door_chooses_the_solver_and_refuses_what_it_cannot():
    confidence = interactions()
    confidence.data = np.abs(confidence.data) / 2 + 0.5
    fits = {
        solver: train_als(
            confidence,
            confidence,
            AlsConfig(
                solver=solver, factors=4, iterations=60, patience=60, regularization=1.0, use_gpu="false"
            ),
            seed=1,
        )
        for solver in ("implicit", "native")
    }
    assert fits["native"].history[-1]["loss"] == pytest.approx(fits["implicit"].history[-1]["loss"], rel=2e-2)
    with pytest.raises(ConfigError, match=r"bert\.anchored needs solver native"):
        train_als(confidence, confidence, AlsConfig(), seed=1, anchored=True)
    with pytest.raises(ConfigError, match="needs embeddings"):
        train_als(confidence, confidence, AlsConfig(solver="native"), seed=1, anchored=True)
    searched = AlsConfig().model_copy(update={"preference": "continuous"})
    with pytest.raises(ConfigError, match="continuous needs solver native"):
        train_als(confidence, confidence, searched, seed=1)


_TINY = """
import json
from als_reference import interactions
from recsys.cf.models.als_native import fit_als_native
from recsys.config.schema import AlsConfig
found = []
for exponent in (0.0, 1.0):
    config = AlsConfig(solver="native", factors=3, regularization=0.7, iterations=2, regularization_exponent=exponent)
    fit = fit_als_native(interactions(24, 12, 5), config, seed=1)
    found += [fit.factors.user_factors.tolist(), fit.factors.item_factors.tolist(), [[fit.history[-1]["loss"]]]]
print(json.dumps(found))
"""


def test_interpreted_and_compiled_code_agree():
    def run(**environment):
        done = subprocess.run(
            [sys.executable, "-W", "error::RuntimeWarning", "-c", _TINY],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        return json.loads(done.stdout)

    for interpreted, compiled in zip(run(NUMBA_DISABLE_JIT="1"), run(NUMBA_NUM_THREADS="1"), strict=True):
        np.testing.assert_allclose(interpreted, compiled, rtol=1e-3, atol=1e-5)


def test_rounding_next_to_no_regularization_is_not_taken_for_divergence():
    matrix = random_matrix(900, 250, density=0.03, random_state=1, format="csr", dtype=np.float32)
    matrix.data[:] = 101.0
    config = AlsConfig(
        preset="default", solver="native", factors=256, regularization=1e-4, iterations=25, patience=25
    )
    losses = [float(row["loss"]) for row in fit_als_native(matrix, config, seed=1).history]
    assert len(losses) == 25
    assert max(losses[20:]) < losses[0] / 2
