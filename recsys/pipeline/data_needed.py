"""Which data versions somebody still needs, so that retention leaves them alone."""

from datetime import datetime

from recsys.cf.data.version import list_versions
from recsys.registry.catalogue import Registry
from recsys.registry.lease import any_running, running_since
from recsys.storage.base import Store

_KINDS = ("r", "st")  # of ids that have the hash of their data: nights and studies


def needed_data_versions(store: Store, now: datetime) -> set[str]:
    """Return the versions of champion, previous champion and running nights."""
    hashes = _running_hashes(store, now)
    return _served_versions(store) | {
        summary.version for summary in list_versions(store) if summary.content_hash[:12] in hashes
    }


def is_needed(store: Store, version: str, now: datetime) -> bool:
    """Return whether the version with this id is one of them; reads no manifest, and no run of other data."""
    digits = version.rsplit("_", 1)[-1]
    return version in _served_versions(store) or any(
        any_running(store, f"{kind}_{digits}_", now) for kind in _KINDS
    )


def _served_versions(store: Store) -> set[str]:
    state = Registry(store).state()
    return {state.models[model_id].data_version for model_id in state.aliased if model_id in state.models}


def _running_hashes(store: Store, now: datetime) -> set[str]:
    """Return the first 12 digits of the content hash of what nights and studies read, of which their ids tell."""
    return {run_id.split("_")[1] for run_id in running_since(store, now) if run_id.count("_") >= 2}
