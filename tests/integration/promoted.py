"""What the tests of broken and refused requests share: a store that gives up soon, and a promoted model."""

from pathlib import Path

from sample_models import publish
from servers import S3Server

from recsys.registry.catalogue import Registry
from recsys.storage.s3 import S3Store

ATTEMPTS = 3  # of each request; a fault that lasts that long exhausts the retries of boto3


def impatient(s3: S3Server, prefix: str, endpoint_url: str, *, read_timeout_seconds: float = 1.2) -> S3Store:
    return S3Store(
        s3.bucket,
        prefix,
        endpoint_url=endpoint_url,
        read_timeout_seconds=read_timeout_seconds,
        max_attempts=ATTEMPTS,
    )


def publish_and_promote(store: S3Store, model_dir: Path) -> str:
    registry = Registry(store)
    model_id = publish(registry, model_dir)
    registry.promote(model_id, reasons=["better"])
    return model_id
