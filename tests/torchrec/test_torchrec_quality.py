"""Quality on a demo shop: two ranks as good as one and as the local kernel, within the paired interval; a night."""

import pytest
from sharded_fits import needs_torchrec

from recsys.cf.data.demo import write_demo_shop
from recsys.cf.data.load import load_processed_data
from recsys.cf.data.prepare import prepare
from recsys.cf.evaluation.evaluate import evaluate
from recsys.cf.evaluation.significance import paired_bootstrap
from recsys.cf.models.base import FitControl
from recsys.cf.models.bpr import fit_bpr
from recsys.cf.models.torchrec_fit import fit_bpr_torchrec
from recsys.cf.sampling.pools import build_pools
from recsys.cf.scoring.blocks import FactorScorer
from recsys.config.load import load_config
from recsys.config.schema import DataConfig, TorchRecConfig
from recsys.pipeline.fit import fit_model, load_factors
from recsys.pipeline.run import open_run
from recsys.storage.local import LocalStore

pytestmark = needs_torchrec
SETTINGS = [
    *("bpr.preset=original", "bpr.factors=16", "bpr.epochs=12", "bpr.learning_rate=0.1", "runtime.seed=5"),
    *("bpr.regularization=0.01", "bpr.negative_sampling=uniform", "bpr.validate_every=4"),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    place = tmp_path_factory.mktemp("shop")
    write_demo_shop(place / "raw", seed=3, size="small")
    store = LocalStore(place / "store")
    prepare(store, place / "raw" / "reviews.csv", None, DataConfig(), seed=3)
    return store


def per_user(data, factors):
    """Return each test user's recall@10 and ndcg@10."""
    found = evaluate(
        {"m": FactorScorer(factors)},
        data.held_out("test"),
        data.user_seen_train,
        k_values=(10,),
        block_users=1024,
        lists=False,
    )
    return found["m"].per_user


def test_ranks_and_kernel_are_equally_good_and_a_night_trains_with_them(store):
    data = load_processed_data(store)
    pools = build_pools(
        data.X_train_binary, data.user_seen_train, data.user_hard_neg_train, data.item_popularity
    )
    config = load_config(None, SETTINGS).bpr
    local = fit_bpr(pools, config, seed=5, control=FitControl())
    one = fit_bpr_torchrec(pools, config, settings=TorchRecConfig(ranks=1), seed=5)
    run = open_run(store.uri, load_config(None, [*SETTINGS, "runtime.engine.bpr=torchrec"]))
    two = load_factors(run, fit_model(run, "bpr"))  # the stage of a night, two ranks, validated

    chance = per_user(data, fit_bpr(pools, config.model_copy(update={"epochs": 1}), seed=5).factors)
    measured = {"one": per_user(data, one.factors), "two": per_user(data, two)}
    kernel = per_user(data, local.factors)
    for name, metric in ((name, metric) for name in measured for metric in ("recall@10", "ndcg@10")):
        interval = paired_bootstrap(
            measured[name][metric], kernel[metric], resamples=2000, level=0.95, seed=1
        )
        assert interval.high >= 0, f"{name} rank(s) against the kernel, {metric}: {interval}"
        assert interval.high - interval.low < kernel[metric].mean(), "narrow enough to tell"
    between = paired_bootstrap(
        measured["two"]["ndcg@10"], measured["one"]["ndcg@10"], resamples=2000, level=0.95, seed=1
    )
    assert between.low <= 0 <= between.high
    assert kernel["recall@10"].mean() > 1.2 * chance["recall@10"].mean(), "there is something to learn"
