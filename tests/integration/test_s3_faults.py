"""The fault table: a publish through a proxy that breaks one request, or all of them, in every way we know."""

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import botocore.auth
import botocore.retries.standard
import pytest
from fault_proxy import FaultProxy, fault_proxy
from promoted import ATTEMPTS, impatient, publish_and_promote
from sample_models import publish
from servers import S3Server

from recsys.errors import (
    ObjectExists,
    ObjectNotFound,
    OutcomeUnknown,
    StoreError,
    StoreUnavailable,
)
from recsys.registry import commit as commit_module
from recsys.registry import load_champion
from recsys.registry.catalogue import Registry
from recsys.storage.multipart import PART_BYTES
from recsys.storage.s3 import S3Store

WRITE_FAULTS = [
    "reset before body",
    "reset after body",
    "reply lost",
    "reply late",
    "500",
    "500 after commit",
    "503 SlowDown",
]
READ_FAULTS = ["reset after body", "reply lost", "500", "503 SlowDown", "truncated body", "stalled read"]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait between the attempts of boto3, which grow to seconds; their number stays."""
    monkeypatch.setattr(botocore.retries.standard.ExponentialBackoff, "delay_amount", lambda *args: 0.02)


def actions(store: S3Store) -> list[str]:
    return [event.action for event in Registry(store).history()]


@pytest.mark.parametrize("fault", WRITE_FAULTS)
@pytest.mark.parametrize("what", ["als_U.npy", "manifest.json", "log/00000002.json", "registry.json"])
def test_one_broken_write_is_survived(
    through: S3Store, direct: S3Store, proxy: FaultProxy, model_dir: Path, fault: str, what: str
) -> None:
    proxy.break_by(once(fault, f"PUT /{through.bucket}", what))
    model_id = publish_and_promote(through, model_dir)
    assert len(proxy.broken) == 1
    assert Registry(direct).show("champion").model_id == model_id
    assert actions(direct) == ["register", "promote"]
    assert Registry(direct).verify() == []


@pytest.mark.parametrize("fault", READ_FAULTS)
@pytest.mark.parametrize("what", ["als_U.npy", "manifest.json", "log/00000001.json"])
def test_one_broken_read_is_survived(
    through: S3Store,
    direct: S3Store,
    proxy: FaultProxy,
    model_dir: Path,
    tmp_path: Path,
    fault: str,
    what: str,
) -> None:
    publish_and_promote(direct, model_dir)
    direct.delete("registry/registry.json")  # so that the log is read
    proxy.break_by(once(fault, "GET", what))
    champion = load_champion(through, cache_dir=tmp_path / "cache")
    assert champion.recommend("u0", 1)[0].score == 3.0
    assert len(proxy.broken) == 1


@pytest.mark.parametrize("fault", WRITE_FAULTS)
def test_a_store_that_stays_broken_leaves_the_old_champion(
    through: S3Store,
    direct: S3Store,
    proxy: FaultProxy,
    model_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    monkeypatch.setattr(commit_module, "_FAILURES_TOLERATED", 0)
    old = publish_and_promote(direct, model_dir)
    proxy.break_next(fault, "manifest.json", times=1000)
    started = time.monotonic()
    with pytest.raises((StoreUnavailable, OutcomeUnknown)) as raised:
        publish_and_promote(through, model_dir)
    assert raised.value.retryable
    assert time.monotonic() - started < 60
    serving = load_champion(direct, cache_dir=tmp_path / "cache")
    assert serving.model_id == old

    proxy.heal()
    new = publish_and_promote(through, model_dir)
    assert serving.refresh()
    assert serving.model_id == new
    assert Registry(direct).verify() == []
    orphans = Registry(direct).gc(keep_versions=9, grace_hours=1, now=datetime.now(UTC) + timedelta(hours=2))
    assert [item.kind for item in orphans.items] == ["orphan"]
    assert orphans.items[0].target not in (old, new)


def test_nobody_listens(s3: S3Server, prefix: str, direct: S3Store, model_dir: Path) -> None:
    with fault_proxy(s3.endpoint_url) as gone:
        store = impatient(s3, prefix, gone.endpoint_url)
    for read in (lambda: store.get("a"), lambda: store.head("a"), lambda: list(store.list())):
        with pytest.raises(StoreUnavailable, match="check AWS_ENDPOINT_URL"):
            read()
    for write in (lambda: store.put_new("a", b"1"), lambda: store.put_if_match("a", b"1", "x")):
        with pytest.raises((StoreUnavailable, OutcomeUnknown), match="AWS_ENDPOINT_URL"):
            write()
    with pytest.raises(StoreUnavailable):
        store.delete("a")
    assert list(direct.list()) == []


@pytest.mark.parametrize("fault", ["reply lost", "reply late", "500 after commit"])
def test_a_write_done_though_the_answer_was_lost_counts_as_done(
    through: S3Store, direct: S3Store, proxy: FaultProxy, tmp_path: Path, fault: str
) -> None:
    proxy.break_next(fault, "PUT", times=ATTEMPTS)
    etag = through.put_new("a", b"mine")
    assert (direct.get("a").data, direct.get("a").etag) == (b"mine", etag)
    proxy.break_next(fault, "PUT", times=ATTEMPTS)
    second = through.put_if_match("a", b"mine, newer", etag)
    assert (direct.get("a").data, direct.get("a").etag) == (b"mine, newer", second)
    (tmp_path / "f").write_bytes(b"file")
    proxy.break_next(fault, "PUT", times=ATTEMPTS)
    through.put_file("f", tmp_path / "f")
    assert direct.get("f").data == b"file"


@pytest.mark.parametrize("fault", ["reply lost", "500 after commit", "503 SlowDown", "reset after body"])
def test_somebody_elses_object_is_never_taken_for_ours(
    through: S3Store, direct: S3Store, proxy: FaultProxy, fault: str
) -> None:
    direct.put_new("a", b"theirs")
    proxy.break_next(fault, "PUT", times=ATTEMPTS)
    with pytest.raises(ObjectExists):
        through.put_new("a", b"mine")
    assert direct.get("a").data == b"theirs"


def test_a_write_that_never_arrived_is_in_doubt_not_done(
    through: S3Store, direct: S3Store, proxy: FaultProxy
) -> None:
    proxy.break_next("reset after body", "PUT", times=ATTEMPTS)
    with pytest.raises(OutcomeUnknown):
        through.put_new("a", b"mine")
    proxy.break_next("503 SlowDown", "PUT", times=ATTEMPTS)
    with pytest.raises(StoreUnavailable, match="overloaded"):
        through.put_new("a", b"mine")
    with pytest.raises(ObjectNotFound):
        direct.get("a")


def test_lost_answers_at_random_apply_each_update_exactly_once(
    s3: S3Server, through: S3Store, direct: S3Store, proxy: FaultProxy, model_dir: Path
) -> None:
    """The case in which compare-and-swap on one document applied 38 of 80 updates twice."""
    pair = [publish(Registry(direct), model_dir) for _ in range(2)]
    chance = random.Random(7)
    proxy.break_by(lambda line: "reply lost" if "PUT" in line and chance.random() < 0.3 else None)
    registry = Registry(through)
    for number in range(15):
        registry.promote(pair[number % 2], reasons=[f"update {number}"])
    assert len(proxy.broken) >= 5
    assert [event.reasons for event in Registry(direct).history()[2:]] == [
        (f"update {n}",) for n in range(15)
    ]
    assert Registry(direct).verify() == []


@pytest.mark.parametrize("fault", ["reply lost", "reset after body", "500", "503 SlowDown"])
@pytest.mark.parametrize("step", ["POST /", "partNumber=1", "uploadId="])
def test_large_files_survive_a_broken_part(
    through: S3Store, direct: S3Store, proxy: FaultProxy, tmp_path: Path, fault: str, step: str
) -> None:
    (tmp_path / "large").write_bytes(bytes(PART_BYTES + 10))
    wanted = ("POST", "uploadId=") if step == "uploadId=" else (step,)
    proxy.break_by(once(fault, *wanted))
    sha256 = through.put_file("large", tmp_path / "large")
    assert len(proxy.broken) == 1
    assert direct.sha256("large") == sha256
    with pytest.raises(ObjectExists):
        through.put_file("large", tmp_path / "large")


def test_an_upload_that_dies_in_the_middle_is_swept(
    through: S3Store, direct: S3Store, proxy: FaultProxy, tmp_path: Path
) -> None:
    (tmp_path / "large").write_bytes(bytes(PART_BYTES + 10))
    proxy.break_by(lambda line: "500" if "partNumber=2" in line or line.startswith("DELETE") else None)
    with pytest.raises(StoreError):
        through.put_file("large", tmp_path / "large")
    assert list(direct.list()) == []
    later = datetime.now(UTC) + timedelta(hours=1)
    assert direct.sweep(datetime.now(UTC) - timedelta(hours=1), dry_run=False) == []
    assert direct.sweep(later, dry_run=True) == ["large"]
    assert direct.sweep(later, dry_run=False) == ["large"]
    assert direct.sweep(later, dry_run=True) == []


def test_uploads_of_other_people_in_the_bucket_are_left_alone(direct: S3Store) -> None:
    for key in ("backups/db.tar", "data/versions/x"):
        direct._client.create_multipart_upload(**direct._address(key))
    later = datetime.now(UTC) + timedelta(days=9)
    Registry(direct).gc(keep_versions=9, grace_hours=1, now=later, dry_run=False)
    assert direct.sweep(later, dry_run=False) == ["backups/db.tar"]


def once(fault: str, *wanted: str) -> Callable[[str], str | None]:
    """Return a chooser that breaks the first request line containing all of ``wanted``."""
    done: list[str] = []

    def choose(line: str) -> str | None:
        if done or not all(part in line for part in wanted):
            return None
        done.append(line)
        return fault

    return choose
