"""Exactly once: what the registry does when answers get lost, writers collide and the store stumbles."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sample_models import publish, write_model

from recsys.errors import (
    AccessDenied,
    ObjectChanged,
    ObjectExists,
    OutcomeUnknown,
    StoreError,
    StoreUnavailable,
)
from recsys.registry import commit as commit_module
from recsys.registry.catalogue import Registry
from recsys.registry.log import event_key
from recsys.registry.snapshot import SNAPSHOT_KEY, advance_snapshot, read_snapshot
from recsys.storage.memory import MemoryStore


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit_module.time, "sleep", lambda seconds: None)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def candidate(store: MemoryStore, tmp_path: Path) -> str:
    return publish(Registry(store), write_model(tmp_path / "als"))


def promotions(store: MemoryStore) -> int:
    return sum(event.action == "promote" for event in Registry(store).history())


LOST = OutcomeUnknown("the answer was lost")
TAKEN = ObjectExists("412 from our own first attempt")  # what a client that retries by itself reports
BUSY = StoreUnavailable("503")


@pytest.mark.parametrize("error", [LOST, TAKEN, BUSY], ids=["lost", "412", "503"])
@pytest.mark.parametrize("written", [True, False], ids=["written", "not written"])
@pytest.mark.parametrize("times", [1, 4])
def test_each_operation_is_applied_exactly_once(
    store: MemoryStore, candidate: str, error: StoreError, written: bool, times: int
) -> None:
    store.fail_next("put_new", error, after_commit=written, key_contains="log/", times=times)
    Registry(store).promote(candidate, reasons=["better"])
    assert Registry(store).show("champion").model_id == candidate
    assert promotions(store) == 1


@pytest.mark.parametrize("error", [LOST, TAKEN, BUSY], ids=["lost", "412", "503"])
def test_a_rollback_whose_answer_was_lost_goes_back_one_step(
    store: MemoryStore, candidate: str, tmp_path: Path, error: StoreError
) -> None:
    """A rollback is not idempotent: only the transaction id tells that it happened already."""
    registry = Registry(store)
    champions = [candidate, *(publish(registry, tmp_path / "als") for _ in range(3))]
    for model_id in champions:
        registry.promote(model_id, reasons=["better"])
    store.fail_next("put_new", error, after_commit=True, key_contains="log/")
    assert registry.rollback("worse").model_id == champions[2]
    assert Registry(store).state().champions == tuple(champions[:3])


def test_our_event_followed_by_anothers_is_still_ours(
    store: MemoryStore, candidate: str, tmp_path: Path
) -> None:
    """Our answer is lost, and before we read back somebody undoes what we did: it must not be done again."""
    rival = publish(Registry(store), tmp_path / "als")
    real_put_new, done = store.put_new, []

    def written_then_overtaken(key: str, data: bytes) -> str:
        etag = real_put_new(key, data)
        if "log/" in key and not done:
            done.append(key)
            Registry(store).promote(rival, reasons=["newer"])
            raise LOST
        return etag

    store.put_new = written_then_overtaken  # type: ignore[method-assign]
    Registry(store).promote(candidate, reasons=["better"])
    assert Registry(store).state().champions == (candidate, rival)


def test_reading_back_may_fail_as_well(store: MemoryStore, candidate: str) -> None:
    registry = Registry(store)
    registry.state()
    store.fail_next("put_new", LOST, after_commit=True, key_contains="log/")
    store.fail_next("get", BUSY, key_contains=event_key(2), skip=1, times=2)
    registry.promote(candidate, reasons=["better"])
    assert promotions(store) == 1


def test_a_write_that_arrives_late_is_not_repeated(store: MemoryStore, candidate: str) -> None:
    """The request hangs in the network, is found absent, and lands before the second attempt."""
    late: list[tuple[str, bytes]] = []
    real_put_new = store.put_new

    def delayed(key: str, data: bytes) -> str:
        if "log/" in key and not late:
            late.append((key, data))
            raise LOST
        if late and key == late[0][0]:
            real_put_new(*late[0])
        return real_put_new(key, data)

    store.put_new = delayed  # type: ignore[method-assign]
    Registry(store).promote(candidate, reasons=["better"])
    assert promotions(store) == 1
    assert [event.number for event in Registry(store).history()] == [1, 2]


def test_a_lost_race_decides_anew_on_the_new_state(
    store: MemoryStore, candidate: str, tmp_path: Path
) -> None:
    rival = publish(Registry(store), write_model(tmp_path / "rival"))
    other = Registry(store)
    interrupt_once(store, lambda: other.promote(rival, reasons=["quicker"]))
    Registry(store).promote(candidate, reasons=["better"])
    promoted = [event for event in Registry(store).history() if event.action == "promote"]
    assert [event.arguments["model_id"] for event in promoted] == [rival, candidate]
    assert promoted[1].arguments["from"] == rival
    assert Registry(store).show("previous").model_id == rival


def test_the_store_stays_away(store: MemoryStore, candidate: str) -> None:
    store.fail_next("put_new", LOST, key_contains="log/", times=100)
    with pytest.raises(OutcomeUnknown):
        Registry(store).promote(candidate, reasons=["better"])
    assert promotions(store) == 0


def test_a_refusal_is_not_retried(store: MemoryStore, candidate: str) -> None:
    store.fail_next("put_new", AccessDenied("read only"), key_contains="log/", times=100)
    before = len(store.calls)
    with pytest.raises(AccessDenied):
        Registry(store).promote(candidate, reasons=["better"])
    assert sum(call == ("put_new", event_key(2)) for call in store.calls[before:]) == 1


def test_races_lost_for_ever_end_with_a_clear_error(
    store: MemoryStore, candidate: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit_module, "_DEADLINE_SECONDS", -1.0)
    store.fail_next("put_new", TAKEN, key_contains="log/", times=100)
    with pytest.raises(ObjectChanged, match="won 1 races"):
        Registry(store).promote(candidate, reasons=["better"])


@pytest.mark.parametrize("operation", ["put_if_match", "get"])
def test_registry_json_may_stay_behind(
    store: MemoryStore, candidate: str, tmp_path: Path, operation: str
) -> None:
    registry = Registry(store)
    registry.state()
    store.fail_next(operation, BUSY, key_contains=SNAPSHOT_KEY)
    registry.promote(candidate, reasons=["better"])
    assert read_snapshot(store)[0].generation == 1
    assert Registry(store).show("champion").model_id == candidate
    assert Registry(store).verify() == []
    publish(Registry(store), tmp_path / "als")
    assert read_snapshot(store)[0] == Registry(store).state()


def test_registry_json_only_moves_forward(store: MemoryStore, candidate: str) -> None:
    registry = Registry(store)
    old = registry.state()
    registry.promote(candidate, reasons=["better"])
    advance_snapshot(store, old)
    assert read_snapshot(store)[0] == registry.state()


@pytest.mark.parametrize("damage", [b"", b"{}", b"[1]", b'{"schema_version": 1}', b"\xff\xfe"])
def test_a_damaged_registry_json_is_found_and_rebuilt(
    store: MemoryStore, candidate: str, tmp_path: Path, damage: bytes
) -> None:
    Registry(store).promote(candidate, reasons=["better"])
    store.overwrite(SNAPSHOT_KEY, damage)
    assert Registry(store).verify()
    assert Registry(store).show("champion").model_id == candidate
    publish(Registry(store), tmp_path / "als")
    assert Registry(store).verify() == []


def test_a_champion_edited_by_hand_into_registry_json_does_not_serve(
    store: MemoryStore, candidate: str
) -> None:
    Registry(store).promote(candidate, reasons=["better"])
    forged = store.get(SNAPSHOT_KEY).data.replace(candidate.encode(), b"als_20300101T000000Z_00000000")
    store.overwrite(SNAPSHOT_KEY, forged)
    assert Registry(store).show("champion").model_id == candidate
    assert any("damaged" in finding for finding in Registry(store).verify())


def interrupt_once(store: MemoryStore, act: Callable[[], object]) -> None:
    """Let ``act`` happen between the reading and the writing of the next commit."""
    real_put_new, done = store.put_new, []

    def interrupted(key: str, data: bytes) -> str:
        if "log/" in key and not done:
            done.append(key)
            act()
        return real_put_new(key, data)

    store.put_new = interrupted  # type: ignore[method-assign]
