"""The report of a registered model, built again from the registry alone."""

import json

from recsys.errors import IntegrityError, ObjectNotFound, RegistryError
from recsys.pipeline.nights import read_events
from recsys.registry.artifact import load_manifest, model_prefix
from recsys.registry.catalogue import Registry
from recsys.registry.state import ModelEntry
from recsys.reporting.model_card import model_document
from recsys.storage.base import Store, bytes_sha256
from recsys.storage.documents import read_document
from recsys.types import Json

DOCUMENT = "report.json"


def registered_report(store: Store, name: str) -> tuple[str, Json, Json]:
    """Return (model type, the document of its report, what the registry says of the model since).

    The document is the one that lies beside the factors, checked against the manifest; for models of older
    versions, which have none, it comes from the result of their run.

    Raises:
        ModelNotFound: There is no such model, or several begin like that.
        IntegrityError: The document is not the one that was registered.
        RegistryError: Neither the document nor the result of the run is there.
    """
    registry = Registry(store)
    entry = registry.show(name)
    document = _registered(store, entry) or _of_the_run(store, entry)
    if document is None:
        raise RegistryError(
            f"{entry.model_id} has no {DOCUMENT}, and the result of its run {entry.run_id} is gone; "
            f"its page of that time may lie at {store.uri}/{model_prefix(entry.model_id)}report.html"
        )
    changes = [
        {"time": event.time, "actor": event.actor, "action": event.action, "reasons": list(event.reasons)}
        for event in read_events(store, registry.state().generation)
        if event.arguments.get("model_id") == entry.model_id
    ]
    return (
        entry.model_type,
        document,
        {"model_id": entry.model_id, "status": entry.status, "changes": changes},
    )


def _registered(store: Store, entry: ModelEntry) -> Json | None:
    manifest, _ = load_manifest(store, entry.model_id, entry.manifest_sha256)
    if DOCUMENT not in manifest["files"]:
        return None
    key = model_prefix(entry.model_id) + DOCUMENT
    try:
        data = store.get(key).data
    except ObjectNotFound as error:
        raise IntegrityError(f"{key} is gone though the manifest names it") from error
    if bytes_sha256(data) != manifest["files"][DOCUMENT]["sha256"]:
        raise IntegrityError(f"{key} is damaged: it is not the document that was registered")
    document: Json = json.loads(data)
    return document


def _of_the_run(store: Store, entry: ModelEntry) -> Json | None:
    result = read_document(store, f"runs/{entry.run_id}/result.json")
    if result is None or entry.model_type not in result.get("models", {}):
        return None
    return model_document(result, entry.model_type)
