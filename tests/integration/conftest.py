"""A store on a real S3 server, straight and through a proxy that breaks requests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_proxy import FaultProxy, fault_proxy
from promoted import impatient
from sample_models import write_model
from servers import S3Server

from recsys.storage.s3 import S3Store


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
def through(s3: S3Server, prefix: str, proxy: FaultProxy, request: pytest.FixtureRequest) -> S3Store:
    """Return a store that gives up soon where the fault is silence, and else waits for a loaded machine."""
    fault = getattr(request.node, "callspec", None) and request.node.callspec.params.get("fault")
    silent = fault in ("reply late", "stalled read")
    return impatient(s3, prefix, proxy.endpoint_url, read_timeout_seconds=1.2 if silent else 20)


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    return write_model(tmp_path / "als")
