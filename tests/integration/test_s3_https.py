"""Over https boto3 would send checksum trailers, which several servers refuse; we must not."""

from pathlib import Path

import pytest
from fault_proxy import fault_proxy
from loopback_tls import loopback_tls
from sample_models import publish, write_model
from servers import S3Server

from recsys.errors import ObjectChanged, ObjectExists, StoreUnavailable
from recsys.registry import load_champion
from recsys.registry.catalogue import Registry
from recsys.storage.multipart import PART_BYTES
from recsys.storage.open import open_store


def test_everything_works_over_https_without_trailers(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, trusted = loopback_tls(tmp_path)
    with fault_proxy(s3.endpoint_url, context) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint_url)
        monkeypatch.setenv("AWS_CA_BUNDLE", str(trusted))
        store = open_store(s3.new_uri())
        etag = store.put_new("a", b"1")
        with pytest.raises(ObjectExists):
            store.put_new("a", b"2")
        store.put_if_match("a", b"2", etag)
        with pytest.raises(ObjectChanged):
            store.put_if_match("a", b"3", etag)
        (tmp_path / "large").write_bytes(bytes(PART_BYTES + 1))
        sha256 = store.put_file("large", tmp_path / "large")
        assert store.get_file("large", tmp_path / "copy") == sha256
        registry = Registry(store)
        registry.promote(publish(registry, write_model(tmp_path / "als")), reasons=["first"])
        assert load_champion(store, cache_dir=tmp_path / "cache").recommend("u0", 1)[0].score == 3.0
        assert registry.verify() == []

        writes = [h for h, line in zip(proxy.headers, proxy.requests, strict=True) if line.startswith("PUT")]
        assert writes
        assert all(
            "x-amz-checksum-sha256" in headers and "x-amz-trailer" not in headers for headers in writes
        )
        assert all("aws-chunked" not in headers.get("content-encoding", "") for headers in writes)


def test_a_certificate_nobody_vouches_for_is_refused(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, _ = loopback_tls(tmp_path)
    with fault_proxy(s3.endpoint_url, context) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint_url)
        with pytest.raises(StoreUnavailable, match=r"(?i)certificate"):
            open_store(s3.new_uri()).get("a")
        assert proxy.requests == []
