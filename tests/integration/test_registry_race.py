"""Many processes write to one registry at once: nothing is lost, nothing is doubled, everybody's order is kept."""

import logging
from collections import defaultdict
from functools import reduce
from pathlib import Path

import pytest
from registry_writer import Race, run_race
from sample_models import publish

from recsys.registry.catalogue import Registry
from recsys.registry.snapshot import read_snapshot
from recsys.registry.state import RegistryState, fold
from recsys.storage.open import open_store

_log = logging.getLogger(__name__)


@pytest.fixture(params=["local", "seaweedfs"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "local":
        return str(tmp_path / "store")
    return request.getfixturevalue("s3").new_uri()


@pytest.mark.parametrize(
    ("n_writers", "n_updates"),
    [(8, 5), pytest.param(32, 20, marks=[pytest.mark.slow, pytest.mark.timeout(1500)])],
)
def test_no_update_is_lost_or_doubled(uri: str, tmp_path: Path, n_writers: int, n_updates: int) -> None:
    registry = Registry(open_store(uri))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "als_U.npy").write_bytes(b"U")
    pairs = [
        (publish(registry, tmp_path / "model"), publish(registry, tmp_path / "model"))
        for _ in range(n_writers)
    ]

    race = run_race(uri, pairs, n_updates)
    _log.info("%d x %d: %.1f s, longest %.1f s", n_writers, n_updates, race.seconds, race.longest_seconds)

    assert len(race.acknowledged) == n_writers * n_updates
    check_audit_trail(Registry(open_store(uri)), race, 2 * n_writers)


def check_audit_trail(registry: Registry, race: Race, n_registered: int) -> None:
    events = registry.history()
    assert [event.number for event in events] == list(range(1, len(events) + 1))
    updates = events[n_registered:]
    assert sorted(event.reasons[0] for event in updates) == sorted(race.acknowledged)
    assert len({event.transaction_id for event in events}) == len(events)
    order = defaultdict(list)
    for event in updates:
        actor, number = event.reasons[0].split(":")
        assert event.actor == actor
        order[actor].append(int(number))
    assert all(numbers == sorted(numbers) for numbers in order.values())
    assert registry.verify() == []
    assert reduce(fold, events, RegistryState()) == registry.state()
    assert read_snapshot(registry.store)[0].generation <= len(events)
