"""Projections against numpy's own decomposition and scikit-learn, and as the start of item factors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.cf.embeddings.align import AlignedEmbeddings
from recsys.cf.embeddings.project import project
from recsys.cf.models.als_start import als_start_factors
from recsys.cf.models.bpr_start import WarmStart, start_factors
from recsys.cf.models.item_start import ItemStart
from recsys.config.schema import BprConfig
from recsys.errors import DataError
from recsys.types import Factors


def aligned(vectors, known=None):
    vectors = np.asarray(vectors, dtype=np.float32)
    known = np.ones(len(vectors), dtype=bool) if known is None else np.asarray(known)
    return AlignedEmbeddings(np.where(known[:, None], vectors, 0).astype(np.float32), known, "m", "1", (), 0)


def random_vectors(n, d, seed=0):
    """Return vectors with a common part, as sentence encoders give them, and axes of falling strength."""
    random = np.random.default_rng(seed)
    return random.standard_normal((n, d)) * np.linspace(2, 0.1, d) + 1.0


def test_svd_is_the_truncated_svd_of_scikit_learn_but_for_signs():
    from sklearn.decomposition import TruncatedSVD

    vectors = random_vectors(80, 20)
    ours = project(aligned(vectors), 6, "svd", seed=1)
    theirs = TruncatedSVD(6, algorithm="arpack", random_state=0)
    scores = theirs.fit_transform(vectors.astype(np.float32).astype(np.float64))
    signs = np.sign((scores * ours.vectors).sum(axis=0))
    np.testing.assert_allclose(ours.vectors, scores * signs, atol=1e-4)
    assert ours.explained_variance == pytest.approx(theirs.explained_variance_ratio_.sum(), rel=1e-6)
    assert (ours.rank, ours.original_dim) == (6, 20)


def test_pca_is_the_svd_of_centred_vectors():
    vectors = random_vectors(50, 12).astype(np.float32).astype(np.float64)
    ours = project(aligned(vectors), 5, "pca", seed=1)
    left, s, _ = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    scores = left[:, :5] * s[:5]
    np.testing.assert_allclose(np.abs(ours.vectors), np.abs(scores), atol=1e-4)
    assert ours.explained_variance == pytest.approx((s[:5] ** 2).sum() / (s**2).sum(), rel=1e-6)
    np.testing.assert_allclose(ours.vectors.mean(axis=0), 0, atol=1e-5)


@pytest.mark.parametrize("method", ["svd", "pca", "random"])
def test_signs_and_bytes_are_the_same_each_time(method):
    vectors = random_vectors(40, 10)
    first, second = (project(aligned(vectors), 4, method, seed=3) for _ in range(2))
    assert first.vectors.tobytes() == second.vectors.tobytes()
    if method != "random":
        turned = project(aligned(-vectors), 4, method, seed=3)  # the same axes, so mirrored scores
        np.testing.assert_allclose(turned.vectors, -first.vectors, atol=1e-4)
    else:
        assert project(aligned(vectors), 4, method, seed=4).vectors.tobytes() != first.vectors.tobytes()


@given(
    st.integers(1, 12),
    st.integers(1, 9),
    st.integers(1, 12),
    st.sampled_from(["svd", "pca", "random"]),
    st.integers(0, 99),
)
def test_orthogonal_axes_shorten_and_a_full_rank_keeps_everything(n, d, factors, method, seed):
    vectors = np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)
    found = project(aligned(vectors), factors, method, seed=seed)
    base = vectors - vectors.mean(axis=0) if method == "pca" else vectors
    assert found.vectors.shape == (n, factors)
    assert -1e-6 <= found.explained_variance <= 1 + 1e-6
    assert (found.vectors[:, found.rank :] == 0).all()
    gram, original = found.vectors @ found.vectors.T, base @ base.T
    if factors >= d:
        np.testing.assert_allclose(gram, original, atol=1e-3)
        assert found.explained_variance == pytest.approx(1, abs=1e-5)
    assert (np.diag(gram) <= np.diag(original) * (1 + 1e-5) + 1e-4).all()


def test_unknown_items_count_for_nothing():
    vectors, known = random_vectors(30, 8), np.arange(30) % 3 != 0
    some = project(aligned(vectors, known), 4, "svd", seed=1)
    alone = project(aligned(vectors[known]), 4, "svd", seed=1)
    np.testing.assert_allclose(some.vectors[known], alone.vectors, atol=1e-5)
    assert (some.vectors[~known] == 0).all()
    assert some.facts()["coverage"] == pytest.approx(2 / 3)


def test_nothing_to_project_is_said():
    with pytest.raises(DataError, match="no item"):
        project(aligned(np.ones((3, 2)), [False] * 3), 2, "svd", seed=1)
    flat = project(aligned(np.zeros((3, 2))), 2, "svd", seed=1)
    with pytest.raises(DataError, match="zero"):
        flat.scaled(1.0)


def test_scaling_is_one_number_for_all_rows():
    found = project(aligned(random_vectors(30, 8), np.arange(30) < 20), 4, "svd", seed=1)
    scaled = found.scaled(0.5)
    assert np.sqrt((scaled[:20] ** 2).sum(axis=1).mean()) == pytest.approx(0.5, rel=1e-5)
    ratio = scaled[:20] / found.vectors[:20]
    assert ratio.std() / ratio.mean() < 1e-5


@pytest.mark.parametrize(("dimensions", "rank"), [(12, 8), (3, 3)])
def test_als_starts_from_known_items_at_the_length_of_a_random_start(dimensions, rank):
    known = np.arange(400) % 4 != 0
    items = ItemStart(project(aligned(random_vectors(400, dimensions), known), 8, "svd", seed=1), 1.0)
    start, plain = als_start_factors(50, 400, 8, 1, items), als_start_factors(50, 400, 8, 1)
    assert np.array_equal(start.user_factors, plain.user_factors)
    assert np.array_equal(start.item_factors[~known], plain.item_factors[~known])
    # dimensions that the embeddings do not have stay random: zero columns would stay zero in ALS
    assert np.array_equal(start.item_factors[:, rank:], plain.item_factors[:, rank:])
    lengths = np.sqrt((start.item_factors[known] ** 2).sum(axis=1).mean())
    assert lengths == pytest.approx(1.0, rel=0.1)
    expected = items.vectors(1.0)[known, :rank]
    assert np.array_equal(start.item_factors[known, :rank], expected)


def test_bpr_starts_from_embeddings_but_what_was_learned_goes_first():
    config, known = BprConfig(factors=4, init_std=0.1, item_bias=True), np.array([True, True, False, True])
    items = ItemStart(project(aligned(random_vectors(4, 9), known), 4, "svd", seed=1), 2.0)
    plain = start_factors(3, 4, config, 1, None)
    start = start_factors(3, 4, config, 1, None, items)
    np.testing.assert_array_equal(start.item_factors[known, :3], items.vectors(0.1 * 2)[known][:, :3])
    assert np.array_equal(start.item_factors[2], plain.item_factors[2])
    assert (start.item_factors[:, 4] == 0).all()  # the bias knows no text
    earlier = Factors(np.full((3, 5), 7, np.float32), np.full((4, 5), 8, np.float32))
    warm = WarmStart(earlier, np.zeros(3, bool), np.array([True, False, False, False]))
    both = start_factors(3, 4, config, 1, warm, items)
    assert (both.item_factors[0] == 8).all()
    assert np.array_equal(both.item_factors[1:], start.item_factors[1:])
