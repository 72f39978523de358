"""The command that looks at machine, store and server and says what will not work."""

import base64
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
import urllib.error
import urllib.request
from pathlib import Path
from tempfile import TemporaryDirectory

import typer
from rich.table import Table

import recsys
from recsys.cli.options import JsonOption, StoreOption
from recsys.cli.output import console, emit, leave_with_findings
from recsys.config.settings import available_threads, free_memory_bytes, log_dir, metrics_file, state_dir
from recsys.errors import RecsysError, StoreError
from recsys.storage.open import open_store
from recsys.types import Json

_TIMEOUT_SECONDS = 5
_EXTRAS = {  # by extra: the module that it brings
    "torch": "torch",
    "mlflow": "mlflow",
    "tune": "optuna",
    "dask": "prefect_dask",
    "ray": "prefect_ray",
    "spark": "pyspark",
    "ann": "faiss",
    "embed": "sentence_transformers",
}


def add_commands(app: typer.Typer) -> None:
    """Add doctor to the top level."""
    app.command("doctor")(doctor_command)


def doctor_command(store: StoreOption, as_json: JsonOption = False) -> None:
    """Check GPU, threads, BLAS, memory, directories, the store's promises and the Prefect API.

    Exit code 4 when the store cannot hold a registry; the other findings are printed.
    """
    findings = {**_machine(), "directories": _directories(), "store": _store(store), "prefect": _prefect()}
    if as_json:
        emit(findings)
    else:
        table = Table(show_header=False, box=None)
        for name, value in findings.items():
            table.add_row(name, str(value))
        console().print(table)
    if not findings["store"]["ok"]:
        leave_with_findings(StoreError, f"store {store}: {findings['store']['problem']}")


def _machine() -> Json:
    import numpy  # noqa: F401 - loads the BLAS that is asked about
    from threadpoolctl import threadpool_info

    from recsys.cf.models.device import gpu_is_usable

    blas = [
        f"{one['internal_api']} {one['version']}" for one in threadpool_info() if one["user_api"] == "blas"
    ]
    return {
        "recsys": recsys.__version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "threads": available_threads(),
        "blas": ", ".join(blas) or "unknown",
        "free_memory_gb": round(free_memory_bytes() / 1e9, 1),
        "gpu": "usable" if gpu_is_usable() else "none: ALS trains on the CPU",
        "extras": [name for name, module in _EXTRAS.items() if importlib.util.find_spec(module)],
    }


def _directories() -> Json:
    """Return for each directory that runs write to: the free space, or why it cannot be written."""
    metrics = metrics_file()
    asked = {"RECSYS_STATE": state_dir(), "RECSYS_LOG_DIR": log_dir()}
    if metrics is not None:
        asked["RECSYS_METRICS_FILE"] = metrics.parent
    return {name: _writable(path) for name, path in asked.items()}


def _writable(path: Path) -> str:
    existing = next(one for one in (path.absolute(), *path.absolute().parents) if one.exists())
    try:
        with TemporaryDirectory(dir=existing, prefix=".probe-"):
            return f"{path}, {shutil.disk_usage(existing).free / 1e9:.1f} GB free"
    except OSError as error:
        return f"{path} cannot be written: {error.strerror}"


def _store(uri: str) -> Json:
    from recsys.storage.probe import probe_conditional_writes

    try:
        promises = probe_conditional_writes(open_store(uri))
    except RecsysError as error:
        return {"uri": uri, "ok": False, "problem": str(error)}
    problem = None if promises.create_once else "does not honour create-once writes; the registry refuses it"
    return {"uri": uri, "ok": promises.create_once, **promises.to_json(), "problem": problem}


def _prefect() -> Json:
    """Return whether the API answers, and whether the server speaks this client's version."""
    url = os.environ.get("PREFECT_API_URL")
    if not url:
        return {"api": None, "note": "PREFECT_API_URL is not set: flows start an embedded server"}
    try:
        _ask(f"{url.rstrip('/')}/health")
        server = _ask(f"{url.rstrip('/')}/admin/version").strip().strip('"')
    except (urllib.error.URLError, OSError, ValueError) as error:
        return {"api": url, "reachable": False, "problem": str(error)}
    client = importlib.metadata.version("prefect")
    found: Json = {"api": url, "reachable": True, "server": server, "client": client}
    if server.split(".")[:2] != client.split(".")[:2]:
        found["problem"] = f"server {server} and client {client} differ; bring both to one version"
    return found


def _ask(url: str) -> str:
    request = urllib.request.Request(url)
    if secret := os.environ.get("PREFECT_API_AUTH_STRING"):
        request.add_header("Authorization", f"Basic {base64.b64encode(secret.encode()).decode()}")
    with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:
        return str(answer.read().decode("utf-8", "replace"))
