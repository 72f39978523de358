"""The embedded default: a Prefect server for one run, SQLite inside the project, nothing that phones home.

Prefect can start such a server by itself, but only when it is first asked something, and it imports the
server in our process, too. Starting it first, beside our own imports, halves what it costs (DECISIONS.md).
"""

import atexit
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from recsys.config.settings import state_dir
from recsys.errors import ConfigError

_QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "recsys",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    # errors reach the terminal once, as one line, by the command itself; the server keeps all logs
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
}
# a server for one run schedules nothing and reacts to nothing; without these it starts 0.6 s sooner
_IDLE_SERVICES = (
    "SCHEDULER", "LATE_RUNS", "CANCELLATION_CLEANUP", "PAUSE_EXPIRATIONS", "TRIGGERS", "FOREMAN", "REPOSSESSOR"
)  # fmt: skip
_QUIET |= {f"PREFECT_SERVER_SERVICES_{service}_ENABLED": "false" for service in _IDLE_SERVICES}
_START_SECONDS = 120.0
_STOP_SECONDS = 15.0
_running: "EmbeddedServer | None" = None


class EmbeddedServer:
    """A Prefect server on a free loopback port; ends with this process, however that ends."""

    def __init__(self, home: Path) -> None:
        self._log = home / "server.log"
        with socket.create_server(("127.0.0.1", 0)) as listening, self._log.open("ab") as log:
            self.api_url = f"http://127.0.0.1:{listening.getsockname()[1]}/api"
            self._process = subprocess.Popen(
                [sys.executable, "-m", "flows.embedded_server", str(listening.fileno())],
                stdin=subprocess.PIPE,  # its end tells the server to stop
                stdout=log,
                stderr=log,
                pass_fds=[listening.fileno()],
            )
        atexit.register(self.stop)

    def wait_until_ready(self) -> None:
        """Return when the server answers. Raises ConfigError when it ended or takes too long."""
        deadline = time.monotonic() + _START_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{self.api_url}/health", timeout=_START_SECONDS):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        raise ConfigError(
            f"the embedded Prefect server did not start, see {self._log}; if its database is damaged, remove "
            f"{self._log.parent}, or name a server with PREFECT_API_URL"
        )

    def stop(self) -> None:
        """Let the server write what it has received, then end it."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def use_embedded_server() -> None:
    """Start a server and set the environment for it, unless PREFECT_API_URL names one.

    Must be called before Prefect is imported. Values that the environment has already are left alone, but
    for PREFECT_HOME: the user's own Prefect is never touched.
    """
    global _running
    if os.environ.get("PREFECT_API_URL"):
        return
    home = state_dir().resolve() / "prefect"
    home.mkdir(parents=True, exist_ok=True)
    os.environ["PREFECT_HOME"] = str(home)
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    _running = EmbeddedServer(home)
    os.environ["PREFECT_API_URL"] = _running.api_url


def wait_for_embedded_server() -> None:
    """Return when the embedded server answers; at once where there is none."""
    if _running is not None:
        _running.wait_until_ready()


def task_tags(*tags: str) -> set[str]:
    """Return the tags; none on the embedded server, where no limit or page could use them.

    Prefect asks the server for slots of every tagged task. On SQLite two tasks that ask at once collide, and
    the loser's client pauses 2 s, or longer, before its task starts (DECISIONS.md).
    """
    return set() if _running is not None else set(tags)
