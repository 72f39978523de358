"""A local, verified copy of the models in use, so that a restart does not download what is there already.

Processes share a cache without waiting for each other: a copy appears by one rename and leaves by one, so that nobody
finds half of one. A copy is opened soon after it was verified, so none leaves that was used a moment ago; whoever has
opened its files goes on reading them, because their bytes go when the last map closes.
"""

import fcntl
import logging
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from recsys.errors import IntegrityError, RegistryError
from recsys.registry.artifact import MANIFEST, fetch_model, split_model_id
from recsys.registry.documents import decode
from recsys.storage.base import Store, bytes_sha256, file_sha256
from recsys.storage.files import is_temporary_name, temporary_name, translated_errors

# Champion, the one before, and one a rollback may lead to; older copies are removed.
_COPIES_KEPT = 3
_IN_USE_SECONDS = 600.0  # from the last use of a copy until its files are open, at most
_KILLED_SECONDS = 86_400.0  # no download takes that long
_DIGITS = 16  # of the manifest's hash, in the name of a copy
_HEX = re.compile(rf"[0-9a-f]{{{_DIGITS}}}")
_log = logging.getLogger(__name__)


def default_cache_dir() -> Path:
    """Return the user's cache directory for models: $XDG_CACHE_HOME/train-cf, or ~/.cache/train-cf."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "train-cf"


def cached_model(store: Store, model_id: str, manifest_sha256: str, cache_dir: Path) -> Path:
    """Return a directory with the model's files, each verified just now against the registered manifest.

    A damaged copy is fetched anew. After a download the copies not used lately are removed, all but the newest, and
    what killed downloads left; other things in ``cache_dir`` stay.

    Raises:
        IntegrityError: The files in the store are not those that were registered, or a damaged copy cannot be replaced.
        ModelNotFound: The store has no such model.
    """
    copy = cache_dir / f"{model_id}-{manifest_sha256[:_DIGITS]}"
    if copy.is_dir() and _intact(copy, manifest_sha256):
        return copy
    temporary = cache_dir / temporary_name()
    try:
        fetch_model(store, model_id, temporary, expected_sha256=manifest_sha256)
        with translated_errors(str(copy)):
            _move(temporary, copy, manifest_sha256)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _remove_old_copies(cache_dir, keep=copy)
    return copy


def _intact(copy: Path, manifest_sha256: str) -> bool:
    """Return whether a copy is what was registered; remove it if it is not."""
    with suppress(OSError):  # gone, or of another user: then its age is not ours to tell
        os.utime(copy)  # before the look, so that no other process removes it from now on
    if _damage(copy, manifest_sha256) is None:
        return True
    # Of several that find it damaged, the last must not remove what the first fetched anew.
    with _locked(copy.parent):
        damage = _damage(copy, manifest_sha256)
        if damage is not None and copy.is_dir():
            _log.warning("cached copy %s is damaged (%s) and fetched again", copy, damage)
            _remove(copy)
    return damage is None


def _damage(copy: Path, manifest_sha256: str) -> str | None:
    """Return what is wrong with a cached copy, or None."""
    try:
        data = (copy / MANIFEST).read_bytes()
        if bytes_sha256(data) != manifest_sha256:
            return f"{MANIFEST} was changed"
        for name, entry in decode(data, MANIFEST)["files"].items():
            if file_sha256(copy / name) != entry["sha256"]:
                return f"{name} was changed"
    except (OSError, RegistryError, IntegrityError) as error:
        return str(error)
    return None


def _move(temporary: Path, copy: Path, manifest_sha256: str) -> None:
    try:
        temporary.rename(copy)
    except OSError as error:
        if not copy.is_dir():
            raise
        # else another process was quicker, with the same bytes, or a damaged copy could not be removed
        if (damage := _damage(copy, manifest_sha256)) is not None:
            raise IntegrityError(
                f"the cached copy {copy} is damaged ({damage}) and cannot be replaced: remove it, or name another "
                "cache directory with XDG_CACHE_HOME"
            ) from error


def _remove_old_copies(cache_dir: Path, keep: Path) -> None:
    """Remove all copies but the newest and those in use, and what killed downloads left. Safe among processes."""
    now = time.time()
    folders = [path for path in cache_dir.iterdir() if path.is_dir()]
    copies = [path for path in folders if _is_copy_name(path.name)]
    # by name, too: all processes keep the same of those used at the same time
    copies.sort(key=lambda path: (path == keep, _used_at(path), path.name), reverse=True)
    for path in copies[_COPIES_KEPT:]:
        if _used_at(path) < now - _IN_USE_SECONDS:
            _remove(path)
    for path in folders:
        if is_temporary_name(path.name) and _used_at(path) < now - _KILLED_SECONDS:
            shutil.rmtree(path, ignore_errors=True)


def _remove(copy: Path) -> None:
    away = copy.with_name(temporary_name())
    try:
        copy.rename(away)  # nobody finds half a copy
    except OSError:  # another process was quicker, or it is of another user
        return
    shutil.rmtree(away, ignore_errors=True)


def _is_copy_name(name: str) -> bool:
    """Return whether ``cached_model`` may have given this name."""
    model_id, _, digits = name.rpartition("-")
    try:
        split_model_id(model_id)
    except RegistryError:
        return False
    return _HEX.fullmatch(digits) is not None


def _used_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # removed since it was listed
        return 0.0


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a lock on the folder; where the file system has none, none."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)  # and with it the lock
