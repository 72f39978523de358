"""Whole files or none: bytes go to the disk under a temporary name beside the target, then get its name."""

import errno
import hashlib
import os
import re
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from recsys.errors import AccessDenied, StoreError, StoreFull

# '~' is no legal character of a store key, so no object can ever be mistaken for a temporary file. Other people's
# files may begin with it, but have no name like ours.
TEMPORARY_PREFIX = "~"
_TEMPORARY_NAME = re.compile(rf"{TEMPORARY_PREFIX}[0-9a-f]{{32}}")
BLOCK_BYTES = 1 << 20
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


def temporary_name() -> str:
    """Return a name for a temporary file or folder that no other has."""
    return f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}"


def is_temporary_name(name: str) -> bool:
    """Return whether ``temporary_name`` may have given this name."""
    return bool(_TEMPORARY_NAME.fullmatch(name))


def read_blocks(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a file in blocks of 1 MiB."""
    with path.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            yield block


def write_temporary(folder: Path, blocks: Iterable[bytes]) -> tuple[Path, str]:
    """Write ``blocks`` to a new temporary file in ``folder``; return its path and the SHA-256 as hex.

    The bytes are flushed to the disk. A failed write leaves no file; only a killed process can.
    """
    path = folder / temporary_name()
    digest = hashlib.sha256()
    try:
        with path.open("xb") as stream:
            for block in blocks:
                digest.update(block)
                stream.write(block)
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path, digest.hexdigest()


def replace_file(path: Path, blocks: Iterable[bytes]) -> str:
    """Write ``blocks`` to ``path``, replacing what is there only when all arrived; return the SHA-256."""
    with translated_errors(str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary, sha256 = write_temporary(path.parent, blocks)
        temporary.replace(path)
    return sha256


def sync_folder(folder: Path) -> None:
    """Flush the names in ``folder`` to the disk, so that a power cut does not undo a rename."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def translated_errors(what: str) -> Iterator[None]:
    """Turn an OSError into StoreFull, AccessDenied or StoreError that names ``what``."""
    try:
        yield
    except OSError as error:
        reason = f"{what}: {error.strerror or error}"
        if error.errno in _FULL:
            raise StoreFull(f"{reason}; free some space (recsys registry gc) and run again") from error
        if error.errno in _FORBIDDEN:
            raise AccessDenied(f"{reason}; check the owner and mode of the folder") from error
        raise StoreError(reason) from error
