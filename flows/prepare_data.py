"""Raw reviews in, a data version out, before the night: the flow around `recsys prepare`."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from prefect import flow, task

from flows.artifacts import show_prepared
from flows.reach import tell
from flows.tasks import STAGE
from recsys.cf.data.engine import prepare_engine
from recsys.cf.data.prepare import prepare
from recsys.config.load import load_config
from recsys.config.settings import default_store_uri
from recsys.storage.open import open_store
from recsys.types import Json


@flow(name="prepare-data", flow_run_name="prepare {interactions}", persist_result=False)
def prepare_data(
    interactions: str,
    items: str | None = None,
    embeddings: str | None = None,
    append_to: str | None = None,
    store: str | None = None,
    config_path: str | None = None,
    overrides: Sequence[str] = (),
) -> Json:
    """Return the data version of these files and settings; one that exists is found, not made again.

    Args:
        interactions: reviews; a path that the worker can read, a pattern, or s3://bucket/key.
        items: products, likewise.
        embeddings: item embeddings (.npz), a path.
        append_to: data version whose raw rows these files continue, such as "latest". Runs that append to
            "latest" at the same time all end up in it.
        store: where everything durable lives; None: RECSYS_STORE or ./store.
        config_path: the configuration file; None: the defaults.
        overrides: settings such as "data.min_item_positives=3", "data.columns.user_id=customer" or
            "runtime.engine.prepare=spark" (the same bytes, by a cluster).
    """
    prepared = prepare_task(interactions, items, embeddings, append_to, store, config_path, overrides)
    tell(show_prepared, prepared)
    return prepared


@task(name="prepare", **STAGE)
def prepare_task(
    interactions: str,
    items: str | None,
    embeddings: str | None,
    append_to: str | None,
    store: str | None,
    config_path: str | None,
    overrides: Sequence[str],
) -> Json:
    """Clean, split, validate and publish; a new version, and every append to ``latest``, becomes the latest."""
    config = load_config(_path(config_path), overrides)
    uri = store or default_store_uri()
    prepared = prepare(
        open_store(uri),
        interactions,
        items,
        config.data,
        seed=config.runtime.seed,
        embeddings=_path(embeddings),
        append_to=append_to,
        engine=prepare_engine(config.runtime.engine.prepare, config.spark),
    )
    return {**asdict(prepared), "warnings": list(prepared.warnings), "store": uri}


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None
