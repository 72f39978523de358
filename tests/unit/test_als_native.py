"""The native ALS against its own mathematics: dense float64 solutions, zero gradients, `implicit`'s Cholesky."""

from itertools import pairwise

import numpy as np
import pytest
from als_reference import dense_of, interactions, means
from shops import checkerboard

from recsys.blas import one_blas_thread
from recsys.cf.models.als_native import fit_als_native
from recsys.cf.models.als_native_sweep import padded, solve_side
from recsys.cf.models.als_objective import Prior, build_objective
from recsys.cf.models.als_start import als_start_factors
from recsys.config.schema import AlsConfig
from recsys.errors import ConfigError, TrainingError
from recsys.types import Factors

OPTIONS = [
    {},
    {"regularization_exponent": 1.0, "unobserved_weight": 0.3},
    {"regularization_exponent": 1.0, "regularization_counts": "positives"},
    {"regularization_exponent": 0.5, "unobserved_weight": 0.1, "prior": True},
    {"prior": True, "continuous": True},
    {"unobserved_weight": 0.01, "continuous": True, "regularization_exponent": 1.5},
]


def native(**settings):
    return AlsConfig(**{"solver": "native", "factors": 6, "regularization": 0.7, "iterations": 4, **settings})


def problem(factors, prior=False, continuous=False, **settings):
    """Return (interactions, config, preferences, prior) of one row of OPTIONS."""
    user_items = interactions()
    n_users, n_items = user_items.shape
    both = Prior(means(n_users, factors), means(n_items, factors, 8)) if prior else None
    liked = np.random.default_rng(2).random(user_items.nnz).astype(np.float32) if continuous else None
    return user_items, native(factors=factors, **settings), liked, both


def half_sweep(user_items, config, V, preferences=None, prior=None, dual_entries=None):
    """Return the users for these items, (n_users, factors)."""
    side = build_objective(user_items, config, preferences).users
    V = padded(V)
    V[np.asarray((user_items != 0).sum(axis=0)).ravel() == 0] = 0
    out = padded(np.zeros((user_items.shape[0], config.factors), np.float32))
    solve_side(
        side,
        V,
        out,
        factors=config.factors,
        unobserved_weight=config.unobserved_weight,
        means=padded(prior.user_means) if prior else None,
        dual_entries=dual_entries,
    )
    return out[:, : config.factors]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("factors", [1, 6, 16, 40, 64])
def test_a_half_sweep_is_the_exact_solution_by_either_system(options, factors):
    user_items, config, liked, prior = problem(factors, **options)
    V = means(user_items.shape[1], factors, 3)
    expected = dense_of(user_items, config, liked, prior).best_users(V)
    with_entries = np.diff(user_items.indptr) > 0
    for dual_entries in (1, 3, 16, 64):
        found = half_sweep(user_items, config, V, liked, prior, dual_entries)
        np.testing.assert_allclose(found[with_entries], expected[with_entries], rtol=2e-4, atol=2e-5)
        assert not found[~with_entries].any()


@pytest.mark.parametrize("options", OPTIONS)
def test_gradient_is_zero_at_the_optimum(options):
    user_items, config, liked, prior = problem(5, iterations=800, patience=800, **options)
    fit = fit_als_native(user_items, config, seed=3, preferences=liked, prior=prior)
    dense = dense_of(user_items, config, liked, prior)
    start = als_start_factors(*user_items.shape, 5, 3)
    for gradient, first in zip(dense.gradients(fit.factors), dense.gradients(start), strict=True):
        assert np.abs(gradient).max() < 2e-4 * np.abs(first).max()


@pytest.mark.parametrize("options", OPTIONS)
def test_reported_loss_is_the_dense_one_and_never_rises(options):
    user_items, config, liked, prior = problem(6, iterations=12, **options)
    fit = fit_als_native(user_items, config, seed=3, preferences=liked, prior=prior)
    losses = [row["loss"] for row in fit.history]
    assert losses[-1] == pytest.approx(dense_of(user_items, config, liked, prior).loss(fit.factors), rel=1e-5)
    assert all(later <= earlier * (1 + 1e-6) for earlier, later in pairwise(losses))
    assert losses[-1] < 0.98 * losses[0]


def test_iterates_are_those_of_implicit_cholesky():
    from implicit.cpu.als import AlternatingLeastSquares

    user_items, config, _, _ = problem(12, iterations=5)
    start = als_start_factors(*user_items.shape, 12, 4)
    with one_blas_thread():  # it warns otherwise
        model = AlternatingLeastSquares(
            12, regularization=0.7, alpha=1.0, iterations=5, use_cg=False, num_threads=1
        )
    model.user_factors = start.user_factors.copy()
    model.item_factors = start.item_factors.copy()
    silent = np.asarray((user_items != 0).sum(axis=0)).ravel() == 0
    model.item_factors[silent] = 0  # we leave pairs of silent items out; the library counts their start
    with one_blas_thread():
        model.fit(user_items, show_progress=False)
    ours = fit_als_native(user_items, config, seed=0, start=start).factors
    np.testing.assert_allclose(ours.user_factors, model.user_factors, rtol=2e-3, atol=2e-4)
    np.testing.assert_allclose(ours.item_factors, model.item_factors, rtol=2e-3, atol=2e-4)


