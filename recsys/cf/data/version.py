"""Data versions in a store: immutable files under one prefix, and a manifest that makes them exist."""

import json
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from recsys.cf.data.files import STATS_FILE
from recsys.cf.data.latest import LATEST, latest_version
from recsys.cf.data.manifest import (
    MANIFEST_FILE,
    VERSIONS_PREFIX,
    FileEntry,
    Manifest,
    file_key,
    put_manifest,
    read_manifest,
)
from recsys.errors import (
    DataError,
    DataValidationError,
    DataVersionNotFound,
    ObjectExists,
    ObjectNotFound,
)
from recsys.storage.base import Store, file_sha256
from recsys.types import Json

logger = logging.getLogger(__name__)

_ID = re.compile(r"v_\d{8}T\d{6}Z_(?P<hash>[0-9a-f]{12})")
_HASH_PREFIX = re.compile(r"[0-9a-f]{4,64}")
_ATTEMPTS = 20


@dataclass(frozen=True)
class VersionSummary:
    """One line of ``recsys data list``."""

    version: str
    created_at: datetime
    content_hash: str
    is_latest: bool
    users: int
    items: int
    train: int
    validation: int
    test: int
    n_bytes: int


def is_version_id(name: str) -> bool:
    """Return whether ``name`` looks like the id of a data version, v_TIME_HASH."""
    return bool(_ID.fullmatch(name))


def list_versions(store: Store) -> list[VersionSummary]:
    """Return every data version of the store, oldest first; prefixes without a manifest are none.

    A version whose manifest cannot be read is left out with a warning; ``verify_version`` tells its fault.
    """
    latest = latest_version(store)
    summaries = []
    for version in _version_ids(store):
        try:
            manifest = read_manifest(store, version)
        except DataValidationError as error:
            logger.warning("%s", error)
            continue
        sizes = {
            name: manifest.summary.get(name, 0) for name in ("users", "items", "train", "validation", "test")
        }
        n_bytes = sum(entry.bytes for entry in manifest.files.values())
        summaries.append(
            VersionSummary(
                version,
                manifest.created_at,
                manifest.content_hash,
                version == latest,
                **sizes,
                n_bytes=n_bytes,
            )
        )
    return summaries


def resolve_version(store: Store, name: str) -> str:
    """Return the id of the version that ``name`` means: "latest", an id, or at least 4 digits of its hash.

    Of several versions with the same content the newest is meant. Raises DataVersionNotFound, also when a hash
    prefix fits different contents.
    """
    if name == LATEST:
        latest = latest_version(store)
        if latest is None:
            raise DataVersionNotFound(f"{store.uri} has no data version yet: run `recsys prepare` first")
        name = latest
    if _ID.fullmatch(name):
        if store.head(file_key(name, MANIFEST_FILE)) is None:
            raise DataVersionNotFound(f"{store.uri} has no data version {name}: see `recsys data list`")
        return name
    if not _HASH_PREFIX.fullmatch(name):
        raise DataVersionNotFound(
            f'{name!r} is no data version: give "latest", an id (v_TIME_HASH) or 4 to 64 digits of a hash'
        )
    return _by_hash(store, name)


def newest_version(store: Store) -> str | None:
    """Return the id that was made last, whether or not its manifest can be read; None before the first version."""
    return max(_version_ids(store), default=None)


def find_content(store: Store, content_hash: str) -> str | None:
    """Return the newest intact version with that content hash, or None; reads all its bytes to know."""
    for version in reversed(list(_version_ids(store))):
        if not version.endswith(content_hash[:12]):
            continue
        if findings := verify_version(store, version):
            logger.warning("data version %s is damaged, not taken: %s", version, "; ".join(findings))
        elif read_manifest(store, version).content_hash == content_hash:
            return version
    return None


def publish(store: Store, directory: Path, manifest: Manifest) -> str:
    """Upload the files of ``directory`` under a fresh id, the manifest last, and return the id.

    ``manifest`` comes with ``version`` and ``files`` still empty. What a killed run left behind under the same
    second's id stays untouched: the next second's id is taken.
    """
    files = {
        path.name: FileEntry(sha256=file_sha256(path), bytes=path.stat().st_size)
        for path in _paths(directory)
    }
    for seconds_later in range(_ATTEMPTS):
        time = manifest.created_at.astimezone(UTC) + timedelta(seconds=seconds_later)
        version = f"v_{time:%Y%m%dT%H%M%SZ}_{manifest.content_hash[:12]}"
        complete = manifest.model_copy(update={"version": version, "files": files})
        try:
            for name in files:
                store.put_file(file_key(version, name), directory / name)
            put_manifest(store, complete)
        except ObjectExists:
            continue  # taken within this second, by another run or by what a killed one left
        return version
    raise DataError(f"{store.uri}: {_ATTEMPTS} ids in a row are taken by other runs; run prepare again")


def store_stats(store: Store, version: str) -> Json:
    """Return data_stats.json of a version id, unverified: for showing, not for training."""
    document: Json = json.loads(store.get(file_key(version, STATS_FILE)).data)
    return document


def verify_version(store: Store, version: str) -> list[str]:
    """Return what is wrong with the stored bytes of a version; an empty list means every hash fits.

    Args:
        version: anything ``resolve_version`` understands. Raises DataVersionNotFound.
    """
    version = resolve_version(store, version)
    try:
        manifest = read_manifest(store, version)
    except DataValidationError as error:
        return list(error.findings)
    findings = []
    for name, entry in manifest.files.items():
        try:
            if store.sha256(file_key(version, name)) != entry.sha256:
                findings.append(f"{name}: SHA-256 differs from the manifest")
        except ObjectNotFound:
            findings.append(f"{name} is missing")
    stored = {info.key.rsplit("/", 1)[1] for info in store.list(f"{VERSIONS_PREFIX}{version}/")}
    findings += [
        f"{name} is not in the manifest" for name in sorted(stored - {*manifest.files, MANIFEST_FILE})
    ]
    return findings


def _paths(directory: Path) -> list[Path]:
    return sorted(path for path in directory.iterdir() if path.is_file())


def _version_ids(store: Store) -> Iterator[str]:
    """Yield the ids that have a manifest, in order of time."""
    for info in store.list(VERSIONS_PREFIX):
        parts = info.key.removeprefix(VERSIONS_PREFIX).split("/")
        if len(parts) == 2 and parts[1] == MANIFEST_FILE and _ID.fullmatch(parts[0]):
            yield parts[0]


def _by_hash(store: Store, prefix: str) -> str:
    fitting = []
    for version in _version_ids(store):
        if version.rsplit("_", 1)[1].startswith(prefix[:12]):
            content_hash = read_manifest(store, version).content_hash
            if content_hash.startswith(prefix):
                fitting.append((content_hash, version))
    if not fitting:
        raise DataVersionNotFound(
            f"{store.uri} has no data version with hash {prefix}: see `recsys data list`"
        )
    if len({content_hash for content_hash, _ in fitting}) > 1:
        ids = ", ".join(version for _, version in fitting)
        raise DataVersionNotFound(f"hash {prefix} fits several data versions, give more digits: {ids}")
    return fitting[-1][1]
