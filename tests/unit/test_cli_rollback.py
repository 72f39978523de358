"""`recsys registry rollback`: which model it leaves, and what it says when another serves by now."""

import json

import pytest
from sample_models import publish, write_model

from recsys.cli.main import run
from recsys.registry.catalogue import Registry
from recsys.storage.open import open_store


@pytest.fixture
def registry(tmp_path):
    return Registry(open_store(str(tmp_path / "store")))


@pytest.fixture
def models(registry, tmp_path):
    """Return three models, the last of which serves."""
    model = write_model(tmp_path / "model")
    ids = [publish(registry, model) for _ in range(3)]
    for model_id in ids:
        registry.promote(model_id, reasons=["better"])
    return ids


def rollback(registry, *options):
    """Run the command and return its exit code."""
    with pytest.raises(SystemExit) as ended:
        run(["registry", "rollback", "--store", registry.store.uri, "--reason", "bad", "--json", *options])
    return ended.value.code


def test_a_rollback_from_another_model_than_the_expected_one_is_refused(registry, models, capsys):
    _, bad, better = models
    assert rollback(registry, "--expected-champion", bad) == 4
    assert f"{bad} was to be left, but {better} serves now" in capsys.readouterr().err
    assert registry.state().champion == better


@pytest.mark.parametrize("named", [True, False])
def test_a_rollback_leaves_the_model_that_serves(registry, models, capsys, named):
    _, before, serving = models
    assert rollback(registry, *(("--expected-champion", serving) if named else ())) == 0
    assert json.loads(capsys.readouterr().out)["model_id"] == before == registry.state().champion


def test_a_night_that_promotes_while_the_command_runs_is_not_rolled_back(
    registry, models, capsys, monkeypatch
):
    first, _, serving = models
    commit = Registry.rollback

    def after_a_night(self, *arguments, **options):
        registry.promote(first, reasons=["the night"])
        return commit(self, *arguments, **options)

    monkeypatch.setattr(Registry, "rollback", after_a_night)
    assert rollback(registry) == 4
    assert f"{serving} was to be left" in capsys.readouterr().err
    assert registry.state().champion == first