def test_a_row_without_entries_equals_its_prior():
    user_items, config, _, prior = problem(6, prior=True)
    factors = fit_als_native(user_items, config, seed=1, prior=prior).factors
    assert (factors.user_factors[3] == prior.user_means[3]).all()
    assert (factors.item_factors[5] == prior.item_means[5]).all()
    plain = fit_als_native(user_items, config, seed=1).factors
    assert not plain.user_factors[3].any()
    assert not plain.item_factors[5].any()


def test_a_strong_prior_holds_every_row_and_a_weak_one_few():
    user_items, _, _, prior = problem(6, prior=True)
    away = [
        np.abs(
            fit_als_native(
                user_items, native(regularization=weight), seed=1, prior=prior
            ).factors.item_factors
            - prior.item_means
        ).mean()
        for weight in (1e6, 10.0, 0.1)
    ]
    assert away[0] < 1e-3 < away[1] < away[2]


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0])
def test_the_mean_weight_of_rows_is_the_regularization(exponent):
    user_items = interactions()
    config = native(regularization=3.0, regularization_exponent=exponent, unobserved_weight=0.2)
    objective = build_objective(user_items, config)
    weights = [side.regularization[side.has_entries] for side in (objective.users, objective.items)]
    assert np.concatenate(weights).mean() == pytest.approx(3.0, rel=1e-5)
    if exponent == 0:
        assert (objective.items.regularization == 3.0).all()
    else:
        counts = np.diff(objective.items.indptr)
        order = np.argsort(counts, kind="stable")
        assert (np.diff(objective.items.regularization[order]) >= 0).all()
        assert objective.items.regularization.min() < objective.items.regularization.max()


def test_an_entry_that_weighs_like_an_unobserved_pair_is_one():
    user_items, config, _, _ = problem(6, iterations=6)
    user_items.data[2] = -1.0  # preference 0, confidence 1: what an unseen pair has
    with_entry = fit_als_native(user_items, config, seed=1).factors
    without = user_items.copy()
    without.data[2] = 0.0
    without.eliminate_zeros()
    np.testing.assert_allclose(
        fit_als_native(without, config, seed=1).factors.user_factors, with_entry.user_factors, atol=1e-4
    )


def test_learns_a_checkerboard():
    fit = fit_als_native(checkerboard(20) * 20, native(factors=2, regularization=1.0, iterations=20), seed=1)
    scores = fit.factors.user_factors @ fit.factors.item_factors.T
    same = np.add.outer(np.arange(20), np.arange(20)) % 2 == 0
    assert scores[same].min() > scores[~same].max(), "the held-out diagonal must score like its colour"


def test_heavy_rows_of_thousands_of_entries_are_exact():
    user_items = interactions(3000, 12, 9, silent=False)
    config = native(factors=20, iterations=3)
    fit = fit_als_native(user_items, config, seed=2)
    by_user, by_item = dense_of(user_items, config).gradients(fit.factors)
    assert np.abs(by_item).max() < 1e-4 * np.abs(by_user).max() + 2e-2
    assert fit.history[-1]["loss"] == pytest.approx(dense_of(user_items, config).loss(fit.factors), rel=1e-5)


def test_freeze_first_iter_solves_users_only():
    user_items, config, _, _ = problem(6, iterations=1)
    start = Factors(*(means(n, 6, n) for n in user_items.shape))
    frozen = fit_als_native(user_items, config, seed=1, start=start, freeze_first_iter=True)
    known = np.asarray((user_items != 0).sum(axis=0)).ravel() > 0
    assert (frozen.factors.item_factors[known] == start.item_factors[known]).all()
    expected = half_sweep(user_items, config, start.item_factors)
    assert (frozen.factors.user_factors == expected).all()
    assert frozen.history[0]["loss"] == pytest.approx(
        dense_of(user_items, config).loss(frozen.factors), rel=1e-5
    )
    longer = fit_als_native(
        user_items, native(iterations=3), seed=1, start=start, freeze_first_iter=True
    ).history
    assert all(later["loss"] < earlier["loss"] for earlier, later in pairwise(longer))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"regularization": 0.0}, "needs regularization > 0"),
        ({"use_gpu": "true"}, "trains on the CPU"),
        ({"solver": "implicit", "preference": "continuous"}, "preference continuous needs solver native"),
        ({"solver": "implicit", "regularization_exponent": 1.0}, "regularization_exponent other than 0"),
        ({"solver": "implicit", "unobserved_weight": 0.5}, "unobserved_weight other than 1"),
        (
            {"solver": "implicit", "regularization_counts": "positives"},
            "regularization_counts other than pairs",
        ),
    ],
)
def test_what_a_solver_cannot_do_is_refused_with_the_way_out(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        native(**settings)
    unchecked = native().model_copy(update=settings)  # as a search writes settings
    assert sentence in unchecked.solver_problem()
    if unchecked.solver == "native":
        with pytest.raises(ConfigError, match=sentence):
            fit_als_native(interactions(), unchecked, seed=1)


def test_wrong_shapes_and_weights_are_named():
    user_items, config, _, _ = problem(6)
    with pytest.raises(TrainingError, match=r"prior item means are \(3, 6\)"):
        fit_als_native(user_items, config, seed=1, prior=Prior(item_means=means(3, 6)))
    with pytest.raises(TrainingError, match="1 preferences do not fit"):
        fit_als_native(user_items, config, seed=1, preferences=np.ones(1, np.float32))
    user_items.data[0] = 0.5
    with pytest.raises(TrainingError, match=r"0\.5, less than als\.unobserved_weight"):
        fit_als_native(user_items, config, seed=1)
