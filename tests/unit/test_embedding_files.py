"""Embeddings in the formats of other programs: PyTorch files loaded without code, safetensors."""

import json
import pickle

import numpy as np
import pytest

from recsys.cf.data.embeddings import read_product_embeddings
from recsys.errors import ConfigError, RawDataError

VECTORS = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="the extra torch is not installed")


def test_the_original_export_is_read(torch, tmp_path):
    path = tmp_path / "product_embeddings.pt"
    torch.save({"embeddings": torch.tensor(VECTORS).double(), "product_ids": ["007", "x"]}, path)
    read = read_product_embeddings(path)
    assert np.array_equal(read.embeddings, VECTORS)
    assert read.embeddings.dtype == np.float32
    assert (read.item_ids, read.name, read.version) == (("007", "x"), "", "")


def test_ids_may_be_a_tensor_and_half_precision_is_widened(torch, tmp_path):
    path = tmp_path / "e.pth"
    content = {"embeddings": torch.tensor(VECTORS).bfloat16(), "product_ids": torch.tensor([7, 8])}
    torch.save(content | {"name": "m", "version": 2}, path)
    read = read_product_embeddings(path)
    assert np.array_equal(read.embeddings, VECTORS)
    assert (read.item_ids, read.name, read.version) == (("7", "8"), "m", "2")


def test_the_weights_of_a_trained_layer_are_read(torch, tmp_path):
    weights = torch.nn.Parameter(torch.tensor(VECTORS))  # requires gradients, which numpy refuses
    torch.save({"embeddings": weights, "product_ids": ["007", "x"]}, tmp_path / "e.pt")
    assert np.array_equal(read_product_embeddings(tmp_path / "e.pt").embeddings, VECTORS)


class Harmful:
    def __reduce__(self):
        return (print, ("this must never run",))


@pytest.mark.parametrize("content", [{"embeddings": VECTORS, "product_ids": [1, 2], "x": Harmful()}, [1, 2]])
def test_a_file_that_names_code_or_holds_no_dictionary_is_refused(torch, tmp_path, capsys, content):
    torch.save(content, tmp_path / "e.pt")
    with pytest.raises(RawDataError, match=r"weights_only|holds a list"):
        read_product_embeddings(tmp_path / "e.pt")
    assert "never" not in capsys.readouterr().out


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 broken", pickle.dumps({"a": 1}, protocol=2)])
def test_damaged_torch_files_are_raw_data_errors(torch, tmp_path, damage):
    (tmp_path / "e.pt").write_bytes(damage)
    with pytest.raises(RawDataError, match=r"e\.pt"):
        read_product_embeddings(tmp_path / "e.pt")


def test_safetensors_keep_text_ids_in_their_metadata(tmp_path):
    numpy_format = pytest.importorskip("safetensors.numpy", reason="the extra embed is not installed")
    path = tmp_path / "e.safetensors"
    metadata = {"item_ids": json.dumps(["007", "x"]), "name": "m", "version": "1"}
    numpy_format.save_file({"embeddings": VECTORS.astype(np.float16)}, path, metadata)
    read = read_product_embeddings(path)
    assert np.array_equal(read.embeddings, VECTORS)
    assert (read.item_ids, read.name, read.version) == (("007", "x"), "m", "1")
    numpy_format.save_file({"embeddings": VECTORS, "product_ids": np.array([7, 8])}, path)
    assert read_product_embeddings(path).item_ids == ("7", "8")
    for text in ("[", "{}"):
        numpy_format.save_file({"embeddings": VECTORS}, path, {"item_ids": text})
        with pytest.raises(RawDataError, match="metadata item_ids is no JSON"):
            read_product_embeddings(path)
    path.write_bytes(b"\x10" + bytes(30))
    with pytest.raises(RawDataError, match="cannot be read"):
        read_product_embeddings(path)


@pytest.mark.parametrize(("package", "name"), [("torch", "e.pt"), ("safetensors", "e.safetensors")])
def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch, package, name):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(ConfigError, match=r"pip install 'train-cf\["):
        read_product_embeddings(tmp_path / name)
