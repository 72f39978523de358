"""What the hybrid model asks of the machine: torch, a device, memory. There is no GPU where this runs."""

import importlib.util

import pytest

from recsys.cf.models import hybrid_torch
from recsys.cf.models.hybrid_torch import choose_torch_device, deterministic_torch, require_torch
from recsys.config.schema import HybridConfig
from recsys.errors import ConfigError, DeviceUnavailable
from recsys.planning.memory import hybrid_bytes


@pytest.fixture(autouse=True)
def _no_simulation(monkeypatch):
    monkeypatch.delenv("RECSYS_TEST_SIMULATED_GPU", raising=False)


def test_without_torch_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for door in (require_torch, lambda: choose_torch_device("false")):
        with pytest.raises(ConfigError, match=r"pip install 'train-cf\[torch\]'"):
            door()


@pytest.mark.parametrize(
    ("use_gpu", "usable", "expected"),
    [("auto", True, "gpu"), ("auto", False, "cpu"), ("true", True, "gpu"), ("false", True, "cpu")],
)
def test_the_device_follows_the_setting_and_what_is_there(monkeypatch, use_gpu, usable, expected):
    monkeypatch.setattr(hybrid_torch, "require_torch", lambda: None)
    monkeypatch.setattr(hybrid_torch, "torch_gpu_is_usable", lambda: usable)
    assert choose_torch_device(use_gpu) == expected


def test_a_gpu_that_is_demanded_and_missing_is_an_error_that_says_what_is_missing():
    torch = pytest.importorskip("torch", reason="the extra torch is not installed")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(DeviceUnavailable, match=r"hybrid\.use_gpu"):
        choose_torch_device("true")


def test_determinism_is_asked_for_and_given_back():
    torch = pytest.importorskip("torch", reason="the extra torch is not installed")
    before = torch.are_deterministic_algorithms_enabled()
    with deterministic_torch():
        assert torch.are_deterministic_algorithms_enabled()
    assert torch.are_deterministic_algorithms_enabled() is before


def test_predicted_memory_grows_with_everything_it_depends_on():
    small = {"n_users": 1000, "n_items": 100, "n_positives": 5000, "dimensions": 32}
    least = hybrid_bytes(**small, config=HybridConfig(batch_size=64))
    for name, value in small.items():
        assert hybrid_bytes(**{**small, name: 10 * value}, config=HybridConfig(batch_size=64)) > least
    # two tables of factors with two moments each, the best copy, a checkpoint of all of it
    assert least > 7 * 4 * 64 * (small["n_users"] + small["n_items"])
