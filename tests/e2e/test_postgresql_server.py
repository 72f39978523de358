"""PostgreSQL as the database of the Prefect server: the same deployments, a run, and a rollback by hand."""

import pytest
from postgres import ask, running_postgres
from prefect_servers import LONG_ENOUGH_SECONDS, deploy, running_prefect, until

from recsys.cf.data.demo import write_demo_shop
from recsys.cf.data.prepare import prepare
from recsys.config.load import load_config
from recsys.registry.catalogue import Registry
from recsys.storage.open import open_store

QUICK = [
    *("als.preset=default", "als.iterations=4", "als.factors=16", "als.regularization=50"),
    *("bpr.preset=original", "bpr.epochs=10", "bpr.factors=16", "bpr.negative_sampling=uniform"),
    "promotion.min_improvement=0",
]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    write_demo_shop(folder / "raw", size="small", seed=3)
    store = open_store(str(folder / "store"))
    prepare(store, folder / "raw" / "reviews.csv", None, load_config(None).data, seed=42)
    return store


def test_a_night_and_promotion_by_hand_on_postgresql(tmp_path, store):
    with running_postgres() as address:
        database = f"postgresql+asyncpg://{address}"
        environment = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": database, "RECSYS_STORE": store.uri}
        with running_prefect(tmp_path, **environment) as prefect:
            deploy(prefect, {})
            with prefect.worker("cpu"):
                until(lambda: prefect.has_worker("cpu") or None, LONG_ENOUGH_SECONDS, "worker")
                night = prefect.wait(
                    prefect.start_run("train-cf/nightly", overrides=QUICK), LONG_ENOUGH_SECONDS
                )
                assert night["state_type"] == "COMPLETED", prefect.logs(night["id"])
                registry = Registry(store)
                champion = registry.state().champion
                other = next(one for one in registry.list() if one.model_id != champion)
                promoted = prefect.start_run("promote/manual", model=other.model_id, reason="to see it")
                assert prefect.wait(promoted, LONG_ENOUGH_SECONDS)["state_type"] == "COMPLETED"
                assert registry.state().champion == other.model_id
                back = prefect.start_run("rollback/manual", reason="enough seen")
                assert prefect.wait(back, LONG_ENOUGH_SECONDS)["state_type"] == "COMPLETED"
                assert registry.state().champion == champion
            states = ask(address, "select state_type from flow_run where start_time is not null")
            assert states.split() == ["COMPLETED"] * 3
            assert not (tmp_path / "prefect" / "prefect.db").exists(), "nothing went to SQLite"
