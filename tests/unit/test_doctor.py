"""`recsys doctor`, `--version` and completion: what a person asks first on a new machine."""

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path

import pytest

import recsys
from recsys.cli.main import run

AUTH = "admin:pass:word"


class PrefectApi(BaseHTTPRequestHandler):
    """Answers what doctor asks of a Prefect API that wants a password."""

    server_version_answer = version("prefect")

    def do_GET(self) -> None:
        expected = f"Basic {base64.b64encode(AUTH.encode()).decode()}"
        allowed = self.headers["Authorization"] == expected
        self.send_response(200 if allowed else 401)
        self.end_headers()
        if allowed:
            answers = {"/api/health": True, "/api/admin/version": self.server_version_answer}
            self.wfile.write(json.dumps(answers[self.path]).encode())

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), PrefectApi)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{server.server_port}/api/")
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", AUTH)
    yield str(server.server_port)
    server.shutdown()
    server.server_close()


def doctor(capsys: pytest.CaptureFixture[str], store: Path, code: int | None = 0) -> dict:
    with pytest.raises(SystemExit) as left:
        run(["doctor", "--store", str(store), "--json"])
    assert (left.value.code or 0) == code
    return json.JSONDecoder().raw_decode(capsys.readouterr().out)[0]


def test_a_sound_machine(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    found = doctor(capsys, tmp_path / "store")
    assert found["recsys"] == recsys.__version__
    assert found["store"]["ok"]
    assert found["prefect"]["api"] is None
    assert found["threads"] >= 1
    assert set(found["directories"]) == {"RECSYS_STATE", "RECSYS_LOG_DIR"}
    assert all("GB free" in told for told in found["directories"].values())


def test_directories_that_cannot_be_written_are_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RECSYS_STATE", str(tmp_path / "file" / "state"))
    monkeypatch.setenv("RECSYS_METRICS_FILE", str(tmp_path / "collector" / "train_cf.prom"))
    directories = doctor(capsys, tmp_path / "store")["directories"]
    assert "cannot be written: Not a directory" in directories["RECSYS_STATE"]
    assert "GB free" in directories["RECSYS_METRICS_FILE"]
    assert not (tmp_path / "collector").exists()  # asking changes nothing


def test_a_store_that_cannot_hold_a_registry_ends_with_4(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    found = doctor(capsys, tmp_path / "file", code=4)
    assert not found["store"]["ok"]
    assert str(tmp_path / "file") in found["store"]["problem"]


def test_a_prefect_server_of_this_version(
    api: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    found = doctor(capsys, tmp_path / "store")["prefect"]
    assert found == {
        "api": f"http://127.0.0.1:{api}/api/",
        "reachable": True,
        "server": version("prefect"),
        "client": version("prefect"),
    }


def test_a_prefect_server_of_another_version_or_password(
    api: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PrefectApi, "server_version_answer", "2.20.1")
    assert "differ; bring both to one version" in doctor(capsys, tmp_path / "store")["prefect"]["problem"]
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "admin:wrong")
    found = doctor(capsys, tmp_path / "store")["prefect"]
    assert (found["reachable"], "401" in found["problem"]) == (False, True)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        run(["--version"])
    assert not left.value.code
    assert capsys.readouterr().out == f"train-cf {recsys.__version__}\n"


@pytest.mark.parametrize(
    ("words", "expected"),
    [("recsys re", {"recommend", "registry", "report"}), ("recsys registry pro", {"promote"})],
)
def test_the_shell_completes_commands(words: str, expected: set[str]) -> None:
    environment = {**os.environ, "_RECSYS_COMPLETE": "complete_bash", "COMP_WORDS": words}
    environment |= {"COMP_CWORD": str(len(words.split()) - 1)}
    done = subprocess.run(
        [sys.executable, "-c", "from recsys.cli.main import run; run()"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert expected <= set(done.stdout.split())
