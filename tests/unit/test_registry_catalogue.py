"""The registry's operations on a store that works; what happens when it does not is in test_registry_commit."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sample_models import publish, write_model

from recsys.errors import (
    ChampionChanged,
    IntegrityError,
    ModelNotFound,
    ProtectedModel,
    RegistryError,
    UnsupportedStore,
)
from recsys.registry.artifact import model_prefix, new_version, stage_model
from recsys.registry.catalogue import Registry
from recsys.registry.documents import parse_utc
from recsys.storage.memory import MemoryStore


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def registry(store: MemoryStore) -> Registry:
    return Registry(store, actor="tester@here")


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    return write_model(tmp_path / "als")


def statuses(registry: Registry) -> dict[str, str]:
    return {entry.model_id: entry.status for entry in registry.list()}


def promoted(registry: Registry, model_dir: Path, count: int) -> list[str]:
    model_ids = [publish(registry, model_dir) for _ in range(count)]
    for model_id in model_ids:
        registry.promote(model_id, reasons=["better"])
    return model_ids


def test_an_empty_registry(registry: Registry) -> None:
    assert registry.list() == []
    assert registry.history() == []
    assert registry.verify() == []
    with pytest.raises(ModelNotFound, match="no champion yet"):
        registry.show("champion")
    with pytest.raises(RegistryError, match="no former champion"):
        registry.rollback("nothing there")


def test_register_keeps_what_it_was_told(registry: Registry, model_dir: Path) -> None:
    model_id = publish(registry, model_dir, recall=0.25, run_id="night-7")
    entry = registry.show(model_id)
    assert (entry.model_type, entry.status, entry.data_version, entry.run_id) == (
        "als",
        "candidate",
        "v_1",
        "night-7",
    )
    assert entry.metrics == {"recall@10": 0.25, "ndcg@10": 0.1}
    assert abs(parse_utc(entry.registered_at) - datetime.now(UTC)) < timedelta(minutes=1)


def test_registering_twice_is_one_event(registry: Registry, model_dir: Path) -> None:
    model_id = publish(registry, model_dir)
    again = registry.register(model_id, "als", data_version="v_1", run_id="other", metrics={})
    assert again.run_id == "run-1"
    assert len(registry.history()) == 1


def test_register_refuses_what_was_not_staged_or_does_not_fit(registry: Registry, model_dir: Path) -> None:
    with pytest.raises(ModelNotFound, match="manifest"):
        registry.register(f"als_{new_version()}", "als", data_version="v", run_id="r", metrics={})
    model_id = stage_model(registry.store, "als", new_version(), model_dir, facts={})
    with pytest.raises(RegistryError, match="bpr"):
        registry.register(model_id, "bpr", data_version="v", run_id="r", metrics={})
    with pytest.raises(RegistryError, match="active"):
        registry.register(model_id, "als", data_version="v", run_id="r", metrics={}, status="active")
    with pytest.raises(RegistryError, match="not finite"):
        registry.register(model_id, "als", data_version="v", run_id="r", metrics={"recall@10": float("nan")})
    assert registry.history() == []


def test_names_are_ids_aliases_or_unique_beginnings(
    registry: Registry, model_dir: Path, tmp_path: Path
) -> None:
    als = publish(registry, model_dir)
    bpr = publish(registry, write_model(tmp_path / "bpr", "bpr"), "bpr")
    registry.promote("als", reasons=[])
    assert (
        registry.show("champion").model_id == registry.show(als).model_id == registry.show("als_2").model_id
    )
    assert registry.show(bpr[:-3]).model_id == bpr
    second = publish(registry, model_dir)
    with pytest.raises(ModelNotFound, match="2 models"):
        registry.show("als")
    for name in ("", "zzz", "previous"):
        with pytest.raises(ModelNotFound):
            registry.show(name)
    assert {entry.model_id for entry in registry.list("als")} == {als, second}


def test_promote_moves_champion_and_previous(registry: Registry, model_dir: Path) -> None:
    first, second = promoted(registry, model_dir, 2)
    assert registry.show("champion").model_id == second
    assert registry.show("previous").model_id == first
    assert statuses(registry) == {first: "archived", second: "active"}


def test_promoting_the_champion_again_is_no_event(registry: Registry, model_dir: Path) -> None:
    (champion,) = promoted(registry, model_dir, 1)
    n_events = len(registry.history())
    registry.promote(champion, reasons=["again"], expected_champion=None)
    assert len(registry.history()) == n_events


def test_a_decision_against_an_old_champion_is_refused(store: MemoryStore, model_dir: Path) -> None:
    """Two nights at once: both compared with the same champion, one wins, the other keeps its candidate."""
    one, other = Registry(store), Registry(store)
    mine, theirs = publish(one, model_dir), publish(other, model_dir)
    assert one.state() == other.state()
    one.promote(mine, reasons=["better"], expected_champion=None)
    with pytest.raises(ChampionChanged, match=mine):
        other.promote(theirs, reasons=["better"], expected_champion=None)
    assert other.show("champion").model_id == mine
    assert other.show(theirs).status == "candidate"
    other.promote(theirs, reasons=["compared again"], expected_champion=mine)
    assert one.show("champion").model_id == theirs


def test_rollback_walks_back_and_never_forward_again(registry: Registry, model_dir: Path) -> None:
    first, second, third = promoted(registry, model_dir, 3)
    assert registry.rollback("complaints").model_id == second
    assert registry.show("previous").model_id == first
    assert statuses(registry) == {first: "archived", second: "active", third: "archived"}
    assert registry.rollback("more complaints").model_id == first
    with pytest.raises(RegistryError, match="no former champion"):
        registry.rollback("and more")
    assert registry.show("champion").model_id == first


def test_a_rollback_leaves_only_the_model_it_was_asked_to_leave(registry: Registry, model_dir: Path) -> None:
    """A night promotes between the request and the rollback: going back would bring the bad model back."""
    _, bad, better = promoted(registry, model_dir, 3)
    with pytest.raises(ChampionChanged, match=f"{bad} was to be left, but {better} serves now"):
        registry.rollback("complaints", expected_champion=bad)
    assert registry.show("champion").model_id == better
    assert registry.rollback("it is as bad", expected_champion=better).model_id == bad


def test_champion_at_tells_who_served_then(registry: Registry, model_dir: Path) -> None:
    first, second, third = promoted(registry, model_dir, 3)
    registry.rollback("complaints")
    publish(registry, model_dir)
    times = [parse_utc(event.time) for event in registry.history()]
    for moment in (times[0] - timedelta(seconds=1), *times, times[-1] + timedelta(days=1)):
        assert registry.champion_at(moment) == registry.state_at(moment).champion
    assert [registry.champion_at(moment) for moment in times[3:7]] == [first, second, third, second]
    assert [event.number for event in registry.moves_since(times[4])] == [6, 7]


def test_rollback_passes_over_damaged_and_deleted_champions(
    registry: Registry, store: MemoryStore, model_dir: Path
) -> None:
    first, second, third, fourth = promoted(registry, model_dir, 4)
    registry.delete(second)
    store.overwrite(model_prefix(third) + "als_V.npy", b"rotten")
    assert registry.rollback("bad night").model_id == first
    assert statuses(registry) == {first: "active", third: "failed", fourth: "archived"}
    assert registry.state().previous is None


def test_a_failed_model_is_neither_promoted_nor_rolled_back_to(registry: Registry, model_dir: Path) -> None:
    first, second, third = promoted(registry, model_dir, 3)
    registry.mark_failed(second, ["wrong prices"])
    assert registry.show("previous").model_id == first
    with pytest.raises(RegistryError, match="marked failed"):
        registry.promote(second, reasons=[])
    assert registry.rollback("bad").model_id == first
    assert statuses(registry)[third] == "archived"


def test_a_failed_model_stays_failed_when_it_is_archived(registry: Registry, model_dir: Path) -> None:
    model_id = stage_model(registry.store, "als", new_version(), model_dir, facts={})
    registry.register(
        model_id, "als", data_version="v", run_id="r", metrics={}, status="failed", reasons=["NaN"]
    )
    assert registry.archive(model_id, ["refused"]).status == "failed"
    with pytest.raises(RegistryError, match="marked failed"):
        registry.promote(model_id, reasons=[])
    ((action, reasons),) = [(event.action, event.reasons) for event in registry.history()]
    assert (action, reasons) == ("register", ("NaN",))


def test_aliases_are_protected(registry: Registry, model_dir: Path) -> None:
    first, second, third = promoted(registry, model_dir, 3)
    for alias in ("champion", "previous", second, third):
        with pytest.raises(ProtectedModel):
            registry.delete(alias)
    for refused in (registry.archive, lambda name: registry.mark_failed(name, ["x"])):
        with pytest.raises(ProtectedModel, match="serves now"):
            refused("champion")
    assert registry.delete(first) == first
    assert not list(registry.store.list(model_prefix(first)))
    assert registry.verify() == []


def test_archive_is_idempotent(registry: Registry, model_dir: Path) -> None:
    model_id = publish(registry, model_dir)
    assert registry.archive(model_id).status == "archived"
    assert registry.archive(model_id).status == "archived"
    assert [event.action for event in registry.history()] == ["register", "archive"]


def test_compare_lists_every_metric_of_both(registry: Registry, model_dir: Path) -> None:
    a = publish(registry, model_dir, recall=0.2)
    b = stage_model(registry.store, "als", new_version(), model_dir, facts={})
    registry.register(b, "als", data_version="v", run_id="r", metrics={"recall@10": 0.25, "mrr": 0.5})
    assert registry.compare(a, b) == {
        "a": a,
        "b": b,
        "metrics": [
            {"metric": "mrr", "a": None, "b": 0.5, "difference": None, "relative": None},
            {"metric": "ndcg@10", "a": 0.1, "b": None, "difference": None, "relative": None},
            {"metric": "recall@10", "a": 0.2, "b": 0.25, "difference": pytest.approx(0.05),
             "relative": pytest.approx(0.25)},
        ],
    }  # fmt: skip


def test_history_says_who_did_what_when_and_why(registry: Registry, model_dir: Path) -> None:
    first, second = promoted(registry, model_dir, 2)
    registry.rollback("prices were wrong")
    events = registry.history()
    assert [event.number for event in events] == [1, 2, 3, 4, 5]
    assert [event.action for event in events] == ["register", "register", "promote", "promote", "rollback"]
    assert {event.actor for event in events} == {"tester@here"}
    assert events[4].reasons == ("prices were wrong",)
    assert events[4].arguments == {"model_id": first, "from": second, "damaged": []}
    assert len({event.transaction_id for event in events}) == 5


def test_state_at_tells_what_was_live_then(registry: Registry, model_dir: Path) -> None:
    first, second = promoted(registry, model_dir, 2)
    times = [parse_utc(event.time) for event in registry.history()]
    assert registry.state_at(times[0] - timedelta(seconds=1)).generation == 0
    assert registry.state_at(times[2]).champion == first
    assert registry.state_at(times[3]).champion == second
    assert registry.state_at(times[3] + timedelta(days=1)) == registry.state()


@pytest.mark.parametrize("name", ["als_U.npy", "manifest.json", "seen_items.npz"])
def test_a_tampered_model_is_not_promoted(
    registry: Registry, store: MemoryStore, model_dir: Path, name: str
) -> None:
    (champion,) = promoted(registry, model_dir, 1)
    model_id = publish(registry, model_dir)
    key = model_prefix(model_id) + name
    store.overwrite(key, store.get(key).data.replace(b"a", b"b"))
    with pytest.raises(IntegrityError, match=name.replace(".", r"\.")):
        registry.promote(model_id, reasons=["looks fine"])
    assert registry.show("champion").model_id == champion
    assert registry.verify()


class OverwritingStore(MemoryStore):
    """A server that ignores If-None-Match, as several do."""

    def put_new(self, key: str, data: bytes) -> str:
        self.overwrite(key, data)
        return super().get(key).etag


def test_the_registry_refuses_a_store_without_create_once(model_dir: Path) -> None:
    store = OverwritingStore()
    model_id = stage_model(store, "als", new_version(), model_dir, facts={})
    with pytest.raises(UnsupportedStore, match="If-None-Match"):
        Registry(store).register(model_id, "als", data_version="v", run_id="r", metrics={})
    assert Registry(store).history() == []
    entry = Registry(store, single_writer=True).register(
        model_id, "als", data_version="v", run_id="r", metrics={}
    )
    assert entry.status == "candidate"
