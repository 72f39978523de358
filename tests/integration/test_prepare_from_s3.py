"""Raw files in a bucket of a real S3 server."""

import pytest
from servers import S3Server

from recsys.cf.data.demo import write_demo_shop
from recsys.cf.data.prepare import prepare
from recsys.config.schema import DataConfig
from recsys.errors import RawDataError
from recsys.storage.memory import MemoryStore
from recsys.storage.open import open_store


def test_files_and_globs_of_a_bucket_give_the_version_of_the_local_file(s3: S3Server, tmp_path):
    shop = write_demo_shop(tmp_path, size="small", seed=3, users=400, interactions=2_500)
    uri = s3.new_uri()
    bucket = open_store(uri)
    header, *lines = shop.reviews.read_text("utf-8").splitlines(keepends=True)
    for number, part in enumerate((lines[:1_000], lines[1_000:])):
        path = tmp_path / f"part{number}.csv"
        path.write_text(header + "".join(part), "utf-8")
        bucket.put_file(f"night/reviews-{number}.csv", path)
    bucket.put_file("products.csv", shop.products)
    bucket.put_new("night/unrelated.txt", b"x")
    local, remote = MemoryStore(), MemoryStore()
    expected = prepare(local, shop.reviews, shop.products, DataConfig(), seed=1)
    found = prepare(remote, f"{uri}/night/reviews-*.csv", f"{uri}/products.csv", DataConfig(), seed=1)
    assert [(step.reason, step.rows) for step in found.funnel] == [
        (step.reason, step.rows) for step in expected.funnel
    ]
    for name in ("interactions.parquet", "items.parquet", "X_train_confidence.npz"):
        stored, wanted = (
            store.get(f"data/versions/{prepared.version}/{name}").data
            for store, prepared in ((remote, found), (local, expected))
        )
        assert stored == wanted
    # The same bytes at another address are the same input.
    bucket.put_file("elsewhere.csv", tmp_path / "part0.csv")
    again = prepare(
        remote, [f"{uri}/elsewhere.csv", tmp_path / "part1.csv"], shop.products, DataConfig(), seed=1
    )
    assert (again.version, again.created) == (found.version, False)


@pytest.mark.parametrize("key", ["none.csv", "none*.csv"])
def test_a_key_that_is_not_there_is_named(s3: S3Server, key):
    uri = s3.new_uri()
    with pytest.raises(RawDataError, match=r"does not exist|matches no object"):
        prepare(MemoryStore(), f"{uri}/{key}", None, DataConfig(), seed=0)
