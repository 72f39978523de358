import numpy as np
import pytest

from recsys.cf.data.embeddings import (
    ProductEmbeddings,
    coverage_warnings,
    read_product_embeddings,
    write_product_embeddings,
)
from recsys.errors import RawDataError

VECTORS = np.arange(6, dtype=np.float32).reshape(2, 3)


def save(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_what_is_written_is_read_and_equal_embeddings_give_equal_bytes(tmp_path):
    embeddings = ProductEmbeddings(VECTORS, ("01", "x"), "model", "2")
    for name in ("a.npz", "b.npz"):
        write_product_embeddings(tmp_path / name, embeddings)
    read = read_product_embeddings(tmp_path / "a.npz")
    assert np.array_equal(read.embeddings, VECTORS)
    assert (read.item_ids, read.name, read.version) == (("01", "x"), "model", "2")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_product_ids_is_the_same_array_and_names_are_optional(tmp_path):
    path = save(tmp_path / "e.npz", embeddings=VECTORS.astype(np.float64), product_ids=np.array([7, 8]))
    read = read_product_embeddings(path)
    assert read.embeddings.dtype == np.float32
    assert (read.item_ids, read.name) == (("7", "8"), "")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"embeddings": VECTORS}, "holds embeddings; expected"),
        ({"embeddings": VECTORS[0], "item_ids": ["a"]}, r"embeddings must be numbers \(n, d\)"),
        ({"embeddings": VECTORS, "item_ids": ["a"]}, "2 vectors for 1 ids"),
        (
            {"embeddings": VECTORS * np.nan, "item_ids": ["a", "a"]},
            "2 vectors are not finite; 1 ids are repeated",
        ),
        ({"embeddings": VECTORS[:0], "item_ids": []}, "no vectors"),
        ({"embeddings": VECTORS, "item_ids": np.array(["a", None])}, "cannot be read"),
        ({"embeddings": VECTORS, "item_ids": [7.0, 8.0]}, "item_ids texts or whole numbers"),
        ({"embeddings": VECTORS, "item_ids": [b"7", b"8"]}, "item_ids texts or whole numbers"),
    ],
)
def test_faults_are_told(tmp_path, arrays, message):
    with pytest.raises(RawDataError, match=message):
        read_product_embeddings(save(tmp_path / "e.npz", **arrays))


def test_a_foreign_file_is_a_raw_data_error(tmp_path):
    path = tmp_path / "e.npz"
    path.write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(RawDataError, match=r"e\.npz"):
        read_product_embeddings(path)


def test_embeddings_of_other_ids_are_noticed_when_a_version_is_prepared():
    embeddings = ProductEmbeddings(VECTORS, ("01", "02"), "", "")
    assert coverage_warnings(embeddings, ["01", "02", "03", "04"]) == []
    (warning,) = coverage_warnings(embeddings, ["1", "2", "02"])
    assert "cover 1 of 3 items" in warning
    assert "named like '1', embeddings like '01'" in warning
