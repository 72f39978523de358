"""Laws of the registry that hold for any sequence of operations and any sequence of faults."""

from functools import reduce
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.errors import ObjectExists, OutcomeUnknown, RegistryError, StoreUnavailable
from recsys.registry.artifact import stage_model
from recsys.registry.catalogue import Registry
from recsys.registry.snapshot import SNAPSHOT_KEY, encode_snapshot
from recsys.registry.state import RegistryState, fold
from recsys.storage.memory import MemoryStore

N_MODELS = 4
OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["register", "promote", "rollback", "archive", "mark_failed", "delete"]),
        st.integers(0, N_MODELS - 1),
    ),
    max_size=14,
)
FAULTS = st.lists(
    st.tuples(
        st.sampled_from([OutcomeUnknown("lost"), StoreUnavailable("busy"), ObjectExists("412")]),
        st.booleans(),
        st.integers(0, 3),
        st.integers(1, 2),
    ),
    max_size=2,  # with their repetitions fewer than the failures an operation tolerates
)


def new_store() -> tuple[MemoryStore, list[str]]:
    """Return a store with ``N_MODELS`` staged models, none registered."""
    store = MemoryStore()
    with TemporaryDirectory() as folder:
        Path(folder, "als_U.npy").write_bytes(b"U")
        versions = [f"20300101T000000Z_{place:08x}" for place in range(N_MODELS)]
        return store, [stage_model(store, "als", v, Path(folder), facts={}) for v in versions]


def apply(registry: Registry, operation: str, model_id: str) -> bool:
    """Do one operation; return whether the registry accepted it."""
    actions = {
        "register": lambda: registry.register(
            model_id, "als", data_version="v", run_id="r", metrics={"recall@10": 0.1}
        ),
        "promote": lambda: registry.promote(model_id, reasons=["better"]),
        "rollback": lambda: registry.rollback("worse"),
        "archive": lambda: registry.archive(model_id),
        "mark_failed": lambda: registry.mark_failed(model_id, ["bad"]),
        "delete": lambda: registry.delete(model_id),
    }
    try:
        actions[operation]()
    except RegistryError:
        return False
    return True


def check_invariants(state: RegistryState) -> None:
    active = [model_id for model_id, entry in state.models.items() if entry.status == "active"]
    assert active == ([state.champion] if state.champion else [])
    assert set(state.champions) <= set(state.models)
    assert state.previous != state.champion or state.champion is None
    assert all(state.models[model_id].status != "failed" for model_id in state.champions)


@settings(max_examples=60, deadline=None)
@given(OPERATIONS)
def test_any_history_leaves_a_sound_registry(operations: list[tuple[str, int]]) -> None:
    store, model_ids = new_store()
    registry = Registry(store)
    for operation, place in operations:
        before = registry.state()
        accepted = apply(registry, operation, model_ids[place])
        check_invariants(registry.state())
        if not accepted:
            assert registry.state() == before
    assert registry.verify() == []
    assert reduce(fold, registry.history(), RegistryState()) == registry.state()


@settings(max_examples=40, deadline=None)
@given(OPERATIONS, st.data())
def test_registry_json_may_be_of_any_age(operations: list[tuple[str, int]], data: st.DataObject) -> None:
    store, model_ids = new_store()
    registry = Registry(store)
    for operation, place in operations:
        apply(registry, operation, model_ids[place])
    events = registry.history()
    age = data.draw(st.integers(0, len(events)))
    store.overwrite(SNAPSHOT_KEY, encode_snapshot(reduce(fold, events[:age], RegistryState())))
    assert Registry(store).state() == registry.state()
    assert Registry(store).verify() == []


@settings(max_examples=100, deadline=None)
@given(OPERATIONS, FAULTS)
def test_faults_change_nothing_but_the_time(
    operations: list[tuple[str, int]], faults: list[tuple[Exception, bool, int, int]]
) -> None:
    """The same operations on a stumbling store give the same log, each change once."""
    outcomes = []
    template, model_ids = new_store()
    for store_faults in ([], faults):
        store = MemoryStore()
        for info in template.list():
            store.put_new(info.key, template.get(info.key).data)
        registry = Registry(store)
        for error, after_commit, skip, times in store_faults:
            store.fail_next(
                "put_new", error, after_commit=after_commit, key_contains="log/", skip=skip, times=times
            )
        with mock.patch("recsys.registry.commit.time.sleep"):
            accepted = [apply(registry, operation, model_ids[place]) for operation, place in operations]
        log = [(event.number, event.action, event.arguments) for event in registry.history()]
        outcomes.append((accepted, log, registry.verify()))
    assert outcomes[0] == outcomes[1]
