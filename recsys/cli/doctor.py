"""The command that looks at machine, store and server and says what will not work."""

import importlib.util
import os
import platform
import sys
import urllib.error
import urllib.request

import typer
from rich.table import Table

import recsys
from recsys.cli.options import JsonOption, StoreOption
from recsys.cli.output import console, emit, leave_with_findings
from recsys.config.settings import available_threads, free_memory_bytes
from recsys.errors import RecsysError, StoreError
from recsys.storage.open import open_store
from recsys.types import Json

_TIMEOUT_SECONDS = 5
_EXTRAS = ("torch", "mlflow", "prefect_dask", "prefect_ray", "pyspark")


def add_commands(app: typer.Typer) -> None:
    """Add doctor to the top level."""
    app.command("doctor")(doctor_command)


def doctor_command(store: StoreOption, as_json: JsonOption = False) -> None:
    """Check GPU, threads, BLAS, memory, the store's promises and the Prefect API."""
    findings = {**_machine(), "store": _store(store), "prefect": _prefect()}
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
        "extras": [name for name in _EXTRAS if importlib.util.find_spec(name)],
    }


def _store(uri: str) -> Json:
    from recsys.storage.probe import probe_conditional_writes

    try:
        promises = probe_conditional_writes(open_store(uri))
    except RecsysError as error:
        return {"uri": uri, "ok": False, "problem": str(error)}
    problem = None if promises.create_once else "does not honour create-once writes; the registry refuses it"
    return {"uri": uri, "ok": promises.create_once, **promises.to_json(), "problem": problem}


def _prefect() -> Json:
    url = os.environ.get("PREFECT_API_URL")
    if not url:
        return {"api": None, "note": "PREFECT_API_URL is not set: flows start an embedded server"}
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=_TIMEOUT_SECONDS) as answer:
            return {"api": url, "reachable": answer.status == 200}
    except (urllib.error.URLError, OSError, ValueError) as error:
        return {"api": url, "reachable": False, "problem": str(error)}
