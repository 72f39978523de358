"""The champion alias moved by hand, from the Prefect UI or by `prefect deployment run`."""

from datetime import UTC, datetime
from pathlib import Path

from prefect import flow, task
from prefect.context import FlowRunContext

from flows.events import emit_champion_changed
from flows.tasks import STAGE
from recsys.config.load import load_config
from recsys.config.settings import default_store_uri
from recsys.registry.catalogue import UNSET, Registry, Unset
from recsys.registry.lookup import find_model
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
    return promote_task(store or default_store_uri(), config_path, model, reason, _asked_at())


@flow(name="rollback", flow_run_name="rollback", persist_result=False)
def rollback(
    reason: str,
    store: str | None = None,
    config_path: str | None = None,
    expected_champion: str | None = None,
) -> Json:
    """Go back to the newest former champion whose files are intact; return its entry.

    A run may wait for a worker while a night promotes another model. It fails then and changes nothing: a step
    back from the new champion would lead to the model that was to be left.

    Args:
        reason: why; kept in the registry's history.
        store: where the registry lives; None: RECSYS_STORE or ./store.
        config_path: the configuration file, for registry.single_writer; None: the defaults.
        expected_champion: the model to leave, its id or unique beginning; None: the one that served when this
            run was created.
    """
    return rollback_task(store or default_store_uri(), config_path, reason, expected_champion, _asked_at())


@task(name="promote", **STAGE)
def promote_task(store: str, config_path: str | None, model: str, reason: str, asked_at: datetime) -> Json:
    """Move the alias to the model and tell the world, unless it was there already.

    An attempt after one that moved the alias and then failed moves nothing, and tells.
    """
    registry, reasons = _registry(store, config_path), (f"by hand: {reason}",)
    before, target = registry.state().champion, model
    expected: str | Unset | None = UNSET
    if model == "previous":  # another model once the champion has moved, be it by an earlier attempt
        then = registry.state_at(asked_at)
        target, expected = find_model(then, model).model_id, then.champion
    entry = registry.promote(target, reasons=reasons, expected_champion=expected)
    # Only the log knows whether an earlier attempt moved the alias; where clocks differ, it may miss that of this one.
    replaced = [
        move.arguments["from"]
        for move in registry.moves_since(asked_at)
        if move.arguments["model_id"] == entry.model_id and move.reasons == reasons
    ]
    if replaced or entry.model_id != before:
        emit_champion_changed(store, entry.model_id, replaced[-1] if replaced else before, reasons)
    return entry.to_json()


# Never repeated: if the first attempt moved the alias and failed after it, a second would find it moved and fail.
@task(name="rollback", **(STAGE | {"retries": 0}))
def rollback_task(
    store: str, config_path: str | None, reason: str, expected_champion: str | None, asked_at: datetime
) -> Json:
    """Move the alias back and tell the world."""
    registry = _registry(store, config_path)
    named = expected_champion and registry.show(expected_champion).model_id
    leaving = named or registry.champion_at(asked_at)
    entry = registry.rollback(reason, expected_champion=leaving)
    emit_champion_changed(store, entry.model_id, leaving, [f"rollback: {reason}"])
    return entry.to_json()


def _asked_at() -> datetime:
    """Return when this flow run was created, by the server's clock; a worker may have taken it much later."""
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    return run.created if run is not None and run.created is not None else datetime.now(UTC)


def _registry(store: str, config_path: str | None) -> Registry:
    config = load_config(Path(config_path) if config_path else None)
    return Registry(open_store(store), single_writer=config.registry.single_writer)
