"""A local, verified copy of the models in use, so that a restart does not download what is there already."""

import logging
import os
import shutil
import uuid
from pathlib import Path

from recsys.errors import IntegrityError, RegistryError
from recsys.registry.artifact import MANIFEST, fetch_model
from recsys.registry.documents import decode
from recsys.storage.base import Store, bytes_sha256, file_sha256
from recsys.storage.files import TEMPORARY_PREFIX, translated_errors

# Champion, the one before, and one a rollback may lead to; older copies are removed.
_COPIES_KEPT = 3
_log = logging.getLogger(__name__)


def default_cache_dir() -> Path:
    """Return the user's cache directory for models: $XDG_CACHE_HOME/train-cf, or ~/.cache/train-cf."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "train-cf"


def cached_model(store: Store, model_id: str, manifest_sha256: str, cache_dir: Path) -> Path:
    """Return a directory with the model's files, each verified just now against the registered manifest.

    A damaged copy is fetched anew. Processes may share the cache: a copy appears by one rename.

    Raises:
        IntegrityError: The files in the store are not those that were registered.
        ModelNotFound: The store has no such model.
    """
    copy = cache_dir / f"{model_id}-{manifest_sha256[:16]}"
    if copy.is_dir():
        damage = _damage(copy, manifest_sha256)
        if damage is None:
            os.utime(copy)
            return copy
        _log.warning("cached copy %s is damaged (%s) and fetched again", copy, damage)
        shutil.rmtree(copy, ignore_errors=True)
    temporary = cache_dir / f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}"
    try:
        fetch_model(store, model_id, temporary, expected_sha256=manifest_sha256)
        with translated_errors(str(copy)):
            _move(temporary, copy)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _remove_old_copies(cache_dir, keep=copy)
    return copy


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


def _move(temporary: Path, copy: Path) -> None:
    try:
        temporary.rename(copy)
    except OSError:
        if not copy.is_dir():  # else another process was quicker, with the same verified bytes
            raise


def _remove_old_copies(cache_dir: Path, keep: Path) -> None:
    copies = [path for path in cache_dir.iterdir() if path.is_dir() and path.name[0] != TEMPORARY_PREFIX]
    copies.sort(key=lambda path: (path == keep, path.stat().st_mtime), reverse=True)
    for path in copies[_COPIES_KEPT:]:
        # A process that still maps a removed file keeps reading it: the bytes go when the last map closes.
        shutil.rmtree(path, ignore_errors=True)
