"""What a store refuses and names: credentials, rights, clocks, buckets, damaged bytes, servers without promises."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import botocore.auth
import botocore.retries.standard
import pytest
from careless_server import careless_server
from fault_proxy import FaultProxy
from promoted import publish_and_promote
from sample_models import publish
from servers import READER, S3Server

from recsys.errors import (
    AccessDenied,
    IntegrityError,
    ObjectExists,
    StoreError,
    UnsupportedStore,
)
from recsys.registry import load_champion
from recsys.registry.artifact import model_prefix
from recsys.registry.catalogue import Registry
from recsys.storage.probe import ensure_registry_safe, probe_conditional_writes
from recsys.storage.s3 import S3Store


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


def test_a_server_that_ignores_ranges_gives_the_bytes_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    data = bytes(range(256)) * 10_000  # three blocks of an answer
    with careless_server() as endpoint_url:
        store = S3Store("bucket", "x", endpoint_url=endpoint_url)
        store.put_new("all", data)
        for start, n_bytes in ((0, 1), (1_048_570, 10), (5, 2_000_000), (len(data) - 3, 10), (len(data), 1)):
            assert store.get_range("all", start, n_bytes) == data[start : start + n_bytes], (start, n_bytes)


def test_a_server_that_ignores_conditions_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    with careless_server() as endpoint_url:
        store = S3Store("bucket", "x", endpoint_url=endpoint_url)
        assert not probe_conditional_writes(store).create_once
        with pytest.raises(UnsupportedStore, match=r"s3://bucket/x overwrote .* conditional writes"):
            ensure_registry_safe(store)
