"""The server of the embedded default: it ends with its run, and says what is wrong when it cannot start."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import time
from flows import embedded
embedded.use_embedded_server()
embedded.wait_for_embedded_server()
print(embedded._running.api_url, flush=True)
time.sleep(100)
"""


def start(tmp_path):
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "RECSYS_STATE": str(tmp_path)}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=tmp_path,
    )


def answers(api_url):
    try:
        return urllib.request.urlopen(f"{api_url}/health", timeout=10).status == 200
    except (urllib.error.URLError, OSError):
        return False


def test_a_killed_run_leaves_no_server_behind(tmp_path):
    with start(tmp_path) as process:
        api_url = process.stdout.readline().strip()
        assert answers(api_url)
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while answers(api_url) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not answers(api_url)


def test_a_damaged_database_is_an_error_that_says_where_and_what_to_do(tmp_path):
    (tmp_path / "prefect").mkdir()
    (tmp_path / "prefect" / "prefect.db").write_bytes(b"no database" * 1000)
    with start(tmp_path) as process:
        _, told = process.communicate(timeout=100)
    assert process.returncode
    assert f"see {tmp_path}/prefect/server.log" in told
    assert f"remove {tmp_path}/prefect" in told
