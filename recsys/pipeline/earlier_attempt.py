"""What earlier attempts of a run left in the registry: its models, and the promotion of one of them."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from recsys.pipeline.fit import FitReference
from recsys.pipeline.run import RunReference
from recsys.registry.artifact import read_manifest, verify_model
from recsys.registry.log import Event
from recsys.registry.lookup import MOVES, events_back
from recsys.registry.state import ModelEntry, RegistryState
from recsys.storage.base import Store


@dataclass(frozen=True)
class EarlierPromotion:
    """The champion alias since one of tonight's models got it for the first time."""

    before: str | None  # the champion that it replaced: the one that all of tonight's models are held against
    newest: Event  # the newest move of the alias, whoever made it
    by_run: bool  # that move is a promotion by this run, not one by hand or by another run

    @property
    def champion(self) -> str:
        """The model that serves now."""
        return str(self.newest.arguments["model_id"])


def champion_before(run: RunReference, fits: Iterable[FitReference]) -> str | None:
    """Return the model that tonight's models are held against: the champion, unless it is one of them.

    A night may die after its promotion. Its rerun must not hold the models of one night against each other,
    but against the champion that an earlier attempt replaced, as an undisturbed night would.
    """
    known = [registered_fit(run, fit) for fit in fits]
    earlier = earlier_promotion(run, [entry.model_id for entry in known if entry is not None])
    return run.registry().state().champion if earlier is None else earlier.before


def registered_fit(run: RunReference, fit: FitReference) -> ModelEntry | None:
    """Return the intact model of this run that holds the factors of ``fit``, None where there is none.

    Of two (attempts that registered at the same moment) the one that serves counts, else the first. A model of
    the same run with other factors (they were collected and trained again) is another model: it did not reach
    the metrics of this fit. Cost: every file of the model is read and hashed.
    """
    store = run.open_store()
    of_run = [entry for entry in run.registry().list(fit.model) if entry.run_id == run.run_id]
    for entry in sorted(of_run, key=lambda one: (one.status != "active", one.registered_at, one.model_id)):
        if verify_model(store, entry.model_id, expected_sha256=entry.manifest_sha256):
            continue
        facts = read_manifest(store, entry.model_id)["facts"]
        if facts.get("factors_sha256") == dict(fit.factors_sha256):
            return entry
    return None


def earlier_promotion(run: RunReference, model_ids: Collection[str]) -> EarlierPromotion | None:
    """Return what became of the alias since one of these models of the run was promoted, None if none ever was.

    A promotion by hand counts as well. Cost: one request for each event since the first of them was registered;
    nothing for candidates, which were never promoted.
    """
    state = run.registry().state()
    known = {name for name in model_ids if name in state.models and state.models[name].status != "candidate"}
    moves = _moves_since_registration(run.open_store(), state, known)
    ours = [event for event in moves if event.action == "promote" and event.arguments["model_id"] in known]
    if not ours:
        return None
    newest = moves[-1]
    by_run = newest.action == "promote" and newest.actor == run.run_id
    return EarlierPromotion(ours[0].arguments["from"], newest, by_run)


def _moves_since_registration(store: Store, state: RegistryState, model_ids: set[str]) -> list[Event]:
    """Return the events that moved the alias since the first of these models was registered, oldest first."""
    missing, moves, events = set(model_ids), list[Event](), events_back(store, state)
    while missing and (event := next(events, None)) is not None:
        if event.action in MOVES:
            moves.append(event)
        if event.action == "register":
            missing.discard(event.arguments["model_id"])
    return moves[::-1]
