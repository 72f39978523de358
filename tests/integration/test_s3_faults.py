"""The fault table: a publish through a proxy that breaks one request, or all of them, in every way we know."""

import random
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import botocore.auth
import botocore.retries.standard
import pytest
from careless_server import careless_server
from fault_proxy import FaultProxy, fault_proxy
from sample_models import publish, write_model
from servers import READER, S3Server

from recsys.errors import (
    AccessDenied,
    IntegrityError,
    ObjectExists,
    ObjectNotFound,
    OutcomeUnknown,
    StoreError,
    StoreUnavailable,
    UnsupportedStore,
)
from recsys.registry import commit as commit_module
from recsys.registry import load_champion
from recsys.registry.artifact import model_prefix
from recsys.registry.catalogue import Registry
from recsys.storage.multipart import PART_BYTES
from recsys.storage.probe import ensure_registry_safe, probe_conditional_writes
from recsys.storage.s3 import S3Store

ATTEMPTS = 3  # of each request; a fault that lasts that long exhausts the retries of boto3
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


@pytest.fixture
def proxy(s3: S3Server) -> Iterator[FaultProxy]:
    with fault_proxy(s3.endpoint_url) as running:
        yield running


@pytest.fixture
def prefix(s3: S3Server) -> str:
    return s3.new_uri().rsplit("/", 1)[1]


@pytest.fixture
def direct(s3: S3Server, prefix: str) -> S3Store:
    return S3Store(s3.bucket, prefix)


@pytest.fixture
def through(s3: S3Server, prefix: str, proxy: FaultProxy) -> S3Store:
    return impatient(s3, prefix, proxy.endpoint_url)


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    return write_model(tmp_path / "als")


def impatient(s3: S3Server, prefix: str, endpoint_url: str) -> S3Store:
    return S3Store(
        s3.bucket, prefix, endpoint_url=endpoint_url, read_timeout_seconds=1.2, max_attempts=ATTEMPTS
    )


def publish_and_promote(store: S3Store, model_dir: Path) -> str:
    registry = Registry(store)
    model_id = publish(registry, model_dir)
    registry.promote(model_id, reasons=["better"])
    return model_id


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
    assert time.monotonic() - started < 20
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
    model_id = publish(Registry(direct), model_dir)
    chance = random.Random(7)
    proxy.break_by(lambda line: "reply lost" if "PUT" in line and chance.random() < 0.3 else None)
    registry = Registry(through)
    for number in range(15):
        act = registry.archive if number % 2 else registry.mark_failed
        act(model_id, [f"update {number}"])
    assert len(proxy.broken) >= 5
    assert [event.reasons for event in Registry(direct).history()[1:]] == [
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


def test_wrong_credentials_are_not_tried_again(
    s3: S3Server, prefix: str, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    store = S3Store(s3.bucket, prefix, endpoint_url=proxy.endpoint_url)
    operations: list[Callable[[], object]] = [
        lambda: store.get("a"),
        lambda: store.head("a"),
        lambda: list(store.list()),
        lambda: store.put_new("a", b"1"),
        lambda: store.delete("a"),
    ]
    for number, operation in enumerate(operations, start=1):
        with pytest.raises(AccessDenied, match="check the AWS credentials"):
            operation()
        assert len(proxy.requests) == number


def test_no_credentials_at_all(s3: S3Server, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(AccessDenied, match="AWS_ACCESS_KEY_ID"):
        S3Store(s3.bucket, prefix).get("a")


def test_a_reader_may_serve_but_not_promote(
    s3: S3Server,
    direct: S3Store,
    prefix: str,
    model_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old = publish_and_promote(direct, model_dir)
    candidate = publish(Registry(direct), model_dir)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", READER[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", READER[1])
    reader = S3Store(s3.bucket, prefix)
    assert load_champion(reader, cache_dir=tmp_path / "cache").model_id == old
    with pytest.raises(AccessDenied):
        Registry(reader).promote(candidate, reasons=["mine"])
    assert Registry(direct).show("champion").model_id == old


@pytest.mark.parametrize("minutes", [-30, 30])
def test_a_wrong_clock_is_named(direct: S3Store, monkeypatch: pytest.MonkeyPatch, minutes: int) -> None:
    real = botocore.auth.get_current_datetime

    def skewed(*args: object, **kwargs: object) -> datetime:
        return real(*args, **kwargs) + timedelta(minutes=minutes)

    monkeypatch.setattr(botocore.auth, "get_current_datetime", skewed)
    with pytest.raises(AccessDenied, match="clock"):
        direct.put_new("a", b"1")
    monkeypatch.undo()


def test_a_missing_bucket_is_named(s3: S3Server) -> None:
    with pytest.raises(StoreError, match="bucket does not exist"):
        S3Store("no-such-bucket", "x").get("a")


def test_bytes_changed_on_the_way_are_refused_by_the_server(direct: S3Store) -> None:
    with pytest.raises(IntegrityError, match="other bytes"):
        direct._put("a", "00" * 32, ObjectExists, Body=b"1", IfNoneMatch="*")
    assert direct.head("a") is None


@pytest.mark.parametrize("name", ["als_U.npy", "manifest.json"])
def test_an_object_tampered_with_in_the_bucket_is_noticed(
    direct: S3Store, model_dir: Path, tmp_path: Path, name: str
) -> None:
    old = publish_and_promote(direct, model_dir)
    candidate = publish(Registry(direct), model_dir)
    for model_id in (old, candidate):
        key = model_prefix(model_id) + name
        stored = direct.get(key)
        direct.put_if_match(key, stored.data[:-2] + b"xx", stored.etag)
    assert sum(name in finding for finding in Registry(direct).verify()) == 2
    with pytest.raises(IntegrityError, match=name):
        load_champion(direct, cache_dir=tmp_path / "cache")
    with pytest.raises(IntegrityError, match=name):
        Registry(direct).promote(candidate, reasons=["looks fine"])


def test_listing_goes_through_all_pages(
    direct: S3Store, through: S3Store, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(7):
        direct.put_new(f"page/{number}", b"1")
    real = through._client.get_paginator

    def small_pages(name: str) -> object:
        paginator = real(name)
        paginate = paginator.paginate
        paginator.paginate = lambda **options: paginate(**options, PaginationConfig={"PageSize": 3})
        return paginator

    monkeypatch.setattr(through._client, "get_paginator", small_pages)
    assert [info.key for info in through.list("page/")] == [f"page/{number}" for number in range(7)]
    assert len(proxy.requests) == 3


def test_a_server_that_ignores_conditions_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    with careless_server() as endpoint_url:
        store = S3Store("bucket", "x", endpoint_url=endpoint_url)
        assert not probe_conditional_writes(store).create_once
        with pytest.raises(UnsupportedStore, match=r"s3://bucket/x overwrote .* conditional writes"):
            ensure_registry_safe(store)


def once(fault: str, *wanted: str) -> Callable[[str], str | None]:
    """Return a chooser that breaks the first request line containing all of ``wanted``."""
    done: list[str] = []

    def choose(line: str) -> str | None:
        if done or not all(part in line for part in wanted):
            return None
        done.append(line)
        return fault

    return choose
