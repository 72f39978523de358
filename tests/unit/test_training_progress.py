"""How far a training is."""

from types import SimpleNamespace

import pytest

from recsys.config.load import load_config
from recsys.pipeline.progress import ProgressCount


@pytest.fixture
def count():
    config = load_config(None, ["bpr.epochs=40"])
    return ProgressCount(SimpleNamespace(section=lambda model: getattr(config, model)), "bpr")


def test_trials_are_numbered_and_are_no_progress_of_the_fit(count):
    rows = [{"epoch": epoch, "loss": 0.5} for epoch in (1, 2, 1, 2)]
    seen = [count(True, row) for row in rows]
    assert [one.percent for one in seen] == [0, 0, 0, 0]
    assert [one.text for one in seen][1::2] == ["trial 1, epoch 2, loss 0.5", "trial 2, epoch 2, loss 0.5"]


def test_the_share_of_the_epochs_is_the_percent(count):
    row = {"epoch": 10, "loss": 0.25, "ndcg@10": 0.125}
    assert count(False, row).percent == 25
    assert count(False, row).text == "training, epoch 10, loss 0.25, ndcg@10 0.1250"
    assert count(False, {"epoch": 40, "loss": 0.1}).percent == 100
