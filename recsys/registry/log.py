"""The event log: every change of the registry is one numbered, immutable object, and the log is the registry.

Why not compare-and-swap on registry.json: when the answer to a conditional write is lost, the retry makes the
writer see its own success as a lost race. With 30 % of the answers dropped, plain compare-and-swap applied 38
of 80 updates twice. An event instead is created once under the next number and carries a transaction id:
whoever doubts an outcome reads that number back and knows. The log needs nothing but create-once from the
server, and it is the audit trail and the answer to "what was live at time T" as well.

Each event also holds the SHA-256 of the one before it, so that a changed or missing event is noticed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields

from recsys.errors import ObjectNotFound, RegistryError
from recsys.registry.documents import SCHEMA_VERSION, decode, encode
from recsys.storage.base import Store, bytes_sha256
from recsys.types import Json

LOG_PREFIX = "registry/log/"


@dataclass(frozen=True)
class Event:
    """One change of the registry."""

    number: int  # 1, 2, 3, ... without a gap
    transaction_id: str
    time: str  # UTC by the writer's clock; the order of events is that of their numbers
    actor: str  # user@host, or the run
    action: str
    arguments: Json
    reasons: tuple[str, ...]
    previous_sha256: str
    sha256: str = ""  # of the event's bytes in the store; not part of them

    def to_json(self) -> Json:
        """Return the event as the JSON object that is stored."""
        document = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "sha256"}
        return {"schema_version": SCHEMA_VERSION, **document, "reasons": list(self.reasons)}


def event_key(number: int) -> str:
    """Return the key of an event; keys sort as the numbers do."""
    return f"{LOG_PREFIX}{number:08d}.json"


def write_event(store: Store, event: Event) -> None:
    """Write the event under its number.

    Raises:
        ObjectExists: The number is taken, by another writer or by an earlier attempt of this one.
        OutcomeUnknown: It may or may not be written; only reading the number back tells.
    """
    store.put_new(event_key(event.number), encode(event.to_json()))


def read_event(store: Store, number: int) -> Event | None:
    """Return the event of that number, or None. Raises RegistryError when it is damaged."""
    key = event_key(number)
    try:
        data = store.get(key).data
    except ObjectNotFound:
        return None
    document = decode(data, key)
    try:
        event = Event(
            sha256=bytes_sha256(data),
            reasons=tuple(document.pop("reasons")),
            **{field.name: document[field.name] for field in fields(Event) if field.name in document},
        )
    except (KeyError, TypeError) as error:
        raise RegistryError(f"{key} is damaged: a field is missing") from error
    if event.number != number:
        raise RegistryError(f"{key} is damaged: it says it is event {event.number}")
    return event


def events_after(store: Store, number: int) -> Iterator[Event]:
    """Yield the events after ``number`` in order, up to the newest; one request each and one more."""
    while (event := read_event(store, number + 1)) is not None:
        yield event
        number += 1


def event_exists(store: Store, number: int) -> bool:
    """Return whether there is an event of that number: one request without a body."""
    return store.head(event_key(number)) is not None
