"""Committing one change to the log exactly once, whoever else writes and whatever answers get lost."""

import logging
import random
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from recsys.errors import ObjectChanged, ObjectExists, OutcomeUnknown, StoreUnavailable
from recsys.registry.documents import utc_text
from recsys.registry.log import Event, events_after, write_event
from recsys.registry.snapshot import read_snapshot
from recsys.registry.state import RegistryState, fold
from recsys.storage.base import Store
from recsys.types import Json

_FIRST_PAUSE_SECONDS = 0.02
_LONGEST_PAUSE_SECONDS = 2.0
_DEADLINE_SECONDS = 300.0
_FAILURES_TOLERATED = 4
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Change:
    """What an operation wants to do to the state it was shown."""

    action: str
    arguments: Json
    reasons: tuple[str, ...] = ()


def catch_up(
    store: Store, state: RegistryState | None, transaction_id: str = ""
) -> tuple[RegistryState, bool]:
    """Return the newest state, read on from ``state`` (None: from registry.json), and whether
    an event of ``transaction_id`` was among those read."""
    if state is None:
        state, _ = read_snapshot(store)
    found = False
    for event in events_after(store, state.generation):
        state = fold(state, event)
        found = found or event.transaction_id == transaction_id
    return state, found


def commit(
    store: Store,
    state: RegistryState | None,
    actor: str,
    decide: Callable[[RegistryState], Change | None],
) -> RegistryState:
    """Commit the change that ``decide`` wants and return the state with it.

    Before each attempt the log is read to its end and ``decide`` is asked anew, so that it always judges the
    state its event follows. It returns None when nothing is to be done and raises to refuse. After a lost
    race or a doubtful outcome that same reading tells whether the event with our transaction id is there.
    While it is not, we write under the same number again, so two of ours can never both get in.

    Raises:
        ObjectChanged: Others kept winning for five minutes.
        StoreUnavailable, OutcomeUnknown: The store failed five times; running the operation again is safe.
    """
    transaction_id = uuid.uuid4().hex
    deadline = time.monotonic() + _DEADLINE_SECONDS
    lost = failures = 0
    while True:
        try:
            state, committed = catch_up(store, state, transaction_id)
            change = None if committed else decide(state)
            if change is None:
                return state
            write_event(store, _event(state, change, transaction_id, actor))
        except ObjectExists:
            lost += 1
            if time.monotonic() > deadline:
                raise ObjectChanged(
                    f"other writers of {store.uri} won {lost} races in {_DEADLINE_SECONDS:.0f} s; run again"
                ) from None
        except (StoreUnavailable, OutcomeUnknown) as error:
            failures += 1
            if failures > _FAILURES_TOLERATED or time.monotonic() > deadline:
                raise
            _log.warning("registry: %s; trying again (%d of %d)", error, failures, _FAILURES_TOLERATED)
        else:
            continue
        _pause(lost + failures)


def _event(state: RegistryState, change: Change, transaction_id: str, actor: str) -> Event:
    return Event(
        number=state.generation + 1,
        transaction_id=transaction_id,
        time=utc_text(datetime.now(UTC)),
        actor=actor,
        action=change.action,
        arguments=change.arguments,
        reasons=change.reasons,
        previous_sha256=state.head_sha256,
    )


def _pause(attempt: int) -> None:
    longest = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2 ** min(attempt, 10))
    time.sleep(random.uniform(0, longest))  # full jitter: contenders spread out instead of marching in step
