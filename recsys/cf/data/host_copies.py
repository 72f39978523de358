"""Files of data versions on this host, one copy for all its processes, which map them; old ones leave.

A version's folder is locked while a process reads from it, and only a folder that nobody reads from is removed.
What a process has mapped stays readable to it: the bytes go when the last map closes.
"""

import fcntl
import logging
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from recsys.cf.data.version import is_version_id
from recsys.storage.files import is_temporary_name, temporary_name, translated_errors

VERSIONS_KEPT = 3  # tonight's, last night's, and one that a study works on
logger = logging.getLogger(__name__)


@contextmanager
def host_copy(cache_dir: Path, version: str) -> Iterator[Path]:
    """Give the folder of a version below ``cache_dir``, kept by cleaners of other processes meanwhile.

    On leaving, folders of other versions are removed but for the newest, see ``remove_old_copies``.
    """
    folder = cache_dir / version
    with translated_errors(str(folder)):
        descriptor = _locked(folder)
    try:
        with translated_errors(str(folder)):
            os.utime(folder)  # its time of use, by which old ones are told
        yield folder
    finally:
        os.close(descriptor)  # and with it the lock
    remove_old_copies(cache_dir, keep=version)


def remove_old_copies(cache_dir: Path, *, keep: str, most: int = VERSIONS_KEPT) -> list[str]:
    """Return the versions whose folders were removed: all but ``most``, those used last, and those being read.

    ``keep`` stays whatever its age, and so does what has another name than versions have. Safe among processes.
    """
    found = [path for path in cache_dir.iterdir() if path.is_dir()]
    folders = [path for path in found if is_version_id(path.name)]
    folders.sort(key=lambda path: (path.name == keep, _used_at(path)), reverse=True)
    removed = [path.name for path in folders[most:] if _remove(path)]
    for leftover in found:  # of a cleaner that was killed
        if is_temporary_name(leftover.name):
            shutil.rmtree(leftover, ignore_errors=True)
    if removed:
        logger.info("removed local copies of data versions %s", ", ".join(removed))
    return removed


def _locked(folder: Path) -> int:
    """Return a descriptor of the folder, made where it is missing, with a shared lock on it."""
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError:  # a folder that a cleaner took away just now; or a file, or a link to nothing
            if not _is_folder_or_gone(folder):
                raise
            continue
        with suppress(FileNotFoundError):
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH)
                # a cleaner may have taken the folder away before we had the lock
                if os.path.samestat(os.fstat(descriptor), folder.stat()):
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)


def _remove(folder: Path) -> bool:
    """Remove a folder unless somebody reads from it or has removed it; return whether we did."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # gone, or a folder of another user
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # a quicker cleaner may have removed the folder we opened, and a reader made another, which we did not lock
        if not os.path.samestat(os.fstat(descriptor), folder.stat()):
            return False
        away = folder.with_name(temporary_name())
        folder.rename(away)  # nobody finds half a version
    except OSError:  # in use, or another cleaner was quicker
        return False
    finally:
        os.close(descriptor)
    shutil.rmtree(away, ignore_errors=True)
    return True


def _is_folder_or_gone(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except FileNotFoundError:
        return True


def _used_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
