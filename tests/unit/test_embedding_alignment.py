"""Embeddings matched to the items of a data version by exact ids."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.cf.data.dataset import IdMappings
from recsys.cf.data.embeddings import ProductEmbeddings
from recsys.cf.embeddings.align import align_embeddings
from recsys.errors import DataError


def embeddings_of(ids, dimensions=3):
    """Return embeddings whose vectors tell their place: row r is (r + 1, ...)."""
    vectors = np.repeat(np.arange(1, len(ids) + 1, dtype=np.float32)[:, None], dimensions, axis=1)
    return ProductEmbeddings(vectors, tuple(ids), "m", "2")


def test_rows_follow_the_ids_and_the_rest_is_told():
    aligned = align_embeddings(embeddings_of(["b", "sold out", "01"]), IdMappings(["u"], ["01", "1", "b"]))
    assert aligned.vectors[:, 0].tolist() == [3, 0, 1]
    assert aligned.known.tolist() == [True, False, True]
    assert aligned.report() == {
        "items": 3,
        "known": 2,
        "coverage": pytest.approx(2 / 3),
        "missing_examples": ["1"],  # not 01: ids are exact strings
        "foreign": 1,
    }
    assert (aligned.name, aligned.version, aligned.dimensions) == ("m", "2", 3)


def test_too_little_coverage_names_both_sides():
    with pytest.raises(DataError, match=r"33\.3% of 3 items.*'a', 'b'.*of 'x', 'c'.*recsys embed"):
        align_embeddings(embeddings_of(["x", "c"]), IdMappings(["u"], ["a", "b", "c"]), min_coverage=0.34)


@given(
    st.lists(st.text(min_size=1, max_size=3), min_size=1, unique=True),
    st.lists(st.text(min_size=1, max_size=3), min_size=1, unique=True),
    st.randoms(use_true_random=False),
)
def test_each_item_gets_its_own_vector_whatever_the_order(given_ids, item_ids, random):
    aligned = align_embeddings(embeddings_of(given_ids), IdMappings(["u"], item_ids))
    place = {item_id: row + 1 for row, item_id in enumerate(given_ids)}
    assert aligned.vectors[:, 0].tolist() == [place.get(item_id, 0) for item_id in item_ids]
    assert aligned.known.sum() + aligned.n_foreign == len(given_ids)
    order = random.sample(range(len(given_ids)), len(given_ids))
    source = embeddings_of(given_ids)
    shuffled = ProductEmbeddings(source.embeddings[order], tuple(given_ids[at] for at in order), "m", "2")
    again = align_embeddings(shuffled, IdMappings(["u"], item_ids))
    assert np.array_equal(again.vectors, aligned.vectors)
