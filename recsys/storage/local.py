"""A store in a local directory, safe among threads and processes of one machine.

An object is a file. It appears by ``link`` (which refuses to overwrite) or by ``rename`` under a lock, once
its bytes are on the disk; a killed writer leaves at most a temporary file, which nothing shows but ``sweep``.
"""

import errno
import fcntl
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from recsys.errors import ObjectChanged, ObjectExists, ObjectNotFound, StoreError
from recsys.storage.base import ObjectInfo, Store, StoredObject, bytes_sha256, check_key, file_sha256, is_key
from recsys.storage.files import (
    TEMPORARY_PREFIX,
    is_temporary_name,
    read_blocks,
    replace_file,
    sync_folder,
    translated_errors,
    write_temporary,
)

_LOCK_NAME = f"{TEMPORARY_PREFIX}lock"
# A delete that prunes empty folders can remove one during our mkdir, or before our first file is in it.
_FOLDER_ATTEMPTS = 20
_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR}


class LocalStore(Store):
    """Objects as files below ``root``; the etag is the SHA-256 of the content."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root).absolute()
        self.uri = str(self.root)

    def get(self, key: str) -> StoredObject:
        """Return the whole object. Raises ObjectNotFound."""
        with self._reading(key) as path:
            data = path.read_bytes()
        return StoredObject(data, bytes_sha256(data))

    def get_range(self, key: str, start: int, n_bytes: int) -> bytes:
        """Return bytes of the object from ``start`` on, fewer where it ends. Raises ObjectNotFound."""
        with self._reading(key) as path, path.open("rb") as stream:
            stream.seek(start)
            return stream.read(n_bytes)

    def head(self, key: str) -> ObjectInfo | None:
        """Return size, time and etag, or None; reads the object to hash it."""
        try:
            with self._reading(key) as path:
                return _info(key, path, file_sha256(path))
        except ObjectNotFound:
            return None

    def put_new(self, key: str, data: bytes) -> str:
        """Create the object atomically and return its etag. Raises ObjectExists and leaves the old bytes."""
        return self._create(key, lambda: [data])

    def put_if_match(self, key: str, data: bytes, etag: str) -> str:
        """Replace the object if its etag is still ``etag``; return the new etag. Raises ObjectChanged."""
        path = self._path(key)
        with translated_errors(self._name(key)), self._lock():
            if not path.is_file() or file_sha256(path) != etag:
                raise ObjectChanged(f"{self._name(key)} changed since it was read; read it again")
            temporary, sha256 = write_temporary(path.parent, [data])
            temporary.replace(path)
            sync_folder(path.parent)
        return sha256

    def put_file(self, key: str, path: Path) -> str:
        """Create the object from a file, streaming; return the file's SHA-256. Raises ObjectExists."""
        return self._create(key, lambda: read_blocks(path))

    def get_file(self, key: str, path: Path) -> str:
        """Write the object to ``path``, streaming; return the SHA-256 of what came. Raises ObjectNotFound."""
        with self._reading(key) as source:
            return replace_file(path, read_blocks(source))

    def sha256(self, key: str) -> str:
        """Return the SHA-256 of the object as hex. Raises ObjectNotFound."""
        with self._reading(key) as path:
            return file_sha256(path)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield every object whose key starts with ``prefix``, in key order; the etags are empty."""
        found = [(key, path) for key, path in self._files(prefix) if key.startswith(prefix) and is_key(key)]
        for key, path in sorted(found):
            with suppress(FileNotFoundError):
                yield _info(key, path, "")

    def delete(self, key: str) -> None:
        """Remove the object and the folders it leaves empty; a missing object is no error."""
        path = self._path(key)
        with translated_errors(self._name(key)), self._lock():
            path.unlink(missing_ok=True)
            for folder in path.parents:
                if folder == self.root:
                    break
                try:
                    folder.rmdir()
                except OSError:  # not empty, or already gone
                    break

    def sweep(self, older_than: datetime, *, dry_run: bool, below: Sequence[str] = ("",)) -> Sequence[str]:
        """Return temporary files of killed writers last written before ``older_than``; remove them."""
        found = []
        for key, path in sorted(self._files("")):
            if not is_temporary_name(path.name) or not key.startswith(tuple(below)):
                continue
            with suppress(FileNotFoundError), translated_errors(self._name(key)):
                if _modified_at(path) < older_than:
                    found.append(key)
                    if not dry_run:
                        path.unlink()
        return found

    def _create(self, key: str, blocks: Callable[[], Iterable[bytes]]) -> str:
        path = self._path(key)
        with translated_errors(self._name(key)):
            if path.exists():
                raise ObjectExists(f"{self._name(key)} exists already")
            for attempt in range(_FOLDER_ATTEMPTS):
                try:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    temporary, sha256 = write_temporary(path.parent, blocks())
                    break
                except (FileNotFoundError, FileExistsError):
                    if attempt + 1 == _FOLDER_ATTEMPTS:
                        raise
            try:
                os.link(temporary, path)
            except FileExistsError:
                raise ObjectExists(f"{self._name(key)} exists already") from None
            finally:
                temporary.unlink(missing_ok=True)
            self._sync_folders_of(path)
        return sha256

    def _sync_folders_of(self, path: Path) -> None:
        for folder in path.parents:
            sync_folder(folder)
            if folder == self.root:
                break

    @contextmanager
    def _reading(self, key: str) -> Iterator[Path]:
        try:
            with translated_errors(self._name(key)):
                yield self._path(key)
        except StoreError as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in _ABSENT:
                raise ObjectNotFound(f"{self._name(key)} does not exist") from None
            raise

    @contextmanager
    def _lock(self) -> Iterator[None]:
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / _LOCK_NAME).open("ab") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)  # released when the file closes, also by a kill
            yield

    def _files(self, prefix: str) -> Iterator[tuple[str, Path]]:
        start = self.root / prefix.rpartition("/")[0]
        for folder, _, names in os.walk(start):
            for name in names:
                path = Path(folder, name)
                yield path.relative_to(self.root).as_posix(), path

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)

    def _name(self, key: str) -> str:
        return f"{self.uri}/{key}"


def _modified_at(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def _info(key: str, path: Path, etag: str) -> ObjectInfo:
    return ObjectInfo(key, path.stat().st_size, etag, _modified_at(path))
