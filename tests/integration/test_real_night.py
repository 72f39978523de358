"""The whole night on real reviews, with settings fixed so that it takes seconds."""

import pytest

from recsys.cf.data.prepare import prepare
from recsys.config.load import load_config
from recsys.pipeline.nightly import run_nightly
from recsys.registry.catalogue import Registry
from recsys.storage.local import LocalStore

pytestmark = pytest.mark.real_data

SETTINGS = {
    # what the search chose, see the results table in README
    "hasaki": ["als.regularization=200", "als.alpha=10", "als.factors=64"],
    "amazon_magazine": ["als.regularization=50", "als.alpha=30", "als.factors=64"],
}
BPR = [
    "bpr.negative_sampling=uniform",
    "bpr.regularization=0.03",
    "bpr.learning_rate=0.2",
    "bpr.item_bias=false",
]


@pytest.mark.parametrize("name", SETTINGS)
def test_night_on_real_reviews(real_data, tmp_path, name):
    folder = real_data / name
    config = load_config(None, [*SETTINGS[name], *BPR])
    store = LocalStore(tmp_path / "store")
    prepare(store, folder / "interactions.parquet", folder / "items.parquet", config.data, seed=42)
    result = run_nightly(str(tmp_path / "store"), config, output=str(tmp_path / "out"))
    for model in ("als", "bpr"):
        facts = result["models"][model]
        assert facts["trials"] == [], "every searched field is fixed"
        assert facts["improvement"]["recall@10"] > 0.2
        assert facts["improvement_ci"]["recall@10"][0] > 0
    assert result["decision"]["promote"]
    assert list(Registry(store).verify()) == []
