"""The pointer to the data version that ``latest`` means: one small object, moved by compare-and-swap."""

import json
import logging
from collections.abc import Callable

from recsys.cf.data.manifest import read_manifest
from recsys.errors import (
    DataValidationError,
    DataVersionNotFound,
    LatestMoved,
    ObjectChanged,
    ObjectExists,
    ObjectNotFound,
    OutcomeUnknown,
)
from recsys.storage.base import Store

logger = logging.getLogger(__name__)

LATEST = "latest"  # the name that people and configurations give it
LATEST_KEY = "data/latest.json"
_ATTEMPTS = 20


def latest_version(store: Store) -> str | None:
    """Return the id that the pointer names, None before the first version."""
    return _read_pointer(store)[0]


def move_latest(store: Store, version: str) -> None:
    """Make ``version`` the latest, whatever is now: the last mover wins."""
    _move(store, version, lambda _current: True)


def move_latest_from(store: Store, version: str, base: str) -> None:
    """Make ``version`` the latest if ``base`` still is (or ``version`` already).

    Raises:
        LatestMoved: another version is; the pointer stays on it.
    """
    if not _move(store, version, lambda current: current == base):
        raise LatestMoved(
            f"{store.uri}: another version than {base} became the latest meanwhile; {version}, which continues "
            "that one, stays beside it"
        )


def move_latest_forward(store: Store, version: str) -> str | None:
    """Make ``version``, which was there already, the latest unless one that was made later is.

    Returns None, or where the later one stays the sentence that tells so; it is logged as a warning, too. A latest
    version without a readable manifest holds nothing back. Raises DataVersionNotFound and DataValidationError about
    ``version`` itself.
    """
    made_at = read_manifest(store, version).created_at

    def is_older(current: str | None) -> bool:
        if current is None:
            return True
        try:
            return read_manifest(store, current).created_at < made_at
        except (DataVersionNotFound, DataValidationError) as error:
            logger.warning("the latest data version is not readable, %s takes its place: %s", version, error)
            return True

    if _move(store, version, is_older):
        return None
    stays = (
        f"{version} was there already, and a later version stays the latest ({latest_version(store)}); "
        f"`recsys data set-latest {version}` goes back to this one"
    )
    logger.warning("%s", stays)
    return stays


def _move(store: Store, version: str, may_follow: Callable[[str | None], bool]) -> bool:
    """Return whether ``version`` is the latest now: it was, or ``may_follow`` admits it after the one that is.

    No reader sees half a pointer. Raises ObjectChanged when the pointer does not hold still.
    """
    document = json.dumps({"version": version}).encode() + b"\n"
    for _ in range(_ATTEMPTS):
        current, etag = _read_pointer(store)
        if current == version:
            return True
        if not may_follow(current):
            return False
        try:
            if etag is None:
                store.put_new(LATEST_KEY, document)
            else:
                store.put_if_match(LATEST_KEY, document, etag)
        except (ObjectChanged, ObjectExists, OutcomeUnknown):
            continue  # the next look tells who won, or whether the unheard reply was a yes
        return True
    raise ObjectChanged(f"{store.uri}: {LATEST_KEY} changed {_ATTEMPTS} times while moving it; try again")


def _read_pointer(store: Store) -> tuple[str | None, str | None]:
    """Return (version, etag) of the pointer, or (None, None) before the first version."""
    try:
        stored = store.get(LATEST_KEY)
    except ObjectNotFound:
        return None, None
    try:
        version = json.loads(stored.data)["version"]
    except (ValueError, KeyError, TypeError):
        logger.warning("%s cannot be read; prepare again to write it anew", LATEST_KEY)
        return None, stored.etag
    return str(version), stored.etag
