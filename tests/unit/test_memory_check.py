"""The refusal to start asks what this machine needs for the engine that trains, not for another."""

from types import SimpleNamespace

import pytest

from recsys.cf.models import memory
from recsys.config.load import load_config
from recsys.errors import NotEnoughMemory
from recsys.pipeline.memory_check import require_memory_of_run

GB = 1e9


def run_of(model, *settings):
    config = load_config(None, [f"runtime.models=[{model}]", *settings])
    return SimpleNamespace(
        config=config, section=lambda name: getattr(config, name), searched={model: frozenset()}
    )


def data_of(n_users, n_items, n_interactions):
    matrix = SimpleNamespace(nnz=n_interactions)
    return SimpleNamespace(n_users=n_users, n_items=n_items, X_train_confidence=matrix, X_train_binary=matrix)


@pytest.mark.parametrize(
    ("model", "engine"), [("bpr", "torchrec"), ("als", "spark")], ids=lambda value: value
)
def test_a_fit_that_one_machine_cannot_do_is_let_go_to_its_engine(monkeypatch, model, engine):
    # few rows, two billion interactions: what a fit here holds for each of them is what it lacks room for
    data = data_of(1_000_000, 100_000, 2_000_000_000)
    monkeypatch.setattr(memory, "free_memory_bytes", lambda: 16 * GB)
    with pytest.raises(NotEnoughMemory, match=f"training {model} needs"):
        require_memory_of_run(run_of(model), data, 0)
    require_memory_of_run(run_of(model, f"runtime.engine.{model}={engine}"), data, 0)


def test_factors_that_the_driver_cannot_hold_are_refused_with_an_engine_too(monkeypatch):
    monkeypatch.setattr(memory, "free_memory_bytes", lambda: 16 * GB)
    run = run_of("bpr", "runtime.engine.bpr=torchrec")
    with pytest.raises(NotEnoughMemory):
        require_memory_of_run(run, data_of(100_000_000, 1_000_000, 1_000), 0)
