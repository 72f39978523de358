"""A set of recommendations: the lists of all users of one model, immutable, visible when its manifest is.

recommendations/{model_id}/{set_id}/part-00000.parquet, ...   the lists, users in the order of user_idx
                                    part-00000.json, ...      what is finished, for an attempt that goes on
                                    manifest.json             written last: the set exists
recommendations/latest.json                                   the newest set that was made of the champion
"""

import hashlib
import json
import logging
import re
from contextlib import AbstractContextManager

from pydantic import BaseModel, ConfigDict

from recsys.config.schema import TrainingConfig
from recsys.errors import IntegrityError, ObjectChanged, ObjectExists, ObjectNotFound
from recsys.pipeline.list_model import ListModel, open_list_model
from recsys.registry.catalogue import Registry
from recsys.registry.lease import running
from recsys.storage.base import Store, bytes_sha256
from recsys.storage.documents import read_document, to_bytes
from recsys.storage.open import open_store
from recsys.types import Json

SCHEMA_VERSION = 1
SETS_PREFIX = "recommendations/"
LATEST_KEY = f"{SETS_PREFIX}latest.json"
MANIFEST = "manifest.json"
_SET_ID = re.compile(r"l_[0-9a-f]{16}")
_CHAMPION = "champion"
_HNSW_SETTINGS = ("hnsw_m", "hnsw_ef_construction", "hnsw_ef_search", "recall_users")
logger = logging.getLogger(__name__)


