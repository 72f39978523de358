"""The map from embeddings to factors against the ridge's normal equations and leaving items out one by one."""

import numpy as np
import pytest

from recsys.cf.embeddings.align import AlignedEmbeddings
from recsys.cf.embeddings.map import fit_item_map, read_item_map, write_item_map
from recsys.errors import DataError, IntegrityError

N, D, F = 40, 7, 3


def problem(noise=0.3, seed=0):
    """Return (embeddings, factors, weights); item 0 has no vector, item 1 no weight."""
    random = np.random.default_rng(seed)
    vectors = random.standard_normal((N, D)).astype(np.float32)
    factors = (vectors @ random.standard_normal((D, F)) + 2 + noise * random.standard_normal((N, F))).astype(
        np.float32
    )
    known, weights = np.ones(N, dtype=bool), random.integers(1, 9, N)
    known[0], weights[1] = False, 0
    vectors[0] = 0
    return AlignedEmbeddings(vectors, known, "m", "3", (), 0), factors, weights


def ridge(X, Y, w, strength):
    """Return (weights, intercept) of the weighted ridge with a free intercept, by its normal equations."""
    full = np.column_stack([X, np.ones(len(X))])
    penalty = strength * np.diag([1.0] * X.shape[1] + [0.0])
    solution = np.linalg.solve(full.T @ (w[:, None] * full) + penalty, full.T @ (w[:, None] * Y))
    return solution[:-1], solution[-1]


def used(embeddings, factors, weights):
    use = embeddings.known & (weights > 0)
    w = weights[use] / weights[use].mean()
    return embeddings.vectors[use].astype(float), factors[use].astype(float), w


def test_weights_solve_the_normal_equations():
    embeddings, factors, weights = problem()
    found = fit_item_map(embeddings, factors, weights)
    W, intercept = ridge(*used(embeddings, factors, weights), found.regularization)
    np.testing.assert_allclose(found.weights, W, atol=1e-5)
    new = np.random.default_rng(5).standard_normal((4, D)).astype(np.float32)
    np.testing.assert_allclose(found.factors(new), new @ W + intercept, atol=1e-4)
    assert found.n_items == N - 2


def test_the_strength_has_the_least_error_when_items_are_left_out_one_by_one():
    embeddings, factors, weights = problem(noise=2.0)
    found = fit_item_map(embeddings, factors, weights)
    X, Y, w = used(embeddings, factors, weights)

    def left_out(strength):
        error = 0.0
        for i in range(len(X)):
            rest = np.arange(len(X)) != i
            W, intercept = ridge(X[rest], Y[rest], w[rest], strength)
            error += w[i] * ((X[i] @ W + intercept - Y[i]) ** 2).sum()
        return error

    best = left_out(found.regularization)
    assert best <= min(left_out(found.regularization * step) for step in (0.5, 2.0)) * (1 + 1e-9)
    of_mean = sum(
        w[i] * ((np.average(np.delete(Y, i, 0), axis=0, weights=np.delete(w, i)) - Y[i]) ** 2).sum()
        for i in range(len(X))
    )
    assert found.r_squared == pytest.approx(1 - best / of_mean, abs=1e-6)


def test_a_linear_world_is_learned_and_noise_is_not():
    assert fit_item_map(*problem(noise=0.0)).r_squared > 0.999
    embeddings, factors, weights = problem()
    shuffled = np.random.default_rng(1).permutation(factors)
    nothing = fit_item_map(embeddings, shuffled, weights)
    assert nothing.r_squared < 0.1
    assert (
        np.abs(nothing.weights).max() < np.abs(fit_item_map(embeddings, factors, weights).weights).max() / 3
    )


def test_more_dimensions_than_items_are_no_problem():
    random = np.random.default_rng(0)
    embeddings = AlignedEmbeddings(
        random.standard_normal((12, 50)).astype(np.float32), np.ones(12, bool), "", "", (), 0
    )
    found = fit_item_map(embeddings, random.standard_normal((12, 4)).astype(np.float32), np.ones(12))
    assert np.isfinite(found.factors(embeddings.vectors)).all()


def test_it_is_deterministic_and_survives_a_file(tmp_path):
    first, second = (fit_item_map(*problem()) for _ in range(2))
    for name, one in (("a.npz", first), ("b.npz", second)):
        write_item_map(tmp_path / name, one)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    read = read_item_map(tmp_path / "a.npz")
    vectors = problem()[0].vectors
    assert np.array_equal(read.factors(vectors), first.factors(vectors))
    assert read.facts() == first.facts()


def test_what_cannot_be_done_is_said(tmp_path):
    embeddings, factors, weights = problem()
    with pytest.raises(DataError, match="at least 3"):
        fit_item_map(embeddings, factors, np.where(np.arange(N) == 5, weights, 0))
    with pytest.raises(DataError, match="same encoder"):
        fit_item_map(embeddings, factors, weights).factors(np.ones((2, D + 1), np.float32))
    (tmp_path / "x.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(IntegrityError, match="no item map"):
        read_item_map(tmp_path / "x.npz")
