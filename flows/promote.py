"""The champion alias moved by hand, from the Prefect UI or by `prefect deployment run`."""

from pathlib import Path

from prefect import flow, task

from flows.events import emit_champion_changed
from flows.tasks import STAGE
from recsys.config.load import load_config
from recsys.config.settings import default_store_uri
from recsys.registry.catalogue import Registry
from recsys.storage.open import open_store
from recsys.types import Json


@flow(name="promote", flow_run_name="promote {model}", persist_result=False)
def promote(model: str, reason: str, store: str | None = None, config_path: str | None = None) -> Json:
    """Make a model the champion, after its files were read back and hashed again; return its entry.

    Args:
        model: model id, its unique beginning, or "previous".
        reason: why; kept in the registry's history.
        store: where the registry lives; None: RECSYS_STORE or ./store.
        config_path: the configuration file, for registry.single_writer; None: the defaults.
    """
    return promote_task(store or default_store_uri(), config_path, model, reason)


@flow(name="rollback", flow_run_name="rollback", persist_result=False)
def rollback(reason: str, store: str | None = None, config_path: str | None = None) -> Json:
    """Go back to the newest former champion whose files are intact; return its entry."""
    return rollback_task(store or default_store_uri(), config_path, reason)


@task(name="promote", **STAGE)
def promote_task(store: str, config_path: str | None, model: str, reason: str) -> Json:
    """Move the alias to the model and tell the world, unless it was there already."""
    registry = _registry(store, config_path)
    before = registry.state().champion
    entry = registry.promote(model, reasons=[f"by hand: {reason}"])
    if entry.model_id != before:
        emit_champion_changed(store, entry.model_id, before, [f"by hand: {reason}"])
    return entry.to_json()


# Never repeated: if the first attempt moved the alias and failed after it, a second would go back twice.
@task(name="rollback", **(STAGE | {"retries": 0}))
def rollback_task(store: str, config_path: str | None, reason: str) -> Json:
    """Move the alias back and tell the world."""
    registry = _registry(store, config_path)
    before = registry.state().champion
    entry = registry.rollback(reason)
    emit_champion_changed(store, entry.model_id, before, [f"rollback: {reason}"])
    return entry.to_json()


def _registry(store: str, config_path: str | None) -> Registry:
    config = load_config(Path(config_path) if config_path else None)
    return Registry(open_store(store), single_writer=config.registry.single_writer)
