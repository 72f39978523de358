"""Which sets of recommendations are there, and which may go: all but the newest, the latest and the young."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from recsys.errors import IntegrityError
from recsys.pipeline.list_set import LATEST_KEY, MANIFEST, SETS_PREFIX, is_set_id, read_set
from recsys.registry.lease import is_running, running_since
from recsys.storage.base import ObjectInfo, Store
from recsys.storage.documents import read_document, to_bytes
from recsys.storage.removal import remove_unused
from recsys.types import Json

logger = logging.getLogger(__name__)


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
        if len(parts) == 3 and is_set_id(parts[1]):  # other things are not ours
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


def remove_sets(store: Store, sets: Sequence[OldSet], *, cutoff: datetime, now: datetime) -> list[OldSet]:
    """Remove them and return those that went: what became the latest, or is worked at, meanwhile stays.

    The manifest goes first: from then on the set does not exist. Both are asked before each object goes;
    ``recsys.storage.removal`` says what remains possible. Whoever makes or finds a set holds its lease before the
    first look, makes again what is missing and looks at all files before it writes a manifest.

    Args:
        cutoff: A set of which anything was written at or after it stays. now: as in ``plan_set_retention``.
    """
    return [old for old in sets if _removed(store, old.prefix, cutoff, now)]


def _removed(store: Store, prefix: str, cutoff: datetime, now: datetime) -> bool:
    objects, set_id = list(store.list(f"{prefix}/")), prefix.rsplit("/", 1)[1]
    young = any(info.modified_at >= cutoff for info in objects)
    gone = not young and remove_unused(
        store,
        objects,
        lambda: is_running(store, set_id, now) or _latest_prefix(store) == prefix,
        manifest=f"{prefix}/{MANIFEST}",
    )
    if not gone:
        logger.info("%s stays: somebody uses it by now", prefix)
    return gone


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
