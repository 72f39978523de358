"""What the registry knows, as a pure fold of its events: models with status, champion, past champions."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field, replace

from recsys.errors import RegistryError
from recsys.registry.log import Event
from recsys.types import Json

STATUSES = ("candidate", "active", "archived", "failed")


@dataclass(frozen=True)
class ModelEntry:
    """One registered model."""

    model_id: str
    model_type: str
    status: str  # one of STATUSES; exactly the champion is active
    data_version: str
    run_id: str
    metrics: Mapping[str, float]
    manifest_sha256: str  # anchors the manifest, and through it every file of the model
    registered_at: str  # UTC, of the event

    def to_json(self) -> Json:
        """Return the fields as a JSON object."""
        return asdict(self)


@dataclass(frozen=True)
class RegistryState:
    """The registry after ``generation`` events."""

    generation: int = 0
    head_sha256: str = ""  # SHA-256 of the last event's bytes, which the next event carries on
    models: Mapping[str, ModelEntry] = field(default_factory=dict)
    champions: tuple[str, ...] = ()  # oldest first; the last one serves, rollback goes back along it

    @property
    def champion(self) -> str | None:
        """The model that serves."""
        return self.champions[-1] if self.champions else None

    @property
    def previous(self) -> str | None:
        """The model that served before, the first choice of a rollback."""
        return self.champions[-2] if len(self.champions) > 1 else None

    @property
    def aliased(self) -> frozenset[str]:
        """The models that carry an alias and therefore are never deleted."""
        return frozenset(self.champions[-2:])

    def to_json(self) -> Json:
        """Return the state as a JSON object."""
        return {
            "generation": self.generation,
            "head_sha256": self.head_sha256,
            "champion": self.champion,
            "previous": self.previous,
            "champions": list(self.champions),
            "models": {model_id: entry.to_json() for model_id, entry in self.models.items()},
        }

    @classmethod
    def from_json(cls, document: Json) -> "RegistryState":
        """Return the state that ``to_json`` wrote."""
        return cls(
            generation=document["generation"],
            head_sha256=document["head_sha256"],
            models={model_id: ModelEntry(**entry) for model_id, entry in document["models"].items()},
            champions=tuple(document["champions"]),
        )


def fold(state: RegistryState, event: Event) -> RegistryState:
    """Return the state after ``event``. Pure: the same events give the same state everywhere.

    Raises:
        RegistryError: The event is not the next one, or its action is unknown to this train-cf.
    """
    if event.number != state.generation + 1 or event.previous_sha256 != state.head_sha256:
        raise RegistryError(
            f"event {event.number} of the registry log does not follow event {state.generation} as written; "
            "the log was changed: restore the bucket from a backup or its object versions"
        )
    if event.action not in _ACTIONS:
        raise RegistryError(f"event {event.number}: action {event.action!r} is unknown; update train-cf")
    try:
        changed = _ACTIONS[event.action](state, event)
    except (KeyError, TypeError, IndexError) as error:
        raise RegistryError(f"event {event.number} ({event.action}) is damaged: {error!r}") from error
    return replace(changed, generation=event.number, head_sha256=event.sha256)


def _register(state: RegistryState, event: Event) -> RegistryState:
    entry = ModelEntry(**event.arguments, registered_at=event.time)
    return replace(state, models={**state.models, entry.model_id: entry})


def _promote(state: RegistryState, event: Event) -> RegistryState:
    model_id = event.arguments["model_id"]
    statuses = {model_id: "active"}
    if state.champion is not None:
        statuses = {state.champion: "archived", **statuses}
    return replace(_with_statuses(state, statuses), champions=_without_repeats((*state.champions, model_id)))


def _rollback(state: RegistryState, event: Event) -> RegistryState:
    target = event.arguments["model_id"]
    kept = list(state.champions)
    while kept[-1] != target:
        kept.pop()
    statuses = dict.fromkeys(event.arguments["damaged"], "failed")
    statuses |= {event.arguments["from"]: "archived", target: "active"}
    return _without_champions(
        replace(_with_statuses(state, statuses), champions=tuple(kept)), event.arguments["damaged"]
    )


def _archive(state: RegistryState, event: Event) -> RegistryState:
    return _with_statuses(state, {event.arguments["model_id"]: "archived"})


def _mark_failed(state: RegistryState, event: Event) -> RegistryState:
    model_id = event.arguments["model_id"]
    return _without_champions(_with_statuses(state, {model_id: "failed"}), [model_id])


def _delete(state: RegistryState, event: Event) -> RegistryState:
    model_id = event.arguments["model_id"]
    models = {key: entry for key, entry in state.models.items() if key != model_id}
    return _without_champions(replace(state, models=models), [model_id])


_ACTIONS: Mapping[str, Callable[[RegistryState, Event], RegistryState]] = {
    "register": _register,
    "promote": _promote,
    "rollback": _rollback,
    "archive": _archive,
    "mark_failed": _mark_failed,
    "delete": _delete,
}


def _with_statuses(state: RegistryState, statuses: Mapping[str, str]) -> RegistryState:
    models = dict(state.models)
    for model_id, status in statuses.items():
        if model_id in models:
            models[model_id] = replace(models[model_id], status=status)
    return replace(state, models=models)


def _without_champions(state: RegistryState, model_ids: Collection[str]) -> RegistryState:
    return replace(state, champions=_without_repeats(tuple(c for c in state.champions if c not in model_ids)))


def _without_repeats(champions: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(c for place, c in enumerate(champions) if place == 0 or champions[place - 1] != c)
