"""The start-up probe tells careful stores from careless ones."""

import pytest

from recsys.errors import StoreUnavailable, UnsupportedStore
from recsys.storage.memory import MemoryStore
from recsys.storage.probe import ProbeResult, ensure_registry_safe, probe_conditional_writes


class Overwrites(MemoryStore):
    """Ignores If-None-Match."""

    def put_new(self, key: str, data: bytes) -> str:
        self.overwrite(key, data)
        return super().get(key).etag


class RefusesButOverwrites(MemoryStore):
    """Answers 412 and overwrites all the same."""

    def put_new(self, key: str, data: bytes) -> str:
        try:
            return super().put_new(key, data)
        finally:
            self.overwrite(key, data)


class IgnoresIfMatch(MemoryStore):
    """Ignores If-Match."""

    def put_if_match(self, key: str, data: bytes, etag: str) -> str:
        self.overwrite(key, data)
        return super().get(key).etag


class RefusesEveryIfMatch(MemoryStore):
    """Knows no If-Match at all."""

    def put_if_match(self, key: str, data: bytes, etag: str) -> str:
        return super().put_if_match(key, data, "another")


@pytest.mark.parametrize(
    ("store", "create_once", "compare_and_swap"),
    [
        (MemoryStore(), True, True),
        (Overwrites(), False, True),
        (RefusesButOverwrites(), False, True),
        (IgnoresIfMatch(), True, False),
        (RefusesEveryIfMatch(), True, False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, MemoryStore) else None,
)
def test_what_the_probe_finds(store: MemoryStore, create_once: bool, compare_and_swap: bool) -> None:
    result = probe_conditional_writes(store)
    assert result.create_once == create_once
    if create_once:
        assert result.compare_and_swap == compare_and_swap
    assert list(store.list()) == []


def test_the_registry_needs_create_once_only() -> None:
    ensure_registry_safe(IgnoresIfMatch())
    with pytest.raises(UnsupportedStore, match=r"single_writer"):
        ensure_registry_safe(Overwrites())


def test_the_probe_cleans_up_after_a_failure() -> None:
    store = MemoryStore()
    store.fail_next("put_if_match", StoreUnavailable("gone"))
    with pytest.raises(StoreUnavailable):
        probe_conditional_writes(store)
    assert list(store.list()) == []


def test_the_result_is_json() -> None:
    assert ProbeResult(True, False).to_json() == {"create_once": True, "compare_and_swap": False}
