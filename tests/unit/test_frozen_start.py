"""The first iteration of ALS with the items' start kept: both solvers solve users alone."""

import numpy as np
import pytest
from shops import random_positives

from recsys.cf.embeddings.align import AlignedEmbeddings
from recsys.cf.embeddings.project import project
from recsys.cf.models.als_start import als_start_factors
from recsys.cf.models.als_train import train_als
from recsys.cf.models.item_start import ItemStart
from recsys.config.schema import AlsConfig
from recsys.errors import ConfigError

N_USERS, N_ITEMS, FACTORS = 60, 25, 4


@pytest.fixture
def liked():
    return random_positives(N_USERS, N_ITEMS, 5, seed=2)


@pytest.fixture
def items():
    vectors = np.random.default_rng(1).standard_normal((N_ITEMS, 9)).astype(np.float32)
    known = np.arange(N_ITEMS) % 5 != 0
    vectors[~known] = 0
    return ItemStart(project(AlignedEmbeddings(vectors, known, "", "", (), 0), FACTORS, "svd", seed=1), 1.0)


@pytest.mark.parametrize("solver", ["implicit", "native"])
def test_items_keep_their_start_while_users_are_solved(liked, items, solver):
    config = AlsConfig(factors=FACTORS, iterations=1, regularization=2.0, use_gpu="false", solver=solver)
    start = als_start_factors(N_USERS, N_ITEMS, FACTORS, 7, items)
    frozen = train_als(liked * 3, liked, config, seed=7, items=items, freeze_first_iter=True).factors
    free = train_als(liked * 3, liked, config, seed=7, items=items).factors
    bought = np.bincount(liked.indices, minlength=N_ITEMS) > 0  # native leaves others at their prior, zero
    assert np.array_equal(frozen.item_factors[bought], start.item_factors[bought])
    assert not np.array_equal(free.item_factors[bought], start.item_factors[bought])
    np.testing.assert_allclose(frozen.user_factors, free.user_factors, rtol=1e-4, atol=1e-5)
    # and the users are the exact solution given these items, up to the three steps of implicit's solver
    V = frozen.item_factors.astype(np.float64)
    weight = float(config.alpha) * (3 - 1) / 5 + 1
    for user in range(N_USERS):
        row = V[liked[user].indices]
        A = V.T @ V + (weight - 1) * row.T @ row + 2.0 * np.eye(FACTORS)
        exact = np.linalg.solve(A, weight * row.sum(axis=0))
        np.testing.assert_allclose(
            frozen.user_factors[user], exact, atol=0.05 if solver == "implicit" else 1e-4
        )


@pytest.mark.parametrize("solver", ["implicit", "native"])
def test_the_second_iteration_moves_them(liked, items, solver):
    config = AlsConfig(factors=FACTORS, iterations=8, regularization=2.0, use_gpu="false", solver=solver)
    fit = train_als(liked * 3, liked, config, seed=7, items=items, freeze_first_iter=True)
    losses = [row["loss"] for row in fit.history]
    assert losses == sorted(losses, reverse=True)
    assert losses[1] < 0.9 * losses[0]


def test_an_anchored_fit_without_anything_to_pull_to_is_refused(liked):
    config = AlsConfig(factors=FACTORS, iterations=1, solver="native")
    with pytest.raises(ConfigError, match="anchored fit needs embeddings"):
        train_als(liked * 3, liked, config, seed=7, anchored=True)
