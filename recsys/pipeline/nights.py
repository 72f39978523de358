"""The nights of a store: a small record of each, kept for good, and all of them read at once."""

import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TypeVar

from recsys.errors import IntegrityError, StoreError
from recsys.registry.catalogue import Registry
from recsys.registry.log import Event, read_event
from recsys.registry.state import RegistryState
from recsys.reporting.history import champion_changes
from recsys.reporting.night import night_record
from recsys.storage.base import Store
from recsys.storage.documents import read_document, write_once
from recsys.types import Json

PREFIX = "nights/"
_READERS = 16  # requests in flight: a bucket answers each in tens of milliseconds
_ONCE = (
    "promoted",
    "kept",
    "failed",
    "undecided",
)  # outcomes that a second attempt at a stage may record again
_In = TypeVar("_In")
_Out = TypeVar("_Out")
logger = logging.getLogger(__name__)


def record_night(store: Store, result: Json) -> None:
    """Keep the record of a run; a store that refuses it is a warning, because the record can be made again.

    Keys begin with the time, so that a listing is in the order of the nights. Garbage collection never
    touches them: the history outlives models and runs.
    """
    record = night_record(result)
    moment = datetime.fromisoformat(record["created_at"]).astimezone(UTC)
    try:
        write_once(store, f"{PREFIX}{moment:%Y%m%dT%H%M%S%fZ}_{record['run_id']}.json", record)
    except StoreError as error:
        logger.warning("the night is missing in the history: %s", error)


def read_history(store: Store, *, last: int) -> Json:
    """Return {created_at, store, champion, nights, events}, oldest first: the last nights and their changes.

    One listing, then one small object a night and one an event of the registry, 16 at a time. Runs of
    registered models that left no record (older versions wrote none) are read from their result documents.

    Args:
        last: How many nights at most, at least 1.
    """
    state = Registry(store).state()
    keys = [info.key for info in store.list(PREFIX)]
    nights = [one for one in _each(lambda key: _night(store, key), keys[-last:]) if one]
    nights = _without_repeats([*_unrecorded(store, state, keys), *nights])[-last:]
    since = nights[0]["created_at"] if nights else ""
    changes = champion_changes([event.to_json() for event in read_events(store, state.generation)])
    return {
        "created_at": nights[-1]["created_at"] if nights else None,
        "store": store.uri,
        "champion": state.champion,
        "nights": nights,
        "events": [
            change
            for place, change in enumerate(changes, 1)
            if change["time"] >= since or place == len(changes)
        ],
    }


def read_events(store: Store, generation: int) -> list[Event]:
    """Return the registry's events up to ``generation``, in order, 16 requests in flight."""
    events = _each(lambda number: read_event(store, number), range(1, generation + 1))
    return [event for event in events if event]


def newest_run(store: Store) -> str | None:
    """Return the id of the newest run that ended with a decision, by the records; None without one."""
    for info in reversed(list(store.list(PREFIX))):
        record = _night(store, info.key)
        if record and record.get("outcome") in ("promoted", "kept"):
            return str(record["run_id"])
    return None


def _night(store: Store, key: str) -> Json | None:
    try:
        return read_document(store, key, required=("run_id", "created_at", "outcome"))
    except IntegrityError as error:
        logger.warning("a night is left out: %s", error)
        return None


def _unrecorded(store: Store, state: RegistryState, keys: Sequence[str]) -> list[Json]:
    """Return records of registered models' runs that have none; those of collected runs are gone."""
    known = {key.removeprefix(PREFIX).partition("_")[2].removesuffix(".json") for key in keys}
    missing = {entry.run_id for entry in state.models.values()} - known
    results = _each(lambda run_id: read_document(store, f"runs/{run_id}/result.json"), sorted(missing))
    return [night_record(result) for result in results if result and result.get("created_at")]


def _without_repeats(nights: Iterable[Json]) -> list[Json]:
    """Return the nights by time; of a stage that recorded itself twice after a lost answer, the newer one."""
    ordered = sorted(nights, key=lambda night: str(night["created_at"]))
    kept: dict[tuple[str, ...], Json] = {}
    for night in ordered:
        key = (night["run_id"], night["outcome"])
        kept[key if night["outcome"] in _ONCE else (*key, night["created_at"])] = night
    return sorted(kept.values(), key=lambda night: str(night["created_at"]))


def _each(read: Callable[[_In], _Out], wanted: Sequence[_In]) -> list[_Out]:
    with ThreadPoolExecutor(_READERS, thread_name_prefix="history") as pool:
        return list(pool.map(read, wanted))
