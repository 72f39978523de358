"""Where ALS trains. There is no GPU on the machines that run this: see the names of the tests."""

from typing import ClassVar

import numpy as np
import pytest
from scipy.sparse import random as random_matrix

from recsys.cf.models import als, device
from recsys.cf.models.als import fit_als
from recsys.config.schema import AlsConfig
from recsys.errors import DeviceUnavailable

SMALL = AlsConfig(preset="default", factors=4, iterations=3, regularization=0.1)


@pytest.fixture(autouse=True)
def _no_simulation(monkeypatch):
    monkeypatch.delenv("RECSYS_TEST_SIMULATED_GPU", raising=False)


def matrix():
    return random_matrix(40, 20, density=0.3, format="csr", dtype=np.float32, rng=np.random.default_rng(0))


@pytest.mark.parametrize(
    ("use_gpu", "usable", "expected"),
    [("auto", True, "gpu"), ("auto", False, "cpu"), ("true", True, "gpu"), ("false", True, "cpu")],
)
def test_the_device_follows_the_setting_and_what_is_there(monkeypatch, use_gpu, usable, expected):
    monkeypatch.setattr(device, "gpu_is_usable", lambda: usable)
    assert device.choose_device(use_gpu) == expected


def test_a_gpu_that_is_demanded_and_missing_is_an_error_that_says_what_is_missing(monkeypatch):
    monkeypatch.setattr(device, "gpu_is_usable", lambda: False)
    with pytest.raises(DeviceUnavailable, match="CUDA"):
        device.choose_device("true")


def test_a_simulated_gpu_trains_the_same_model_on_the_cpu_and_says_what_it_was(monkeypatch):
    plain = fit_als(matrix(), SMALL, seed=1)
    monkeypatch.setenv("RECSYS_TEST_SIMULATED_GPU", "1")
    simulated = fit_als(matrix(), SMALL.model_copy(update={"use_gpu": "true"}), seed=1)
    assert simulated.device == "simulated-gpu"
    assert simulated.factors.sha256() == plain.factors.sha256()


class StubGpuMatrix:
    """In place of implicit.gpu.Matrix: what it was made of, and the way back."""

    def __init__(self, array):
        self.array = np.array(array)

    def to_numpy(self):
        return self.array


class StubGpuModel:
    """In place of implicit's GPU class: checks what it is given, and doubles U in each iteration."""

    made_with: ClassVar[dict[str, object]] = {}

    def __init__(self, **options):
        type(self).made_with = options
        self.iterations = options["iterations"]

    def fit(self, user_items, show_progress, callback):
        assert isinstance(self.user_factors, StubGpuMatrix)
        assert (len(self.user_factors.array), len(self.item_factors.array)) == user_items.shape
        for iteration in range(self.iterations):
            self.user_factors.array *= 0.5  # towards zero: the loss falls or stays within its tolerance
            callback(iteration, 0.0, None)


def test_stub_of_the_gpu_class_gets_matrices_of_its_own_kind_and_no_cpu_options(monkeypatch):
    import implicit.als
    import implicit.gpu

    monkeypatch.setattr(als, "choose_device", lambda use_gpu: "gpu")
    monkeypatch.setattr(implicit.gpu, "Matrix", StubGpuMatrix, raising=False)
    monkeypatch.setattr(implicit.als, "AlternatingLeastSquares", StubGpuModel)
    monkeypatch.setattr(als, "als_loss", lambda *args: 1.0)
    result = fit_als(matrix(), SMALL, seed=1)
    assert result.device == "gpu"
    assert StubGpuModel.made_with["use_gpu"] is True
    assert "num_threads" not in StubGpuModel.made_with
    assert isinstance(result.factors.user_factors, np.ndarray)
    assert result.factors.user_factors.dtype == np.float32
