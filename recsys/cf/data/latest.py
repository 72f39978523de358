"""The pointer to the data version that ``latest`` means: one small object, moved by compare-and-swap."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass

from recsys.cf.data.manifest import read_manifest
from recsys.errors import (
    DataValidationError,
    DataVersionNotFound,
    LatestMoved,
    NewerSchema,
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


@dataclass(frozen=True)
class _Pointer:
    """What data/latest.json says; nothing before the first version."""

    version: str | None = None
    set_aside: str | None = None  # after a move by hand: the newest version that there was then, else None
    etag: str | None = None


def latest_version(store: Store) -> str | None:
    """Return the id that the pointer names, None before the first version."""
    return _read_pointer(store).version


def move_latest(store: Store, version: str) -> None:
    """Make ``version`` the latest, whatever is now: the last mover wins."""
    _move(store, version, lambda _latest: None)


def choose_latest(store: Store, version: str, newest: str) -> None:
    """Make ``version`` the latest by hand: none that there is by now takes its place by being found again.

    Args:
        newest: the newest version of the store. Ids begin with their time, so it stands for all up to it.
    """
    _move(store, version, lambda _latest: None, newest)


def move_latest_from(store: Store, version: str, base: str, *, created: bool) -> str | None:
    """Make ``version`` the latest if ``base`` still is (or ``version`` already).

    Args:
        created: it was made now; one that was there already may have been set aside by hand, and then stays so.

    Returns:
        None, or where ``base`` was chosen by hand the sentence that tells so; it is logged as a warning, too.

    Raises:
        LatestMoved: another version is; the pointer stays on it.
    """

    def objection(latest: _Pointer) -> str | None:
        if latest.version != base:
            raise LatestMoved(
                f"{store.uri}: another version than {base} became the latest meanwhile; {version}, which continues "
                "that one, stays beside it"
            )
        return None if created else _chosen_by_hand(latest, version)

    return _told(_move(store, version, objection))


def move_latest_forward(store: Store, version: str) -> str | None:
    """Make ``version``, which was there already, the latest unless one that was made later is or one chosen by hand.

    Returns None, or where the other one stays the sentence that tells so; it is logged as a warning, too. A latest
    version without a readable manifest holds nothing back unless it was chosen by hand; one of a newer schema, which
    this code cannot judge, does. Raises DataVersionNotFound and DataValidationError about ``version`` itself.
    """
    made_at = read_manifest(store, version).created_at

    def objection(latest: _Pointer) -> str | None:
        if latest.version is None:
            return None
        try:
            is_older = read_manifest(store, latest.version).created_at < made_at
        except NewerSchema as error:
            return _stays(
                version, f"{latest.version} stays the latest, which this code cannot judge ({error})"
            )
        except (DataVersionNotFound, DataValidationError) as error:
            if by_hand := _chosen_by_hand(latest, version):
                return by_hand
            logger.warning("the latest data version is not readable, %s takes its place: %s", version, error)
            return None
        if not is_older:
            return _stays(version, f"a later version stays the latest ({latest.version})")
        return _chosen_by_hand(latest, version)

    return _told(_move(store, version, objection))


def _chosen_by_hand(latest: _Pointer, version: str) -> str | None:
    """Return the sentence that ``version`` was there when another was made the latest by hand, None if it was not."""
    if latest.set_aside is None or version > latest.set_aside:
        return None
    return _stays(version, f"{latest.version} stays the latest: it was chosen by hand when there were both")


def _stays(version: str, why: str) -> str:
    return f"{version} was there already, and {why}; `recsys data set-latest {version}` changes that"


def _told(stays: str | None) -> str | None:
    if stays is not None:
        logger.warning("%s", stays)
    return stays


def _move(
    store: Store, version: str, objection: Callable[[_Pointer], str | None], newest: str | None = None
) -> str | None:
    """Make ``version`` the latest unless there is an ``objection`` to it after what is, and return that.

    ``newest`` marks a move by hand. No reader sees half a pointer. Raises ObjectChanged when the pointer does not hold
    still.
    """
    for _ in range(_ATTEMPTS):
        latest = _read_pointer(store)
        # What became the latest after the caller looked for the newest is set aside, too.
        set_aside = None if newest is None else max(newest, latest.version or "")
        if latest.version == version and (set_aside is None or set_aside <= (latest.set_aside or "")):
            return None
        if against := objection(latest):
            return against
        document = {"version": version} if set_aside is None else {"version": version, "set_aside": set_aside}
        data = json.dumps(document).encode() + b"\n"
        try:
            if latest.etag is None:
                store.put_new(LATEST_KEY, data)
            else:
                store.put_if_match(LATEST_KEY, data, latest.etag)
        except (ObjectChanged, ObjectExists, OutcomeUnknown):
            continue  # the next look tells who won, or whether the unheard reply was a yes
        return None
    raise ObjectChanged(f"{store.uri}: {LATEST_KEY} changed {_ATTEMPTS} times while moving it; try again")


def _read_pointer(store: Store) -> _Pointer:
    try:
        stored = store.get(LATEST_KEY)
    except ObjectNotFound:
        return _Pointer()
    try:
        document = json.loads(stored.data)
        version = str(document["version"])
    except (ValueError, KeyError, TypeError):
        logger.warning("%s cannot be read; prepare again to write it anew", LATEST_KEY)
        return _Pointer(etag=stored.etag)
    set_aside = document.get("set_aside")
    return _Pointer(version, None if set_aside is None else str(set_aside), stored.etag)
