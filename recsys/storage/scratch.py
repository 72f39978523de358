"""Temporary folders that a killed process does not leave behind for good.

A folder is locked for as long as the process that made it works in it; the kernel ends the lock with the process,
however that ends. Whoever makes a folder first removes those of this user that nobody holds.
"""

import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from recsys.storage.files import translated_errors

_BOOT = Path("/proc/sys/kernel/random/boot_id")
logger = logging.getLogger(__name__)


@contextmanager
def scratch_folder(purpose: str) -> Iterator[Path]:
    """Give an empty folder of this user alone in the temporary directory (TMPDIR), removed on leaving.

    Where TMPDIR is a tmpfs, what is written there is memory. Raises StoreFull, AccessDenied or StoreError where no
    folder can be made.

    Args:
        purpose: a word for its name.
    """
    sweep_scratch()
    with translated_errors(f"temporary directory {tempfile.gettempdir()}"):
        folder, descriptor = _new_folder(f"{_prefix()}{purpose}-")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # what cannot be removed now, the next sweep removes
        os.close(descriptor)


def sweep_scratch() -> list[str]:
    """Remove the scratch folders of this user that no process works in; return their names.

    Only those made since this machine started: in a TMPDIR that hosts share, the locks of another are not seen.
    Safe among processes.
    """
    if not _BOOT.is_file():
        return []
    found = sorted(Path(tempfile.gettempdir()).glob(f"{_prefix()}*"))
    removed = [path.name for path in found if _remove_unheld(path)]
    if removed:
        logger.info("removed temporary folders of processes that were killed: %s", ", ".join(removed))
    return removed


def _prefix() -> str:
    boot = _BOOT.read_text().split("-")[0] if _BOOT.is_file() else "any"
    return f"train-cf-scratch-{boot}-"


def _new_folder(prefix: str) -> tuple[Path, int]:
    """Return a new folder and the descriptor that holds the lock on it."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix))
        try:
            descriptor = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:  # a sweeper took it before it was locked
            continue
        try:
            with suppress(OSError):  # a file system without locks, where sweepers get none either
                fcntl.flock(descriptor, fcntl.LOCK_SH)
            if os.path.samestat(os.fstat(descriptor), folder.stat()):
                return folder, descriptor
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _remove_unheld(folder: Path) -> bool:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:  # gone, or not ours
        return False
    try:
        if os.fstat(descriptor).st_uid != os.geteuid():
            return False
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)  # locked: whoever just made it waits, and makes another
        return not folder.exists()
    except OSError:  # somebody works in it
        return False
    finally:
        os.close(descriptor)
