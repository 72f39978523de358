"""Old data versions leave: all but the newest, the latest, the protected and the young."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from recsys.cf.data.manifest import MANIFEST_FILE, VERSIONS_PREFIX, file_key
from recsys.cf.data.version import latest_version
from recsys.storage.base import ObjectInfo, Store


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
        if slash:
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


def remove_versions(store: Store, versions: Sequence[OldVersion]) -> None:
    """Remove them, the manifest first: from then on the version does not exist, and a kill leaves no half one.

    A version that became the latest meanwhile stays.
    """
    for old in versions:
        if old.version == latest_version(store):
            continue
        store.delete(file_key(old.version, MANIFEST_FILE))
        for info in list(store.list(f"{VERSIONS_PREFIX}{old.version}/")):
            store.delete(info.key)
