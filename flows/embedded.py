"""The embedded default: a temporary Prefect server, SQLite inside the project, nothing that phones home."""

import os

from recsys.config.settings import state_dir

_QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "true",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "recsys",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    # errors reach the terminal once, as one line, by the command itself; the server keeps all logs
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
}


def use_embedded_server() -> None:
    """Set the environment for a run without a server, unless PREFECT_API_URL names one.

    Must be called before Prefect is imported. Values that the environment has already are left alone, but
    for PREFECT_HOME: the user's own Prefect is never touched.
    """
    if os.environ.get("PREFECT_API_URL"):
        return
    home = state_dir().resolve() / "prefect"
    home.mkdir(parents=True, exist_ok=True)
    os.environ["PREFECT_HOME"] = str(home)
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
