"""The boto3 client of the store: time limits, retries, addressing and checksums in one place."""

import os
from typing import TYPE_CHECKING, Literal

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from recsys.errors import ConfigError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_CONNECT_TIMEOUT_SECONDS = 5.0


def new_client(endpoint_url: str | None, read_timeout_seconds: float, max_attempts: int) -> "S3Client":
    """Return a client; threads may share it, processes may not.

    Args:
        endpoint_url: None means AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, or AWS itself.
        read_timeout_seconds: Longest silence of the server in the middle of an answer.
        max_attempts: How often a request is sent at most, with growing pauses.
    """
    foreign = endpoint_url or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    # Checksum trailers, boto3's default, end in 411 or 501 on several servers; we send our own header.
    checksums: Literal["when_required", "when_supported"] = "when_required" if foreign else "when_supported"
    config = Config(
        connect_timeout=_CONNECT_TIMEOUT_SECONDS,
        read_timeout=read_timeout_seconds,
        retries={"mode": "standard", "total_max_attempts": max_attempts},
        tcp_keepalive=True,
        signature_version="s3v4",
        s3={"addressing_style": "path" if foreign else "auto"},
        request_checksum_calculation=checksums,
        response_checksum_validation=checksums,
    )
    try:
        return boto3.session.Session().client("s3", endpoint_url=endpoint_url, config=config)
    except (BotoCoreError, ValueError) as error:  # an endpoint that is no URL, a profile that does not exist
        raise ConfigError(f"S3 cannot be set up from the AWS_* environment: {error}") from error
