"""ALS against its own mathematics: the gradient is zero at the optimum, the loss equals the dense one."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from shops import checkerboard, random_positives

from recsys.cf.models.als import fit_als
from recsys.cf.models.als_confidence import scale_confidence
from recsys.cf.models.als_loss import als_loss
from recsys.cf.models.base import FitControl
from recsys.cf.models.checkpoint import StoreCheckpoints
from recsys.cf.models.device import choose_device, gpu_is_usable
from recsys.config.schema import AlsConfig
from recsys.errors import DeviceUnavailable, DivergedError, TrainingCancelled
from recsys.storage.memory import MemoryStore
from recsys.types import Factors

CPU = {"use_gpu": "false"}


def confidences(n_users=40, n_items=25, seed=1):
    """Return (confidence, positives): every third interaction is disliked."""
    observed = random_positives(n_users, n_items, 6, seed)
    random = np.random.default_rng(seed)
    confidence = observed.copy()
    confidence.data = random.uniform(4, 6, observed.nnz).astype(np.float32)
    liked = np.arange(observed.nnz) % 3 != 0
    confidence.data[~liked] = random.uniform(1, 4, (~liked).sum())
    positives = csr_matrix((liked.astype(np.float32), observed.indices, observed.indptr), observed.shape)
    positives.eliminate_zeros()
    return confidence, positives


def dense_objective(user_items, factors, regularization):
    """Return (C, P, loss) of Hu, Koren and Volinsky, equation 3, with dense float64 matrices."""
    values = user_items.toarray().astype(np.float64)
    C = np.where(values == 0, 1.0, np.abs(values))
    P = (values > 0).astype(np.float64)
    U, V = factors.user_factors.astype(np.float64), factors.item_factors.astype(np.float64)
    loss = (C * (P - U @ V.T) ** 2).sum() + regularization * ((U**2).sum() + (V**2).sum())
    return C, P, loss


@pytest.mark.parametrize("strategy", ["direct", "scaled", "legacy"])
def test_scaling_strategies(strategy):
    confidence, positives = confidences()
    config = AlsConfig(confidence_strategy=strategy, alpha=10)
    scaled = scale_confidence(confidence, positives, config)
    c = confidence.toarray()[confidence.toarray() > 0]
    expected = {"direct": c, "scaled": 1 + 10 * (c - 1) / 5, "legacy": 1 + 10 * c}[strategy]
    np.testing.assert_allclose(np.abs(scaled.toarray()[confidence.toarray() > 0]), expected, rtol=1e-6)


def test_disliked_pairs_become_negative_and_binary_likes_all():
    confidence, positives = confidences()
    threshold = scale_confidence(confidence, positives, AlsConfig()).toarray()
    observed, liked = confidence.toarray() > 0, positives.toarray() > 0
    assert (threshold[liked] > 0).all()
    assert (threshold[observed & ~liked] < 0).all()
    assert (scale_confidence(confidence, positives, AlsConfig(preference="binary")).data > 0).all()
    by_confidence = scale_confidence(confidence, positives, AlsConfig(preference_threshold=5.0)).toarray()
    assert ((by_confidence < 0) == (observed & (confidence.toarray() < 5.0))).all()


def test_scaling_never_writes_to_the_data():
    confidence, positives = confidences()
    before = confidence.data.copy()
    confidence.data.flags.writeable = False
    scale_confidence(confidence, positives, AlsConfig())
    assert (confidence.data == before).all()


def test_gradient_is_zero_at_the_optimum():
    confidence, positives = confidences()
    user_items = scale_confidence(confidence, positives, AlsConfig(alpha=3))
    config = AlsConfig(factors=5, regularization=0.5, iterations=400, **CPU)
    factors = fit_als(user_items, config, seed=3).factors
    C, P, loss = dense_objective(user_items, factors, 0.5)
    U, V = factors.user_factors.astype(np.float64), factors.item_factors.astype(np.float64)
    residual = C * (U @ V.T - P)
    gradient_U, gradient_V = residual @ V + 0.5 * U, residual.T @ U + 0.5 * V
    assert np.abs(gradient_U).max() < 2e-3
    assert np.abs(gradient_V).max() < 2e-3
    start = np.linalg.norm(C * P @ V)  # size of the gradient's terms, for scale
    assert start > 1
    assert loss < (C * P**2).sum()


def test_reported_loss_is_the_dense_one_and_falls():
    confidence, positives = confidences()
    user_items = scale_confidence(confidence, positives, AlsConfig())
    fit = fit_als(user_items, AlsConfig(factors=6, iterations=12, **CPU), seed=3)
    losses = [row["loss"] for row in fit.history]
    assert losses[-1] == pytest.approx(dense_objective(user_items, fit.factors, 0.01)[2], rel=1e-5)
    assert all(later <= earlier * (1 + 1e-4) for earlier, later in pairwise(losses))


def test_loss_of_any_factors_is_the_dense_one():
    confidence, positives = confidences()
    user_items = scale_confidence(confidence, positives, AlsConfig())
    random = np.random.default_rng(0)
    factors = Factors(
        random.normal(size=(40, 4)).astype(np.float32), random.normal(size=(25, 4)).astype(np.float32)
    )
    assert als_loss(user_items, factors, 7.0) == pytest.approx(dense_objective(user_items, factors, 7.0)[2])


def test_learns_a_checkerboard():
    board = checkerboard(20)
    fit = fit_als(board * 20, AlsConfig(factors=4, iterations=20, **CPU), seed=1)
    scores = fit.factors.user_factors @ fit.factors.item_factors.T
    same = np.add.outer(np.arange(20), np.arange(20)) % 2 == 0
    assert scores[same].min() > scores[~same].max(), "the held-out diagonal must score like its colour"


def test_same_seed_same_bytes_at_any_number_of_threads_and_in_two_runs():
    confidence, positives = confidences(300, 80)
    user_items = scale_confidence(confidence, positives, AlsConfig())
    config = AlsConfig(factors=16, iterations=4, **CPU)
    hashes = [
        fit_als(user_items, config, seed=5, control=FitControl(threads=lambda t=threads: t)).factors.sha256()
        for threads in (1, 2, 2)
    ]
    assert hashes[0] == hashes[1] == hashes[2]
    assert fit_als(user_items, config, seed=6).factors.sha256() != hashes[0]


def test_resumed_fit_ends_with_the_same_bytes():
    confidence, positives = confidences(100, 40)
    user_items = scale_confidence(confidence, positives, AlsConfig())
    config = AlsConfig(factors=8, iterations=9, checkpoint_every=3, **CPU)
    whole = fit_als(user_items, config, seed=1)
    checkpoints = StoreCheckpoints(MemoryStore(), "runs/r/als/checkpoints")

    def cancel_at(row):
        return row["iteration"] == 7

    seen = []
    control = FitControl(
        on_progress=seen.append, cancelled=lambda: cancel_at(seen[-1]), checkpoints=checkpoints
    )
    with pytest.raises(TrainingCancelled):
        fit_als(user_items, config, seed=1, control=control)
    resumed = fit_als(user_items, config, seed=1, control=FitControl(checkpoints=checkpoints))
    assert resumed.resumed_from == 6
    assert resumed.factors.sha256() == whole.factors.sha256()
    assert [row["loss"] for row in resumed.history] == [row["loss"] for row in whole.history]


def test_early_stop_returns_the_best_factors():
    confidence, positives = confidences()
    user_items = scale_confidence(confidence, positives, AlsConfig())
    kept = []

    def validate(factors):
        kept.append(factors.sha256())
        return {"recall@10": 0.0, "ndcg@10": [0.1, 0.3, 0.2, 0.2, 0.2][len(kept) - 1]}

    config = AlsConfig(factors=4, iterations=15, patience=3, **CPU)
    fit = fit_als(user_items, config, seed=1, validate=validate)
    assert fit.best_iteration == 2
    assert len(fit.history) == 5
    assert fit.stopped_early
    assert fit.factors.sha256() == kept[1]


def test_normalised_rows_have_length_one():
    confidence, positives = confidences()
    user_items = scale_confidence(confidence, positives, AlsConfig())
    fit = fit_als(user_items, AlsConfig(factors=4, iterations=3, normalize=True, **CPU), seed=1)
    np.testing.assert_allclose(np.linalg.norm(fit.factors.user_factors, axis=1), 1, rtol=1e-5)


def test_divergence_is_an_error_that_says_what_to_change():
    confidence, positives = confidences()
    user_items = scale_confidence(confidence, positives, AlsConfig())
    user_items.data[3] = np.inf
    with pytest.raises(DivergedError, match=r"lower als\.alpha"):
        fit_als(user_items, AlsConfig(factors=4, **CPU), seed=1)


def test_a_demanded_gpu_that_is_missing_is_an_error():
    if gpu_is_usable():
        pytest.skip("this machine has a usable GPU")
    with pytest.raises(DeviceUnavailable, match="CUDA"):
        choose_device("true")
    assert choose_device("auto") == choose_device("false") == "cpu"
