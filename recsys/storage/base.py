"""The store: immutable objects under keys, with create-once and compare-and-swap.

Everything durable goes through this interface, so a local directory, S3 and the fault-injecting memory store
of the tests are one code path above it. Keys are relative POSIX paths ("data/versions/v_1/manifest.json").
"""

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from recsys.errors import StoreError

_KEY = re.compile(r"[A-Za-z0-9_.@=+-]+(/[A-Za-z0-9_.@=+-]+)*")
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class StoredObject:
    """The bytes of an object and the tag that ``put_if_match`` compares."""

    data: bytes
    etag: str


@dataclass(frozen=True)
class ObjectInfo:
    """What a listing tells of an object without reading it."""

    key: str
    n_bytes: int
    etag: str  # empty in the listings of a store that would have to read the object to know it
    modified_at: datetime


class Store(ABC):
    """Objects under keys. Implementations translate their library's errors into ``recsys.errors``."""

    uri: str

    @abstractmethod
    def get(self, key: str) -> StoredObject:
        """Return the whole object. Raises ObjectNotFound."""

    def get_range(self, key: str, start: int, n_bytes: int) -> bytes:
        """Return ``n_bytes`` bytes of the object from ``start`` on, fewer where it ends. Raises ObjectNotFound.

        Neither number is negative; past the end, or of no bytes, the answer is empty. A store that cannot do better
        reads the whole object.
        """
        return self.get(key).data[start : start + n_bytes]

    @abstractmethod
    def head(self, key: str) -> ObjectInfo | None:
        """Return what is known of an object without reading it, or None when it does not exist."""

    @abstractmethod
    def put_new(self, key: str, data: bytes) -> str:
        """Create the object atomically and return its etag. Raises ObjectExists and leaves the old bytes."""

    @abstractmethod
    def put_if_match(self, key: str, data: bytes, etag: str) -> str:
        """Replace the object if its etag is still ``etag``; return the new etag. Raises ObjectChanged."""

    @abstractmethod
    def put_file(self, key: str, path: Path) -> str:
        """Create the object from a file, streaming; return the file's SHA-256. Raises ObjectExists."""

    @abstractmethod
    def get_file(self, key: str, path: Path) -> str:
        """Write the object to ``path``, streaming; return the SHA-256 of what came. Raises ObjectNotFound."""

    @abstractmethod
    def sha256(self, key: str) -> str:
        """Return the SHA-256 of the object as hex, streaming it from the store. Raises ObjectNotFound."""

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield every object whose key starts with ``prefix``, in key order, however many there are."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove the object; removing one that does not exist is no error."""

    @abstractmethod
    def sweep(self, older_than: datetime, *, dry_run: bool, below: Sequence[str] = ("",)) -> Sequence[str]:
        """Return what killed writers left behind before ``older_than``, and remove it unless ``dry_run``.

        Such leftovers (temporary files, unfinished uploads) are no objects; nothing else shows them.

        Args:
            below: beginnings of keys; leftovers elsewhere are not ours. All, where a store holds nothing else.
        """


def is_key(key: str) -> bool:
    """Return whether ``key`` is a legal relative key."""
    return bool(_KEY.fullmatch(key)) and not any(part in (".", "..") for part in key.split("/"))


def check_key(key: str) -> str:
    """Return ``key`` if it is a legal relative key, else raise StoreError."""
    if not is_key(key):
        raise StoreError(
            f"illegal store key {key!r}: use letters, digits and _.@=+- in parts joined by single slashes"
        )
    return key


def bytes_sha256(data: bytes) -> str:
    """Return the SHA-256 of ``data`` as hex."""
    return hashlib.sha256(data).hexdigest()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hex, reading it in blocks of 1 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
