"""Garbage: what nothing needs, never anything that an alias, a running stage or the grace period protects.

orphan   a model version without a manifest or not in the catalogue: its attempt was killed
retired  a registered model beyond the newest ``keep_versions`` of its type
run      checkpoints and staging of a run that ended or died
probe    the object of a start-up probe that was killed
leftover temporary files and unfinished uploads of killed writers

A run may be resumed, or a model registered, while a collection goes on: each thing is looked at again when its turn
comes and before each of its objects goes (``recsys.storage.removal``, which says what remains possible). A run takes
its lease before it looks for what an earlier attempt has left, so it trains again what it does not find.
"""

import logging
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TypeAlias

from recsys.errors import ModelNotFound, ProtectedModel, RegistryError
from recsys.registry.artifact import MANIFEST, MODELS_PREFIX, make_model_id, model_prefix
from recsys.registry.documents import parse_utc
from recsys.registry.lease import RUNS_PREFIX, is_running, running_since
from recsys.registry.state import RegistryState
from recsys.storage.base import ObjectInfo, Store
from recsys.storage.probe import PROBE_PREFIX
from recsys.storage.removal import remove_unused
from recsys.types import Json

# Where train-cf writes: a store may lie in a bucket or folder that holds other things.
_OUR_PREFIXES = ("data/", "nights/", "recommendations/", "registry/", "runs/", "tuning/")
# Of nights (r), studies (st) and sets of recommendations (l); other things below runs/ are not ours.
_RUN_ID = re.compile(r"(r|st|l)_[0-9a-f]{12,16}(_[^/]+)?")
_Groups: TypeAlias = Mapping[str, Sequence[ObjectInfo]]  # objects by prefix
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class GcRules:
    """What protects: the newest versions of a type, and everything not older than ``cutoff``."""

    keep_versions: int
    cutoff: datetime
    now: datetime


@dataclass(frozen=True)
class GcItem:
    """One thing that is, or would be, removed."""

    kind: str  # orphan, retired, run, probe, leftover
    target: str  # model_id, run_id or key
    n_objects: int
    n_bytes: int
    reason: str


@dataclass(frozen=True)
class GcReport:
    """What a collection removed, or would remove when ``dry_run``."""

    dry_run: bool
    items: tuple[GcItem, ...]

    def to_json(self) -> Json:
        """Return {dry_run, n_bytes, items: [{kind, target, n_objects, n_bytes, reason}]}."""
        return {
            "dry_run": self.dry_run,
            "n_bytes": sum(item.n_bytes for item in self.items),
            "items": [asdict(item) for item in self.items],
        }


def plan_garbage(store: Store, state: RegistryState, rules: GcRules) -> Sequence[GcItem]:
    """Return everything that may go, oldest kind of waste first; reads listings and leases, no model."""
    runs = running_since(store, rules.now)
    models = _grouped(store, MODELS_PREFIX, depth=2)
    quiet = _quiet_before(rules, runs)
    return [
        *_retired(state, models, rules, runs.keys()),
        *_orphans(state, models, quiet),
        *_old_runs(store, state, rules.cutoff, runs.keys()),
        *(
            _item("probe", info.key, [info], "a start-up probe was killed")
            for info in _old_probes(store, rules.cutoff)
        ),
        *(
            _item("leftover", key, [], "a writer was killed")
            for key in store.sweep(quiet, dry_run=True, below=_OUR_PREFIXES)
        ),
    ]


def remove_garbage(
    store: Store,
    items: Sequence[GcItem],
    rules: GcRules,
    *,
    newest_state: Callable[[], RegistryState],
    delete_model: Callable[[str, Sequence[str]], object],
) -> list[GcItem]:
    """Remove what nobody began to use since the plan was made, and return it.

    Args:
        newest_state: asks the catalogue.
        delete_model: takes a model (id, reasons) out of the catalogue and removes its files; refuses an alias.
    """
    removing = _Removing(store, rules, newest_state, delete_model)
    removed = [item for item in items if item.kind != "leftover" and removing.removed(item)]
    for item in items:
        if item.kind != "leftover" and item not in removed:
            logger.info("%s %s stays: somebody uses it by now", item.kind, item.target)
    quiet = _quiet_before(rules, running_since(store, rules.now))
    swept = set(store.sweep(quiet, dry_run=False, below=_OUR_PREFIXES))
    return removed + [item for item in items if item.kind == "leftover" and item.target in swept]


