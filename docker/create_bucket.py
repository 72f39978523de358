"""Create the bucket of RECSYS_STORE if it is not there, and ask whether the server keeps its promises.

RECSYS_STORE=s3://bucket/prefix python docker/create_bucket.py

Safe to repeat. Ends with 0 when a registry can live there, else with the exit code of `recsys doctor`.
"""

import subprocess
import sys
from urllib.parse import urlsplit

import boto3
from botocore.exceptions import ClientError

from recsys.config.settings import default_store_uri


def main() -> int:
    """Do both; return the exit code of the process."""
    uri = default_store_uri()
    address = urlsplit(uri)
    if address.scheme == "s3":
        create(address.netloc)
    return subprocess.run(["recsys", "doctor", "--store", uri], check=False).returncode


def create(bucket: str) -> None:
    """Create ``bucket``; raises ClientError when the server refuses, or when the bucket is somebody else's."""
    client = boto3.client("s3")
    try:
        client.head_bucket(Bucket=bucket)
        sys.stdout.write(f"bucket {bucket}: there already\n")
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise
        client.create_bucket(Bucket=bucket)
        sys.stdout.write(f"bucket {bucket}: created\n")


if __name__ == "__main__":
    sys.exit(main())
