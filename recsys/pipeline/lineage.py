"""Where a model comes from: code, packages, machine, and what the last night chose."""

import logging
import os
import platform
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import recsys
from recsys.cf.tuning.auto import search_space
from recsys.errors import IntegrityError, ModelNotFound
from recsys.registry.artifact import read_manifest
from recsys.registry.catalogue import Registry
from recsys.storage.base import Store
from recsys.types import Json

_PACKAGES = ("implicit", "numba", "numpy", "polars", "prefect", "scipy", "torch")
_GIT_TIMEOUT_SECONDS = 5
logger = logging.getLogger(__name__)


@cache
def code_facts() -> Json:
    """Return version, git commit (or RECSYS_GIT_COMMIT, or None), Python and package versions, machine."""
    return {
        "version": recsys.__version__,
        "git_commit": os.environ.get("RECSYS_GIT_COMMIT") or _git_commit(),
        "python": platform.python_version(),
        "packages": {name: _package_version(name) for name in _PACKAGES},
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
    }


def last_settings(store: Store, model: str) -> Mapping[str, Any] | None:
    """Return the searched settings of the newest registered model of that type, None without one."""
    ladders = search_space(model).ladders
    for entry in Registry(store).list(model):
        if entry.status == "failed":
            continue
        try:
            settings = read_manifest(store, entry.model_id)["facts"]["settings"]
        except (ModelNotFound, IntegrityError, KeyError) as error:
            logger.warning(
                "settings of %s cannot be read (%s); looking at the one before", entry.model_id, error
            )
            continue
        return {name: settings[name] for name in ladders if name in settings}
    return None


def _git_commit() -> str | None:
    root = Path(recsys.__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=_GIT_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def _package_version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
