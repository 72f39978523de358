"""Finding models in the registry by what people call them or by when they served, and setting two side by side."""

from collections.abc import Iterator
from datetime import datetime
from itertools import takewhile

from recsys.errors import ModelNotFound, RegistryError
from recsys.registry.documents import parse_utc
from recsys.registry.log import Event, read_event
from recsys.registry.state import ModelEntry, RegistryState
from recsys.storage.base import Store
from recsys.types import Json

MOVES = ("promote", "rollback")  # the actions that change the champion; both say which model it was before


def find_model(state: RegistryState, name: str) -> ModelEntry:
    """Return the model of that id, alias ("champion", "previous") or unique beginning of an id.

    Raises:
        ModelNotFound: There is none, or several begin like that.
    """
    if name in ("champion", "previous"):
        aliased = state.champion if name == "champion" else state.previous
        if aliased is None:
            raise ModelNotFound(f"the registry has no {name} yet; `recsys registry list` shows the models")
        return state.models[aliased]
    if name in state.models:
        return state.models[name]
    matches = sorted(model_id for model_id in state.models if name and model_id.startswith(name))
    if len(matches) == 1:
        return state.models[matches[0]]
    if matches:
        raise ModelNotFound(f"{name!r} is the beginning of {len(matches)} models: {', '.join(matches[:5])}")
    raise ModelNotFound(f"no model {name!r} is registered; `recsys registry list` shows those that are")


def champion_at(store: Store, state: RegistryState, moment: datetime) -> str | None:
    """Return the model that served at ``moment``, or None; ``state`` is the newest one.

    Costs what ``moves_since`` does.
    """
    moves = moves_since(store, state, moment)
    return moves[0].arguments["from"] if moves else state.champion


def moves_since(store: Store, state: RegistryState, moment: datetime) -> list[Event]:
    """Return the events that changed the champion after ``moment``, oldest first; ``state`` is the newest one.

    Goes back from the newest event to the first that is not after ``moment``: one request for each.
    """
    newer = takewhile(lambda event: parse_utc(event.time) > moment, events_back(store, state))
    return [event for event in newer if event.action in MOVES][::-1]


def events_back(store: Store, state: RegistryState) -> Iterator[Event]:
    """Yield the events up to ``state``, newest first; a request for each. Raises RegistryError where one is missing."""
    for number in range(state.generation, 0, -1):
        event = read_event(store, number)
        if event is None:
            raise RegistryError(f"event {number} of the registry log is missing; `recsys registry verify`")
        yield event


def compare_models(state: RegistryState, a: str, b: str) -> Json:
    """Return the metrics of two models side by side, see ``Registry.compare``."""
    first, second = find_model(state, a), find_model(state, b)
    names = sorted({*first.metrics, *second.metrics})
    rows = [_comparison(name, first.metrics.get(name), second.metrics.get(name)) for name in names]
    return {"a": first.model_id, "b": second.model_id, "metrics": rows}


def _comparison(metric: str, a: float | None, b: float | None) -> Json:
    difference = None if a is None or b is None else b - a
    relative = None if difference is None or not a else difference / a
    return {"metric": metric, "a": a, "b": b, "difference": difference, "relative": relative}