@dataclass(frozen=True)
class _Removing:
    """One collection at work; the arguments of ``remove_garbage``."""

    store: Store
    rules: GcRules
    newest_state: Callable[[], RegistryState]
    delete_model: Callable[[str, Sequence[str]], object]

    def removed(self, item: GcItem) -> bool:
        """Remove what ``item`` names; return False, with what is left in its place, where it is in use by now."""
        if item.kind == "retired":
            return self._retired(item)
        if item.kind == "orphan":
            return self._orphan(item.target)
        if item.kind == "run":
            return self._run(item.target)
        self.store.delete(item.target)  # of a probe, whose name no other will have
        return True

    def _retired(self, item: GcItem) -> bool:
        """Take a model out of the catalogue, in one step that refuses an alias, and then remove its files.

        A run that is resumed right after the look finds no model of its own and registers one anew; one that was
        about to promote it ends with ModelNotFound, and its rerun does that.
        """
        entry = self.newest_state().models.get(item.target)
        if entry is None or is_running(self.store, entry.run_id, self.rules.now):
            return False
        try:
            self.delete_model(item.target, [item.reason])
        except (ProtectedModel, ModelNotFound):  # promoted or deleted since
            return False
        return True

    def _orphan(self, model_id: str) -> bool:
        prefix = model_prefix(model_id)
        objects = list(self.store.list(prefix))
        if objects and _newest(objects) >= self.rules.cutoff:
            return False
        return remove_unused(
            self.store,
            objects,
            lambda: model_id in self.newest_state().models,
            manifest=prefix + MANIFEST,
        )

    def _run(self, run_id: str) -> bool:
        objects = list(self.store.list(f"{RUNS_PREFIX}{run_id}/"))
        if objects and _newest(objects) >= self.rules.cutoff:
            return False
        waste = _waste_of_run(self.newest_state(), run_id, objects)
        return remove_unused(self.store, waste, lambda: is_running(self.store, run_id, self.rules.now))


def _quiet_before(rules: GcRules, runs: Mapping[str, datetime]) -> datetime:
    """Return the time before which nothing unfinished can belong to a running stage."""
    return min([rules.cutoff, *runs.values()])


def _retired(
    state: RegistryState, models: _Groups, rules: GcRules, running_ids: Collection[str]
) -> Iterator[GcItem]:
    newest_first = sorted(state.models.values(), key=lambda entry: entry.registered_at, reverse=True)
    kept: dict[str, int] = defaultdict(int)
    for entry in newest_first:
        kept[entry.model_type] += 1
        young = parse_utc(entry.registered_at) >= rules.cutoff
        within = kept[entry.model_type] <= rules.keep_versions
        if within or young or entry.model_id in state.aliased or entry.run_id in running_ids:
            continue
        reason = f"beyond the newest {rules.keep_versions} versions of {entry.model_type}"
        yield _item("retired", entry.model_id, models.get(model_prefix(entry.model_id), []), reason)


def _orphans(state: RegistryState, models: _Groups, cutoff: datetime) -> Iterator[GcItem]:
    for prefix, objects in models.items():
        model_type, version = prefix.removeprefix(MODELS_PREFIX).rstrip("/").split("/")
        try:
            model_id = make_model_id(model_type, version)
        except RegistryError:  # not ours: nobody knows what it is
            continue
        if model_id not in state.models and _newest(objects) < cutoff:
            yield _item("orphan", model_id, objects, "staged but never registered")


def _old_runs(
    store: Store, state: RegistryState, cutoff: datetime, running_ids: Collection[str]
) -> Iterator[GcItem]:
    """Yield runs that are over and have something to remove."""
    for prefix, objects in _grouped(store, RUNS_PREFIX, depth=1).items():
        run_id = prefix.removeprefix(RUNS_PREFIX).rstrip("/")
        if not _RUN_ID.fullmatch(run_id) or run_id in running_ids or _newest(objects) >= cutoff:
            continue
        if waste := _waste_of_run(state, run_id, objects):
            yield _item("run", run_id, waste, "the run is over")


def _waste_of_run(state: RegistryState, run_id: str, objects: Sequence[ObjectInfo]) -> list[ObjectInfo]:
    """Return what may go of a run that is over: all but result and reports while a model of it is registered."""
    if all(entry.run_id != run_id for entry in state.models.values()):
        return list(objects)
    records = tuple(f"{RUNS_PREFIX}{run_id}/{name}" for name in ("result.json", "reports/", "failed/"))
    return [info for info in objects if not info.key.startswith(records)]


def _old_probes(store: Store, cutoff: datetime) -> list[ObjectInfo]:
    return [info for info in store.list(PROBE_PREFIX) if info.modified_at < cutoff]


def _grouped(store: Store, prefix: str, *, depth: int) -> _Groups:
    groups: dict[str, list[ObjectInfo]] = defaultdict(list)
    for info in store.list(prefix):
        parts = info.key.removeprefix(prefix).split("/")
        if len(parts) > depth:
            groups[prefix + "/".join(parts[:depth]) + "/"].append(info)
    return groups


def _newest(objects: Sequence[ObjectInfo]) -> datetime:
    return max(info.modified_at for info in objects)


def _item(kind: str, target: str, objects: Sequence[ObjectInfo], reason: str) -> GcItem:
    return GcItem(kind, target, len(objects), sum(info.n_bytes for info in objects), reason)
