"""The registry: which models exist, which one serves, and every change of that with who, when and why."""

import getpass
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import reduce
from typing import Final

from recsys.errors import ChampionChanged, IntegrityError, ProtectedModel, RegistryError
from recsys.registry.artifact import delete_files, load_manifest, split_model_id, verify_model
from recsys.registry.commit import Change, catch_up, commit
from recsys.registry.documents import parse_utc
from recsys.registry.gc import GcReport, GcRules, plan_garbage, remove_garbage
from recsys.registry.log import Event, events_after
from recsys.registry.lookup import champion_at, compare_models, find_model, moves_since
from recsys.registry.snapshot import advance_snapshot
from recsys.registry.state import ModelEntry, RegistryState, fold
from recsys.registry.verify import newest_intact_champion, verify_registry
from recsys.storage.base import Store
from recsys.storage.probe import ensure_registry_safe
from recsys.types import Json


class Unset(Enum):
    """The type of UNSET."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET


class Registry:
    """The model registry in one store. Instances are cheap; any number of them, anywhere, may write at once.

    Operations that change something raise UnsupportedStore where the store does not honour create-once,
    unless ``single_writer`` promises that nobody else writes.
    """

    def __init__(self, store: Store, *, actor: str | None = None, single_writer: bool = False) -> None:
        self.store = store
        self.actor = actor or _user_at_host()
        self.single_writer = single_writer
        self._state: RegistryState | None = None
        self._store_is_safe = False

    def state(self) -> RegistryState:
        """Return the newest state; one or two requests when little changed since the last call."""
        self._state, _ = catch_up(self.store, self._state)
        return self._state

    def register(
        self,
        model_id: str,
        model_type: str,
        *,
        data_version: str,
        run_id: str,
        metrics: Mapping[str, float],
        status: str = "candidate",
        reasons: Sequence[str] = (),
    ) -> ModelEntry:
        """Return the entry of a staged model, entering it if it is not there yet.

        ``status`` is candidate, or failed for a model that must never serve, with the reasons.

        Raises:
            ModelNotFound: It was not staged: no manifest.
            RegistryError: The id is registered with another manifest, or an argument is malformed.
        """
        if split_model_id(model_id)[0] != model_type or status not in ("candidate", "failed"):
            raise RegistryError(f"{model_id} cannot be registered as {model_type} with status {status!r}")
        _, manifest_sha256 = load_manifest(self.store, model_id)
        arguments: Json = {
            "model_id": model_id,
            "model_type": model_type,
            "status": status,
            "data_version": data_version,
            "run_id": run_id,
            "metrics": dict(metrics),
            "manifest_sha256": manifest_sha256,
        }

        def decide(state: RegistryState) -> Change | None:
            known = state.models.get(model_id)
            if known is not None and known.manifest_sha256 != manifest_sha256:
                raise RegistryError(f"{model_id} is registered already with another manifest; it was changed")
            return None if known else Change("register", arguments, tuple(reasons))

        return self._commit(decide).models[model_id]

    def list(self, model_type: str | None = None) -> Sequence[ModelEntry]:
        """Return the registered models, newest registration first."""
        entries = [e for e in self.state().models.values() if model_type in (None, e.model_type)]
        return sorted(entries, key=lambda entry: (entry.registered_at, entry.model_id), reverse=True)

    def show(self, name: str) -> ModelEntry:
        """Return one model by id, alias ("champion", "previous") or unique beginning of an id.

        Raises:
            ModelNotFound: There is none, or several begin like that.
        """
        return find_model(self.state(), name)

    def compare(self, a: str, b: str) -> Json:
        """Return {"a": id, "b": id, "metrics": [{"metric", "a", "b", "difference", "relative"}]}.

        difference = b - a; relative = difference / a; null where a side lacks the metric or a is 0.
        """
        return compare_models(self.state(), a, b)

    def promote(
        self,
        name: str,
        *,
        reasons: Sequence[str],
        expected_champion: str | Unset | None = UNSET,
    ) -> ModelEntry:
        """Make a model the champion and return its entry; nothing happens if it is the champion already.

        Its files are read back and re-hashed first. The champion so far becomes "previous".

        Args:
            expected_champion: The champion the decision was made against (None: there was none).

        Raises:
            ChampionChanged: The champion is no longer the expected one; the model stays a candidate.
            IntegrityError: The files in the store are not those that were registered.
            RegistryError: The model is marked failed.
        """
        entry = self.show(name)
        findings = verify_model(self.store, entry.model_id, expected_sha256=entry.manifest_sha256)
        if findings:
            raise IntegrityError(f"{entry.model_id} is not promoted: " + "; ".join(findings))

        def decide(state: RegistryState) -> Change | None:
            if state.champion == entry.model_id:
                return None
            if expected_champion is not UNSET and state.champion != expected_champion:
                raise ChampionChanged(
                    f"{entry.model_id} is not promoted: it won against {expected_champion or 'nobody'}, "
                    f"but {state.champion or 'nobody'} serves now; it stays registered, compare it again"
                )
            if find_model(state, entry.model_id).status == "failed":
                raise RegistryError(f"{entry.model_id} is marked failed and cannot be promoted")
            arguments = {"model_id": entry.model_id, "from": state.champion}
            return Change("promote", arguments, tuple(reasons))

        return self._commit(decide).models[entry.model_id]

    def rollback(self, reason: str, *, expected_champion: str | Unset | None = UNSET) -> ModelEntry:
        """Go back to the newest former champion whose files are intact, and return its entry.

        Former champions found damaged on the way are marked failed; the champion so far becomes archived.

        Args:
            expected_champion: The champion to leave (None: there was none).

        Raises:
            ChampionChanged: Another champion serves by now; one step back from it may be the model to leave.
            RegistryError: No former champion is left, or none is intact.
        """

        def decide(state: RegistryState) -> Change:
            if expected_champion is not UNSET and state.champion != expected_champion:
                raise ChampionChanged(
                    f"nothing is rolled back: {expected_champion or 'nobody'} was to be left, but "
                    f"{state.champion or 'nobody'} serves now; ask again to leave that one, too"
                )
            target, damaged = newest_intact_champion(self.store, state)
            arguments = {"model_id": target, "from": state.champion, "damaged": damaged}
            return Change("rollback", arguments, (reason,))

        state = self._commit(decide)
        return state.models[state.champions[-1]]

    def archive(self, name: str, reasons: Sequence[str] = ()) -> ModelEntry:
        """Set a model's status to archived and return its entry; a failed one stays failed.

        Raises ProtectedModel for the champion.
        """
        return self._set_status(name, "archive", "archived", tuple(reasons))

    def mark_failed(self, name: str, reasons: Sequence[str]) -> ModelEntry:
        """Set a model's status to failed: it is never promoted, nor rolled back to.

        Raises:
            ProtectedModel: It is the champion; roll back first.
        """
        return self._set_status(name, "mark_failed", "failed", tuple(reasons))

    def delete(self, name: str, reasons: Sequence[str] = ()) -> str:
        """Delete a model, from the catalogue first and then its files, and return its id.

        Raises:
            ProtectedModel: It is champion or previous.
        """
        model_id = self.show(name).model_id

        def decide(state: RegistryState) -> Change | None:
            if model_id in state.aliased:
                alias = "champion" if model_id == state.champion else "previous"
                raise ProtectedModel(f"{model_id} is not deleted: it is the {alias}")
            arguments = {"model_id": model_id}
            return Change("delete", arguments, tuple(reasons)) if model_id in state.models else None

        self._commit(decide)
        delete_files(self.store, model_id)
        return model_id

    def verify(self) -> Sequence[str]:
        """Return everything wrong with the log, registry.json and the files of all models, hashing each."""
        return verify_registry(self.store)

    def gc(
        self, *, keep_versions: int, grace_hours: float, dry_run: bool = True, now: datetime | None = None
    ) -> GcReport:
        """Return what is not needed or, unless ``dry_run``, what of it was removed; see ``recsys.registry.gc``."""
        now = now or datetime.now(UTC)
        rules = GcRules(keep_versions=keep_versions, cutoff=now - timedelta(hours=grace_hours), now=now)
        items = plan_garbage(self.store, self.state(), rules)
        if not dry_run:
            items = remove_garbage(
                self.store, items, rules, newest_state=self.state, delete_model=self.delete
            )
        return GcReport(dry_run=dry_run, items=tuple(items))

    def history(self) -> Sequence[Event]:
        """Return every event since the beginning, in order; one request each."""
        return list(events_after(self.store, 0))

    def state_at(self, moment: datetime) -> RegistryState:
        """Return the state as it was at ``moment``: after the last event that happened until then."""
        events = self.history()
        until = [event.number for event in events if parse_utc(event.time) <= moment]
        return reduce(fold, events[: max(until, default=0)], RegistryState())

    def champion_at(self, moment: datetime) -> str | None:
        """Return the model that served at ``moment``, by the clocks of who changed it; see ``lookup.champion_at``."""
        return champion_at(self.store, self.state(), moment)

    def moves_since(self, moment: datetime) -> Sequence[Event]:
        """Return the events that changed the champion after ``moment``, oldest first; see ``lookup.moves_since``."""
        return moves_since(self.store, self.state(), moment)

    def _set_status(self, name: str, action: str, status: str, reasons: tuple[str, ...]) -> ModelEntry:
        model_id = self.show(name).model_id

        def decide(state: RegistryState) -> Change | None:
            if model_id == state.champion:
                raise ProtectedModel(f"{model_id} serves now; promote another model or roll back first")
            # failed is for good: an archived model may be promoted
            if find_model(state, model_id).status in (status, "failed"):
                return None
            return Change(action, {"model_id": model_id}, reasons)

        return self._commit(decide).models[model_id]

    def _commit(self, decide: Callable[[RegistryState], Change | None]) -> RegistryState:
        if not self.single_writer and not self._store_is_safe:
            ensure_registry_safe(self.store)
            self._store_is_safe = True
        before = self._state
        self._state = commit(self.store, before, self.actor, decide)
        if before is None or self._state.generation > before.generation:
            advance_snapshot(self.store, self._state)
        return self._state


def _user_at_host() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user id without a name
        user = f"uid{os.getuid()}"
    return f"{user}@{socket.gethostname()}"
