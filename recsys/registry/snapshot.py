"""``registry/registry.json``: the registry's state for quick readers, always behind or equal to the log.

It is a hint: written after an event by compare-and-swap, only ever forward, and nobody minds when that is
lost. Whoever needs the truth reads on from its generation in the log; a damaged one is rebuilt from the log.
"""

import logging

from recsys.errors import ObjectChanged, ObjectExists, ObjectNotFound, RegistryError, StoreError
from recsys.registry.documents import SCHEMA_VERSION, decode, encode
from recsys.registry.state import RegistryState
from recsys.storage.base import Store, bytes_sha256

SNAPSHOT_KEY = "registry/registry.json"
_log = logging.getLogger(__name__)


def encode_snapshot(state: RegistryState) -> bytes:
    """Return the bytes of registry.json for ``state``."""
    document = {"schema_version": SCHEMA_VERSION, **state.to_json()}
    return encode({**document, "sha256": bytes_sha256(encode(document))})


def decode_snapshot(data: bytes) -> RegistryState:
    """Return the state in ``data``. Raises RegistryError when it was damaged or changed by hand."""
    document = decode(data, SNAPSHOT_KEY)
    claimed = document.pop("sha256", None)
    if claimed != bytes_sha256(encode(document)):
        raise RegistryError(f"{SNAPSHOT_KEY} is damaged: its content does not have the SHA-256 it claims")
    return RegistryState.from_json(document)


def read_snapshot(store: Store) -> tuple[RegistryState, str | None]:
    """Return the state in registry.json and its etag; the empty state when damaged, and None when missing."""
    try:
        stored = store.get(SNAPSHOT_KEY)
    except ObjectNotFound:
        return RegistryState(), None
    try:
        return decode_snapshot(stored.data), stored.etag
    except RegistryError as error:
        _log.warning("%s; the log is read from its start instead", error)
        return RegistryState(), stored.etag


def advance_snapshot(store: Store, state: RegistryState) -> None:
    """Move registry.json forward to ``state``; a lost race or an unreachable store is only logged."""
    try:
        current, etag = read_snapshot(store)
        if etag is None:
            store.put_new(SNAPSHOT_KEY, encode_snapshot(state))
        elif current.generation < state.generation:
            store.put_if_match(SNAPSHOT_KEY, encode_snapshot(state), etag)
    except (ObjectExists, ObjectChanged):
        _log.debug("registry.json: another writer was quicker")
    except StoreError as error:
        _log.warning("registry.json stays behind at an older generation, readers use the log: %s", error)
