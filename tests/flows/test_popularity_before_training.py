"""A popularity baseline that the data cannot give ends the night before anything is trained."""

from contextlib import ExitStack

import pytest

from flows.tasks import hold_run_task
from recsys.cf.data.demo import write_demo_shop
from recsys.cf.data.prepare import prepare
from recsys.config.load import load_config
from recsys.errors import ConfigError
from recsys.pipeline.nightly import run_nightly
from recsys.pipeline.run import open_run
from recsys.storage.local import LocalStore

SETTINGS = ["evaluation.popularity=num_sold_time", "runtime.models=[als]", "als.preset=default"]


def by_command(store, config):
    run_nightly(store.uri, config)


def by_flow(store, config):
    with ExitStack() as held:
        hold_run_task.fn(held, open_run(store.uri, config))


@pytest.mark.parametrize("begin", [by_command, by_flow])
def test_number_sold_without_that_column_is_refused_before_training(tmp_path, begin):
    store, config = LocalStore(tmp_path / "store"), load_config(None, SETTINGS)
    shop = write_demo_shop(tmp_path / "raw", size="small", seed=2, users=400, interactions=3_000)
    prepare(store, shop.reviews, None, config.data, seed=0)
    with pytest.raises(ConfigError, match=r"evaluation\.popularity: num_sold_time"):
        begin(store, config)
    assert not list(store.list("runs/"))


def test_with_the_column_the_night_is_held(tmp_path):
    store, config = LocalStore(tmp_path / "store"), load_config(None, SETTINGS)
    shop = write_demo_shop(tmp_path / "raw", size="small", seed=2, users=400, interactions=3_000)
    prepare(store, shop.reviews, shop.products, config.data, seed=0)
    by_flow(store, config)
