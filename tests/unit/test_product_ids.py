"""A product file whose ids are not those of the reviews is told of: it would give no titles and no numbers sold."""

import polars as pl
import pytest

from recsys.cf.data.build import PRODUCT_COVERAGE_WARNING, product_warnings
from recsys.cf.data.demo import write_demo_shop
from recsys.cf.data.load import load_processed_data
from recsys.cf.data.prepare import prepare
from recsys.config.schema import DataConfig
from recsys.storage.local import LocalStore


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    place = tmp_path_factory.mktemp("raw")
    return write_demo_shop(place, size="small", seed=2, users=400, interactions=3_000)


def prepared(tmp_path, shop, products):
    store = LocalStore(tmp_path / "store")
    products.write_csv(tmp_path / "products.csv")
    version = prepare(store, shop.reviews, tmp_path / "products.csv", DataConfig(), seed=0)
    return version.warnings, load_processed_data(store)


def test_ids_without_their_leading_zeros_are_told_with_one_of_each_side(tmp_path, shop):
    products = pl.read_csv(shop.products, infer_schema=False)
    bare = pl.col("product_id").str.strip_chars_start("0")
    warnings, data = prepared(tmp_path, shop, products.with_columns(bare))
    assert data.items["title"].is_null().all()
    (warning,) = (one for one in warnings if "product" in one)
    assert f"the product files name 0 of {data.n_items} items" in warning
    assert f"named like {data.mappings.item_ids[0]!r}" in warning
    assert repr(products.select(bare)["product_id"].sort()[0]) in warning
    assert warning in data.stats["warnings"]


def test_a_file_with_nothing_but_a_header_is_told(tmp_path, shop):
    products = pl.read_csv(shop.products, infer_schema=False).head(0)
    warnings, data = prepared(tmp_path, shop, products)
    (warning,) = (one for one in warnings if "product" in one)
    assert f"0 of {data.n_items} items" in warning
    assert "they hold no product" in warning


def test_a_fitting_file_is_not_told_of(tmp_path, shop):
    warnings, _ = prepared(tmp_path, shop, pl.read_csv(shop.products, infer_schema=False))
    assert not [one for one in warnings if "product" in one]


@pytest.mark.parametrize(("n_found", "told"), [(0, True), (1, True), (2, False), (4, False)])
def test_half_of_the_items_are_enough(n_found, told):
    assert PRODUCT_COVERAGE_WARNING == 0.5
    ids = [f"0{number}" for number in range(4)]
    products = pl.DataFrame({"item_id": [*ids[:n_found], "x1", "x2"]})
    assert bool(product_warnings(products, ids)) == told
