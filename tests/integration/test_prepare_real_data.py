"""Preparation of real reviews: plausible funnels, and every law of the data version."""

import pytest

from recsys.cf.data.load import load_processed_data, load_product_embeddings
from recsys.cf.data.prepare import prepare
from recsys.config.schema import DataConfig
from recsys.errors import EmptyDataError
from recsys.storage.memory import MemoryStore

pytestmark = pytest.mark.real_data


@pytest.mark.parametrize(
    ("name", "rows", "users", "items", "test_users"),
    [
        ("hasaki", 21_573, (2_500, 3_500), (400, 600), (900, 1_300)),
        ("amazon_magazine", 89_689, (6_500, 9_000), (450, 650), (2_300, 3_300)),
    ],
)
def test_real_shops(real_data, name, rows, users, items, test_users):
    store, folder = MemoryStore(), real_data / name
    result = prepare(
        store, folder / "interactions.parquet", folder / "items.parquet", DataConfig(), seed=0,
        embeddings=folder / "product_embeddings.npz",
    )  # fmt: skip
    dataset = load_processed_data(store)
    assert result.rows_in == rows == result.rows_out + sum(step.rows for step in result.funnel)
    assert users[0] < result.users < users[1]
    assert items[0] < result.items < items[1]
    assert test_users[0] < result.test_users < test_users[1]
    assert any("share user and time" in warning for warning in result.warnings)
    embedded = set(load_product_embeddings(store).item_ids)
    assert sum(item_id in embedded for item_id in dataset.mappings.item_ids) > 0.9 * dataset.n_items


def test_a_set_with_hardly_any_rating_is_refused_with_the_reason(real_data):
    """MovieLens in its implicit split has ratings for its 6,040 held-out rows only: one for each user."""
    path = real_data / "ml-1m-ncf" / "interactions.parquet"
    with pytest.raises(
        EmptyDataError, match=r"no trainable user.*of 1,000,209 rows 994,169 .*no_rating 994,169"
    ):
        prepare(MemoryStore(), path, None, DataConfig(), seed=0)
