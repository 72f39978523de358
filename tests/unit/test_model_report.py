"""The report and the card of one model, built from the registry alone."""

import pytest
from registered_reports import register, result_of
from report_example import example_result

from recsys.errors import IntegrityError, ModelNotFound, RegistryError
from recsys.pipeline.model_report import registered_report
from recsys.registry.artifact import model_prefix
from recsys.registry.catalogue import Registry
from recsys.reporting.model_card import model_document, render_model_card, render_model_report
from recsys.storage.documents import to_bytes
from recsys.storage.local import LocalStore


@pytest.fixture
def store(tmp_path):
    return LocalStore(tmp_path / "store")


def test_the_report_of_a_model_comes_from_the_registry_alone(store, tmp_path):
    result = result_of(0)
    model_id = register(store, tmp_path, result)
    Registry(store, actor="ops").archive(model_id, ["too old"])
    model, document, standing = registered_report(store, model_id)
    assert model == "als"
    assert render_model_report(document, model) == render_model_report(result, "als")
    assert standing["status"] == "archived"
    page = render_model_report(document, model, standing)
    assert "This model is archived" in page
    assert "too old" in page


def test_a_model_without_a_document_is_reported_from_its_run(store, tmp_path):
    result = result_of(0)
    model_id = register(store, tmp_path, result, with_document=False)
    with pytest.raises(RegistryError, match=r"report\.html"):
        registered_report(store, model_id)
    store.put_new(f"runs/{result['run_id']}/result.json", to_bytes(result))
    assert registered_report(store, model_id)[1] == model_document(result, "als")


def test_a_changed_document_is_refused(store, tmp_path):
    model_id = register(store, tmp_path, result_of(0))
    path = store.root / model_prefix(model_id) / "report.json"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b"0.1", b"0.9", 1))
    with pytest.raises(IntegrityError, match=r"report\.json is damaged"):
        registered_report(store, model_id)
    with pytest.raises(ModelNotFound):
        registered_report(store, "als_2019")


def test_the_model_card_says_quality_limits_and_origin():
    card = render_model_card(example_result(), "als")
    for words in ("# ALS model", "recall@10 0.18", "26,012", "## Limits", "6bd64609363b", "| factors |"):
        assert words in card
    assert "bpr" not in card.lower().replace("als - bpr", "")
