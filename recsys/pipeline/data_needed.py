"""Which data versions somebody still needs, so that retention leaves them alone."""

from datetime import datetime

from recsys.cf.data.version import list_versions
from recsys.registry.catalogue import Registry
from recsys.registry.lease import running_since
from recsys.storage.base import Store


def needed_data_versions(store: Store, now: datetime) -> set[str]:
    """Return the versions of champion, previous champion and running nights.

    A run's id begins with the hash of its data version, see ``open_run``.
    """
    state = Registry(store).state()
    needed = {state.models[model_id].data_version for model_id in state.aliased if model_id in state.models}
    hashes = {run_id.split("_")[1] for run_id in running_since(store, now) if run_id.count("_") >= 2}
    return needed | {
        summary.version for summary in list_versions(store) if summary.content_hash[:12] in hashes
    }
