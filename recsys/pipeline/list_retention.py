"""Which sets of recommendations are there, and which may go: all but the newest, the latest and the young."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from recsys.errors import IntegrityError
from recsys.pipeline.list_set import LATEST_KEY, MANIFEST, SETS_PREFIX, read_set
from recsys.registry.lease import running_since
from recsys.storage.base import ObjectInfo, Store
from recsys.storage.documents import read_document, to_bytes
from recsys.types import Json


@dataclass(frozen=True)
class StoredSet:
    """A set of recommendations in the store, finished or not."""

    prefix: str
    model_id: str
    set_id: str
    n_bytes: int
    modified_at: datetime  # when its manifest was written, or the newest of its files
    manifest: Json | None  # None: unfinished, or its manifest cannot be read
    is_latest: bool


@dataclass(frozen=True)
class OldSet:
    """A set that is or would be removed, and why."""

    prefix: str
    n_bytes: int
    reason: str


def list_sets(store: Store) -> list[StoredSet]:
    """Return every set, finished or not, oldest first; reads listings and manifests."""
    objects: dict[str, list[ObjectInfo]] = defaultdict(list)
    for info in store.list(SETS_PREFIX):
        parts = info.key.removeprefix(SETS_PREFIX).split("/")
        if len(parts) == 3:
            objects[f"{SETS_PREFIX}{parts[0]}/{parts[1]}"].append(info)
    latest = _latest_prefix(store)
    found = [_stored(store, prefix, infos, latest) for prefix, infos in objects.items()]
    return sorted(found, key=lambda one: (one.modified_at, one.prefix))


def plan_set_retention(store: Store, *, keep_sets: int, cutoff: datetime, now: datetime) -> list[OldSet]:
    """Return the sets that may go, oldest first.

    Args:
        keep_sets: The newest finished ones of the same settings (k, method, ...) that stay whatever they are.
        cutoff: Nothing written at or after it is touched, nor what latest.json names, nor a set at work.
    """
    running = running_since(store, now)
    kept: dict[bytes, int] = defaultdict(int)
    old = []
    for one in reversed(list_sets(store)):
        reason = "never finished"
        if one.manifest is not None:
            settings = to_bytes(one.manifest["settings"])
            kept[settings] += 1
            if kept[settings] <= keep_sets:
                continue
            reason = f"beyond the newest {keep_sets} sets of these settings"
        if one.modified_at >= cutoff or one.is_latest or one.set_id in running:
            continue
        old.append(OldSet(one.prefix, one.n_bytes, reason))
    return old[::-1]


def remove_sets(store: Store, sets: Sequence[OldSet]) -> None:
    """Remove them, the manifest first: from then on the set does not exist. What became the latest stays."""
    for old in sets:
        if old.prefix == _latest_prefix(store):
            continue
        store.delete(f"{old.prefix}/{MANIFEST}")
        for info in list(store.list(f"{old.prefix}/")):
            store.delete(info.key)


def _stored(store: Store, prefix: str, infos: Sequence[ObjectInfo], latest: str | None) -> StoredSet:
    model_id, set_id = prefix.removeprefix(SETS_PREFIX).split("/")
    try:
        manifest = read_set(store, prefix)
    except IntegrityError:
        manifest = None
    written = [info.modified_at for info in infos if info.key == f"{prefix}/{MANIFEST}"]
    return StoredSet(
        prefix=prefix,
        model_id=model_id,
        set_id=set_id,
        n_bytes=sum(info.n_bytes for info in infos),
        modified_at=written[0] if written else max(info.modified_at for info in infos),
        manifest=manifest,
        is_latest=prefix == latest,
    )


def _latest_prefix(store: Store) -> str | None:
    latest = read_document(store, LATEST_KEY, required=("prefix",))
    return None if latest is None else str(latest["prefix"])
