"""Copies of a night's models where people look for them: only copies are replaced."""

import logging
from types import SimpleNamespace

import pytest
from sample_models import publish, write_model

from recsys.pipeline.local_copies import copy_results
from recsys.registry.catalogue import Registry
from recsys.storage.local import LocalStore


@pytest.fixture
def run(tmp_path):
    store = LocalStore(tmp_path / "store")
    store.put_new("runs/r/report.html", b"report")
    output = tmp_path / "output"
    output.mkdir()
    return SimpleNamespace(output=str(output), store_uri=store.uri, open_store=lambda: store)


def night(run, tmp_path, number):
    model_id = publish(Registry(run.open_store()), write_model(tmp_path / f"m{number}", scale=number))
    return {"models": {"als": {"model_id": model_id}}, "report": f"{run.store_uri}/runs/r/report.html"}


def test_the_copy_of_an_earlier_night_is_replaced(run, tmp_path):
    copied = tmp_path / "output" / "als" / "als_U.npy"
    before = []
    for number in (1, 2):
        assert copy_results(run, night(run, tmp_path, number))["local_artifacts"] == run.output
        before.append(copied.read_bytes())
    assert before[0] != before[1]
    assert before[1] == (tmp_path / "m2" / "als_U.npy").read_bytes()
    assert sorted(path.name for path in (tmp_path / "output").iterdir()) == ["als", "report.html"]


@pytest.mark.parametrize("beside_a_copy", [False, True])
def test_a_directory_of_other_people_is_never_replaced(run, tmp_path, caplog, beside_a_copy):
    """As of a project with a folder als: --output ."""
    if beside_a_copy:
        copy_results(run, night(run, tmp_path, 1))
    mine = tmp_path / "output" / "als" / "thesis.txt"
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("years of work")
    with caplog.at_level(logging.WARNING):
        result = copy_results(run, night(run, tmp_path, 2))
    assert mine.read_text() == "years of work"
    assert "local_artifacts" not in result
    assert "als holds thesis.txt" in caplog.text


def test_a_damaged_manifest_is_no_licence(run, tmp_path, caplog):
    als = tmp_path / "output" / "als"
    als.mkdir()
    (als / "manifest.json").write_text('{"icons": []}')
    with caplog.at_level(logging.WARNING):
        assert "local_artifacts" not in copy_results(run, night(run, tmp_path, 1))
    assert (als / "manifest.json").read_text() == '{"icons": []}'
    assert "als holds manifest.json" in caplog.text