class ListSet(BaseModel):
    """Names a set: small, immutable, safe to pass between tasks and processes."""

    model_config = ConfigDict(frozen=True)

    store_uri: str
    set_id: str
    model_id: str
    manifest_sha256: str
    data_version: str
    n_users: int
    of_champion: bool  # it was asked for by that alias, so latest.json follows
    config: TrainingConfig

    @property
    def prefix(self) -> str:
        """Key prefix of everything that belongs to this set."""
        return f"{SETS_PREFIX}{self.model_id}/{self.set_id}"

    @property
    def n_parts(self) -> int:
        """Number of Parquet files."""
        return -(-self.n_users // self.config.recommend.rows_per_file)

    def users(self, part: int) -> range:
        """Return the user_idx of one file."""
        rows = self.config.recommend.rows_per_file
        return range(part * rows, min((part + 1) * rows, self.n_users))

    def open_store(self) -> Store:
        """Return the store the set lies in."""
        return open_store(self.store_uri)

    def model(self) -> ListModel:
        """Return the model of the set, opened once per process."""
        return open_list_model(self.store_uri, self.model_id, self.manifest_sha256)

    def lease(self, *, required: bool = True) -> AbstractContextManager[None]:
        """Return a context in which retention leaves the set alone, whatever of it is there; see ``running``."""
        return running(self.open_store(), self.set_id, required=required)


def open_set(store_uri: str, config: TrainingConfig, model: str = _CHAMPION) -> ListSet:
    """Return the set of a registered model under this configuration; nothing is computed yet.

    Its id is a function of the model's files and of the settings that lists depend on, so that a rerun finds
    what an earlier attempt has made.

    Args:
        model: Model id, its unique beginning, "champion" or "previous".

    Raises:
        ModelNotFound: There is none. IntegrityError: its files are not those that were registered.
    """
    entry = Registry(open_store(store_uri)).show(model)
    found = open_list_model(store_uri, entry.model_id, entry.manifest_sha256)
    content = {
        "schema_version": SCHEMA_VERSION,
        "model": entry.manifest_sha256,
        "settings": list_settings(config),
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return ListSet(
        store_uri=store_uri,
        set_id=f"l_{digest[:16]}",
        model_id=entry.model_id,
        manifest_sha256=entry.manifest_sha256,
        data_version=entry.data_version,
        n_users=len(found.user_ids),
        of_champion=model == _CHAMPION,
        config=config,
    )


def list_settings(config: TrainingConfig) -> Json:
    """Return the settings that lists depend on: not where or by how many they are computed."""
    ours = config.recommend
    settings: Json = {"k": ours.k, "method": ours.method, "rows_per_file": ours.rows_per_file}
    if ours.method == "hnsw":
        settings |= {name: getattr(ours, name) for name in _HNSW_SETTINGS} | {"seed": config.runtime.seed}
    return settings


def is_set_id(name: str) -> bool:
    """Return whether ``name`` looks like the id of a set."""
    return bool(_SET_ID.fullmatch(name))


def part_name(part: int) -> str:
    """Return the name of a file without its ending."""
    return f"part-{part:05d}"


def read_set(store: Store, prefix: str) -> Json | None:
    """Return the manifest of a set, None while it is not finished. Raises IntegrityError when damaged."""
    return read_document(store, f"{prefix}/{MANIFEST}", required=("set_id", "model_id", "files", "settings"))


def set_findings(store: Store, prefix: str, manifest: Json) -> list[str]:
    """Return what is wrong with the files of a set, hashing all; empty means intact."""
    findings = []
    for entry in manifest["files"]:
        key = f"{prefix}/{entry['name']}"
        try:
            sha256 = store.sha256(key)
        except ObjectNotFound:
            findings.append(f"{key} is missing")
            continue
        if sha256 != entry["sha256"]:
            findings.append(f"{key} is damaged: SHA-256 {sha256}, manifest {entry['sha256']}")
    return findings


def missing_files(store: Store, prefix: str, manifest: Json) -> list[str]:
    """Return the names of files that are not there or have another size, by one listing; reads none."""
    sizes = {info.key: info.n_bytes for info in store.list(f"{prefix}/")}
    return [
        entry["name"]
        for entry in manifest["files"]
        if sizes.get(f"{prefix}/{entry['name']}") != entry["n_bytes"]
    ]


def write_manifest(lists: ListSet, manifest: Json) -> None:
    """Make the set visible; the manifest of a set whose files were damaged, and are made again, is replaced.

    Raises IntegrityError when another attempt has published other lists, intact ones, under its id.
    """
    store, key, data = lists.open_store(), f"{lists.prefix}/{MANIFEST}", to_bytes(manifest)
    try:
        store.put_new(key, data)
    except ObjectExists:
        published = store.get(key)
        if published.data == data:
            return
        if not _repairs(lists, manifest):
            raise IntegrityError(
                f"{key} was published by another attempt with other bytes (another version of polars or faiss?); "
                "delete that set or change a setting, such as recommend.rows_per_file"
            ) from None
        try:
            store.put_if_match(key, data, published.etag)
        except ObjectChanged:  # by another attempt that mends it, with these bytes, or others
            write_manifest(lists, manifest)


def point_to(lists: ListSet, manifest: Json) -> None:
    """Let latest.json name this set if its model is still the champion; a reader never sees half a set.

    An attempt that took long leaves alone what was published for a newer champion meanwhile.
    """
    store = lists.open_store()
    document = {
        "schema_version": SCHEMA_VERSION,
        "model_id": lists.model_id,
        "set_id": lists.set_id,
        "prefix": lists.prefix,
        "manifest_sha256": bytes_sha256(to_bytes(manifest)),
    }
    data = to_bytes(document)
    while not _pointed(store, lists, data):
        pass


def _pointed(store: Store, lists: ListSet, data: bytes) -> bool:
    """Write latest.json unless the champion is another by now; return False when somebody else wrote it meanwhile."""
    try:
        current = store.get(LATEST_KEY)
    except ObjectNotFound:
        current = None
    # Asked after latest.json was read: if a newer champion's set is published from here on, our write fails.
    champion = Registry(store).state().champion
    if champion != lists.model_id:
        logger.warning(
            "%s was not changed: the champion is %s now, not %s", LATEST_KEY, champion, lists.model_id
        )
        return True
    try:
        if current is None:
            store.put_new(LATEST_KEY, data)
        elif current.data != data:
            store.put_if_match(LATEST_KEY, data, current.etag)
    except (ObjectExists, ObjectChanged):
        return False
    return True


def _repairs(lists: ListSet, manifest: Json) -> bool:
    """Return whether the published files are not those of their manifest but are those of this one."""
    store = lists.open_store()
    try:
        published = read_set(store, lists.prefix)
    except IntegrityError:  # that is for people to look at
        return False
    damaged = published is not None and set_findings(store, lists.prefix, published)
    return bool(damaged) and not set_findings(store, lists.prefix, manifest)
