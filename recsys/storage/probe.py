"""Does this store keep its promises? Asked of the store itself at the start, because servers differ."""

import uuid
from dataclasses import asdict, dataclass

from recsys.errors import ObjectChanged, ObjectExists, UnsupportedStore
from recsys.storage.base import Store
from recsys.types import Json

PROBE_PREFIX = "registry/probe/"


@dataclass(frozen=True)
class ProbeResult:
    """Which promises the store kept."""

    create_once: bool  # a second put_new is refused and the first bytes stay
    compare_and_swap: bool  # put_if_match with a stale etag is refused, with the current one accepted

    def to_json(self) -> Json:
        """Return the fields as a JSON object."""
        return asdict(self)


def probe_conditional_writes(store: Store) -> ProbeResult:
    """Return what the store does with conditional writes, tried on one small object that is removed again.

    Raises:
        StoreError: The store cannot be reached or written at all.
    """
    key = f"{PROBE_PREFIX}{uuid.uuid4().hex}"
    first_etag = store.put_new(key, b"first")
    try:
        return ProbeResult(_create_once(store, key), _compare_and_swap(store, key, first_etag))
    finally:
        store.delete(key)


def ensure_registry_safe(store: Store) -> None:
    """Raise UnsupportedStore unless the store honours create-once, without which a registry loses updates."""
    if not probe_conditional_writes(store).create_once:
        raise UnsupportedStore(
            f"{store.uri} overwrote an object although the request said If-None-Match: *. Two runs could "
            "undo each other's promotions there without notice. Use a server that honours conditional writes "
            "(AWS S3, SeaweedFS 4.48, a recent MinIO, Ceph with an unversioned bucket) or a local directory; "
            "where only one process ever writes, single_writer allows it"
        )


def _create_once(store: Store, key: str) -> bool:
    try:
        store.put_new(key, b"second")
    except ObjectExists:
        return store.get(key).data == b"first"
    return False


def _compare_and_swap(store: Store, key: str, first_etag: str) -> bool:
    try:
        second_etag = store.put_if_match(key, b"third", first_etag)
        store.put_if_match(key, b"fourth", first_etag)
    except ObjectChanged:
        return store.get(key).data == b"third" and bool(second_etag)
    return False
