"""JSON documents and write-once objects on top of any store."""

import hashlib
import json
from collections.abc import Collection
from pathlib import Path

from recsys.errors import IntegrityError, ObjectExists, ObjectNotFound
from recsys.storage.base import Store, file_sha256
from recsys.types import Json

_LOOKS = 3  # at a key that another process changes at the same moment


def to_bytes(document: Json) -> bytes:
    """Return the canonical bytes of a JSON document: sorted keys, indented, UTF-8, NaN refused."""
    return (
        json.dumps(document, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    ).encode()


def read_document(store: Store, key: str, required: Collection[str] = ()) -> Json | None:
    """Return the JSON object under ``key``, or None when there is none.

    Raises IntegrityError when it is no JSON object or lacks one of the ``required`` keys.
    """
    try:
        data = store.get(key).data
    except ObjectNotFound:
        return None
    try:
        document = json.loads(data)
    except ValueError as error:
        raise IntegrityError(
            f"{key} in {store.uri} is not valid JSON ({error}); restore or delete it"
        ) from error
    if not isinstance(document, dict) or not document.keys() >= set(required):
        raise IntegrityError(
            f"{key} in {store.uri} is no JSON object with {', '.join(required) or 'any keys'}; "
            "restore or delete it"
        )
    return document


def write_once(store: Store, key: str, document: Json) -> Json:
    """Create the document and return it; if another writer was first, return what that one wrote."""
    try:
        store.put_new(key, to_bytes(document))
    except ObjectExists:
        return read_document(store, key) or document
    return document


def put_deterministic(store: Store, key: str, data: bytes) -> str:
    """Create an object whose bytes are a function of its key and return their SHA-256.

    Left-overs of a killed attempt hold the same bytes; others (from other code) are replaced.
    """
    try:
        store.put_new(key, data)
    except ObjectExists:
        if store.get(key).data != data:
            store.delete(key)
            store.put_new(key, data)
    return hashlib.sha256(data).hexdigest()


def put_file_deterministic(store: Store, key: str, path: Path) -> str:
    """Create an object from a file as ``put_deterministic`` does from bytes, streaming; return its SHA-256.

    Another process may write or delete it at the same moment; the file of one of both is there in the end.
    """
    for _ in range(_LOOKS):
        try:
            return store.put_file(key, path)
        except ObjectExists:
            sha256 = file_sha256(path)
        try:
            if store.sha256(key) == sha256:
                return sha256
        except ObjectNotFound:  # deleted since
            continue
        store.delete(key)
    return store.put_file(key, path)
