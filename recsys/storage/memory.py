"""A store in memory that fails on command: what the tests of everything above the stores run against."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from recsys.errors import ObjectChanged, ObjectExists, ObjectNotFound, StoreError
from recsys.storage.base import ObjectInfo, Store, StoredObject, bytes_sha256, check_key
from recsys.storage.files import replace_file

T = TypeVar("T")


@dataclass
class _Fault:
    operation: str
    error: StoreError
    after_commit: bool
    key_contains: str
    skip: int
    times: int


class MemoryStore(Store):
    """Objects in a dictionary; threads may share it, processes cannot. The etag is the content's SHA-256."""

    uri = "memory"

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []  # (operation, key) in the order they came
        self._objects: dict[str, tuple[bytes, datetime]] = {}
        self._faults: list[_Fault] = []
        self._mutex = threading.RLock()

    def fail_next(
        self,
        operation: str,
        error: StoreError,
        *,
        after_commit: bool = False,
        key_contains: str = "",
        skip: int = 0,
        times: int = 1,
    ) -> None:
        """Make a coming call raise ``error``.

        Args:
            operation: Name of the method, such as "put_new".
            error: What is raised.
            after_commit: Raise after the operation took effect: the reply is lost, the write is not.
            key_contains: Only calls on keys that contain this count.
            skip: How many matching calls pass before the first that fails.
            times: How many matching calls fail.
        """
        self._faults.append(_Fault(operation, error, after_commit, key_contains, skip, times))

    def overwrite(self, key: str, data: bytes) -> None:
        """Change an object behind the back of every protocol, as a tamperer or a broken disk would."""
        with self._mutex:
            self._objects[check_key(key)] = (data, datetime.now(UTC))

    def get(self, key: str) -> StoredObject:
        """Return the whole object. Raises ObjectNotFound."""
        return self._call("get", key, lambda: self._read(key))

    def head(self, key: str) -> ObjectInfo | None:
        """Return size, time and etag, or None."""
        return self._call("head", key, lambda: self._info(key) if key in self._objects else None)

    def put_new(self, key: str, data: bytes) -> str:
        """Create the object and return its etag. Raises ObjectExists and leaves the old bytes."""
        return self._call("put_new", key, lambda: self._create(key, data))

    def put_if_match(self, key: str, data: bytes, etag: str) -> str:
        """Replace the object if its etag is still ``etag``; return the new etag. Raises ObjectChanged."""

        def replace() -> str:
            if key not in self._objects or self._read(key).etag != etag:
                raise ObjectChanged(f"{key} changed since it was read; read it again")
            self._objects[key] = (bytes(data), datetime.now(UTC))
            return bytes_sha256(data)

        return self._call("put_if_match", key, replace)

    def put_file(self, key: str, path: Path) -> str:
        """Create the object from a file; return the file's SHA-256. Raises ObjectExists."""
        return self._call("put_file", key, lambda: self._create(key, path.read_bytes()))

    def get_file(self, key: str, path: Path) -> str:
        """Write the object to ``path``; return the SHA-256 of what came. Raises ObjectNotFound."""
        return self._call("get_file", key, lambda: replace_file(path, [self._read(key).data]))

    def sha256(self, key: str) -> str:
        """Return the SHA-256 of the object as hex. Raises ObjectNotFound."""
        return self._call("sha256", key, lambda: self._read(key).etag)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield every object whose key starts with ``prefix``, in key order."""
        with self._mutex:
            found = [self._info(key) for key in sorted(self._objects) if key.startswith(prefix)]
        yield from found

    def delete(self, key: str) -> None:
        """Remove the object; a missing one is no error."""
        self._call("delete", key, lambda: self._objects.pop(key, None))

    def sweep(
        self,
        older_than: datetime,  # noqa: ARG002
        *,
        dry_run: bool,  # noqa: ARG002
        below: Sequence[str] = ("",),  # noqa: ARG002
    ) -> Sequence[str]:
        """Return nothing: a writer that died took its memory along."""
        return []

    def _call(self, operation: str, key: str, action: Callable[[], T]) -> T:
        with self._mutex:
            self.calls.append((operation, check_key(key)))
            fault = self._due_fault(operation, key)
            if fault is None:
                return action()
            if fault.after_commit:
                action()
            raise fault.error

    def _due_fault(self, operation: str, key: str) -> _Fault | None:
        for fault in self._faults:
            if fault.operation != operation or fault.key_contains not in key or fault.times == 0:
                continue
            if fault.skip:
                fault.skip -= 1
                continue
            fault.times -= 1
            return fault
        return None

    def _create(self, key: str, data: bytes) -> str:
        if key in self._objects:
            raise ObjectExists(f"{key} exists already")
        self._objects[key] = (bytes(data), datetime.now(UTC))
        return bytes_sha256(data)

    def _read(self, key: str) -> StoredObject:
        if key not in self._objects:
            raise ObjectNotFound(f"{key} does not exist")
        data = self._objects[key][0]
        return StoredObject(data, bytes_sha256(data))

    def _info(self, key: str) -> ObjectInfo:
        data, modified_at = self._objects[key]
        return ObjectInfo(key, len(data), bytes_sha256(data), modified_at)
