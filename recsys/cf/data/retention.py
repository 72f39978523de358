"""Old data versions leave: all but the newest, the latest, the protected and the young."""

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from recsys.cf.data.latest import latest_version
from recsys.cf.data.manifest import MANIFEST_FILE, VERSIONS_PREFIX, file_key
from recsys.cf.data.version import is_version_id
from recsys.storage.base import ObjectInfo, Store
from recsys.storage.removal import remove_unused

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class OldVersion:
    """A data version, or what a killed run left of one, that is or would be removed."""

    version: str
    n_objects: int
    n_bytes: int
    reason: str


def plan_retention(
    store: Store, *, keep_versions: int, cutoff: datetime, protected: Collection[str] = ()
) -> list[OldVersion]:
    """Return the versions that may go, oldest first; reads listings only.

    Args:
        keep_versions: the newest ones that stay whatever they are.
        cutoff: nothing written at or after it is touched.
        protected: ids that somebody needs: those of serving models and running trainings.
    """
    objects: dict[str, list[ObjectInfo]] = defaultdict(list)
    for info in store.list(VERSIONS_PREFIX):
        version, slash, _ = info.key.removeprefix(VERSIONS_PREFIX).partition("/")
        if slash and is_version_id(version):  # other things are not ours
            objects[version].append(info)
    published = {
        version: info.modified_at
        for version, infos in objects.items()
        for info in infos
        if info.key == file_key(version, MANIFEST_FILE)
    }
    # Ids know whole seconds only.
    newest = sorted(published, key=lambda version: (published[version], version))[-keep_versions:]
    kept = {*newest, *protected, latest_version(store)}
    old = []
    for version, infos in sorted(objects.items()):
        if version in kept or max(info.modified_at for info in infos) >= cutoff:
            continue
        reason = f"beyond the newest {keep_versions} versions" if version in published else "never finished"
        old.append(OldVersion(version, len(infos), sum(info.n_bytes for info in infos), reason))
    return old


def remove_versions(
    store: Store, versions: Sequence[OldVersion], needed: Callable[[str], bool] = lambda _: False
) -> list[OldVersion]:
    """Remove them and return those that went: a version that became the latest, or needed, meanwhile stays.

    The manifest goes first: from then on the version does not exist, and a kill leaves no half one. Both are asked
    before each object goes; ``recsys.storage.removal`` says what remains possible. A night takes its lease before it
    reads and hashes the version: one that begins in such a moment finds it missing or damaged and ends, untrained.

    Args:
        needed: asks whether somebody needs this id now, such as a serving model or a running training.
    """
    return [old for old in versions if _removed(store, old.version, needed)]


def _removed(store: Store, version: str, needed: Callable[[str], bool]) -> bool:
    gone = remove_unused(
        store,
        list(store.list(f"{VERSIONS_PREFIX}{version}/")),
        lambda: latest_version(store) == version or needed(version),
        manifest=file_key(version, MANIFEST_FILE),
    )
    if not gone:
        logger.info("data version %s stays: somebody uses it by now", version)
    return gone
