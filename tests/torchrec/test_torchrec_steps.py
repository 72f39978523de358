"""What the ranks compute: minibatch BPR as written slowly in NumPy, at any number of ranks."""

from pathlib import Path

import numpy as np
import pytest
from sharded_fits import little_config, little_pools, needs_torchrec, sharded_fit

from recsys.cf.models import torchrec_ranks
from recsys.cf.models.bpr_start import start_factors
from recsys.cf.sampling.shuffled import Sequence, draw_places
from recsys.rng import derive_seed

pytestmark = needs_torchrec
BATCH = 64
RATES = (0.4, 0.3, 0.1)  # 0.4 * (1 + cos(pi * epoch / 3)) / 2
SETTINGS = {
    "learning_rate": 0.4,
    "learning_rate_schedule": "cosine",
    "item_bias": True,
    "user_regularization": 0.05,
    "positive_regularization": 0.02,
    "negative_regularization": 0.01,
    "negative_sampling": "hard_mixed",
}


def slow_fit(pools, config, n_epochs=3):
    """Return U and V in float64: Rendle's gradients of each triplet at the batch's start, added up."""
    start = start_factors(pools.n_users, pools.n_items, config, 3, None)
    U, V = start.user_factors.astype(np.float64), start.item_factors.astype(np.float64)
    losses = []
    for epoch in range(n_epochs):
        keys = (derive_seed(3, "bpr", name, epoch, 0) for name in ("epoch", "order"))
        sequence = Sequence(config.negative_sampling, config.hard_negative_ratio, 2, *keys)
        n, loss = pools.n_positives * 2, 0.0
        for first in range(0, n, BATCH):
            users, positives, negatives, _ = draw_places(pools, sequence, first, first + BATCH)
            dU, dV = np.zeros_like(U), np.zeros_like(V)
            for u, i, j in zip(users, positives, negatives, strict=True):
                x = U[u] @ (V[i] - V[j])
                g = 1 / (1 + np.exp(x))
                loss += np.log1p(np.exp(-x))
                dU[u, :6] += g * (V[i] - V[j])[:6] - 0.05 * U[u, :6]
                dV[i] += g * U[u] - 0.02 * V[i]
                dV[j] += -g * U[u] - 0.01 * V[j]
            U += RATES[epoch] * dU
            V += RATES[epoch] * dV
        losses.append(loss / n)
    return U, V, losses


@pytest.fixture(scope="module")
def truth():
    return slow_fit(little_pools(), little_config(**SETTINGS))


@pytest.mark.parametrize("ranks", [1, 2])
def test_steps_are_those_of_slow_minibatch_bpr(truth, ranks):
    fit = sharded_fit(little_pools(), little_config(**SETTINGS), ranks)
    np.testing.assert_allclose(fit.factors.user_factors, truth[0], atol=2e-5)
    np.testing.assert_allclose(fit.factors.item_factors, truth[1], atol=2e-5)
    np.testing.assert_allclose([row["loss"] for row in fit.history], truth[2], rtol=1e-5)
    np.testing.assert_allclose([row["learning_rate"] for row in fit.history], RATES)
    assert (fit.factors.user_factors[:, -1] == 1.0).all()
    assert np.abs(truth[0][:, :6]).max() > 0.5, "it has moved far from its start"


def test_gradients_divided_by_the_ranks_would_be_noticed(truth, monkeypatch):
    monkeypatch.setattr(torchrec_ranks, "_WORKER", "divided_worker")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    fit = sharded_fit(little_pools(), little_config(**SETTINGS), ranks=2)
    assert np.abs(fit.factors.user_factors - truth[0]).max() > 0.05


def test_adaptive_draws_see_the_factors_of_all_ranks():
    settings = {"negative_sampling": "adaptive", "adaptive_refreshes": 2, "learning_rate": 0.1}
    one, two = (sharded_fit(little_pools(), little_config(**settings), ranks) for ranks in (1, 2))
    np.testing.assert_allclose(one.factors.user_factors, two.factors.user_factors, atol=2e-5)
    assert two.history[-1]["share_adaptive"] == 1.0
    # draws by other factors would give other triplets, and another loss
    losses = [[row["loss"] for row in fit.history] for fit in (one, two)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
