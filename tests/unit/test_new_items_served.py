"""A registered model offers items it never saw, by its map."""

from pathlib import Path

import numpy as np
import pytest
from sample_models import ITEM_FACTORS, USER_FACTORS, publish, write_model

from recsys.cf.data.embeddings import ProductEmbeddings
from recsys.cf.embeddings.map import ItemMap, item_map_file, write_item_map
from recsys.errors import IntegrityError, RegistryError
from recsys.registry import load_model
from recsys.registry.catalogue import Registry
from recsys.storage.memory import MemoryStore

# embeddings (a, b) become factors (a + 1, b + 2)
MAP = ItemMap(
    np.eye(2, dtype=np.float32), np.zeros(2, np.float32), np.array([1, 2], np.float32), 0.1, 0.5, 3, "m", "1"
)
NEW = ProductEmbeddings(np.array([[9, 0], [0, 0], [4, 4]], np.float32), ("new", "item-0", "item-3"), "m", "1")


def served(tmp_path: Path, with_map: bool = True):
    directory = write_model(tmp_path / "als")
    if with_map:
        write_item_map(directory / item_map_file("als"), MAP)
    registry = Registry(MemoryStore())
    return load_model(registry.store, publish(registry, directory), cache_dir=tmp_path / "cache")


def test_new_and_unsold_items_get_factors_from_the_map(tmp_path):
    model = served(tmp_path)
    wider = model.with_new_items(NEW)
    expected = np.vstack([ITEM_FACTORS, [[10, 2]]])
    expected[3] = [5, 6]  # item-3 was never bought in train; item-0 was, and keeps what was learned
    np.testing.assert_allclose(wider.item_factors, expected)
    found = wider.recommend("u0", k=4)
    scores = expected @ USER_FACTORS[0]
    assert [(one.item_id, one.score) for one in found] == [
        ("new", scores[4]), ("item-3", scores[3]), ("item-1", scores[1]), ("item-2", scores[2]),
    ]  # fmt: skip
    assert found[0].title is None
    assert [one.item_id for one in wider.recommend("nobody", k=2)] == ["item-2", "item-0"]
    assert [one.item_id for one in model.recommend("u0", k=4)] == ["item-1", "item-2", "item-3"]


@pytest.mark.parametrize(
    ("embeddings", "message"),
    [
        (
            ProductEmbeddings(NEW.embeddings, NEW.item_ids, "m", "2"),
            "m 1 with 2 dimensions, these are of m 2",
        ),
        (ProductEmbeddings(np.ones((1, 5), np.float32), ("x",), "m", "1"), "with 5"),
    ],
)
def test_vectors_of_another_encoder_are_refused(tmp_path, embeddings, message):
    with pytest.raises(RegistryError, match=message):
        served(tmp_path).with_new_items(embeddings)


def test_a_model_without_a_map_says_so(tmp_path):
    with pytest.raises(RegistryError, match="no item map"):
        served(tmp_path, with_map=False).with_new_items(NEW)


def test_a_damaged_map_is_found_when_the_model_is_opened(tmp_path):
    directory = write_model(tmp_path / "als")
    (directory / item_map_file("als")).write_bytes(b"PK\x03\x04")
    registry = Registry(MemoryStore())
    with pytest.raises(IntegrityError, match="no item map"):
        load_model(registry.store, publish(registry, directory), cache_dir=tmp_path / "cache")
