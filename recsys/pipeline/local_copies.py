"""Copies of a run's models and report in a local directory, where people look for them."""

import logging
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from recsys.errors import ConfigError, RecsysError, RegistryError
from recsys.pipeline.metrics_file import export_metrics
from recsys.pipeline.run import RunReference
from recsys.registry.artifact import MANIFEST, fetch_model
from recsys.registry.documents import decode
from recsys.types import Json

logger = logging.getLogger(__name__)


def reuse_result(run: RunReference, finished: Json) -> Json:
    """Return the result of an earlier attempt, marked as such, with its copies where this attempt wants them."""
    reused = {**finished, "reused": True}
    export_metrics(run, reused)
    return copy_results(run, reused)


def copy_results(run: RunReference, result: Json) -> Json:
    """Return the result with ``local_artifacts``, after copying its models and its report to ``run.output``.

    The copies come from the registry, verified. A failure is a warning: the models are registered all the same.
    """
    if not run.output:
        return result
    output = Path(run.output)
    try:
        for model, facts in result["models"].items():
            if facts.get("model_id"):
                _replace_by_copy(run, facts["model_id"], output / model)
        report = result["report"].removeprefix(run.store_uri.rstrip("/") + "/")
        run.open_store().get_file(report, output / "report.html")
    except (OSError, RecsysError) as error:
        logger.warning("the results could not be copied to %s: %s", output, error)
        return result
    return {**result, "local_artifacts": run.output}


def _replace_by_copy(run: RunReference, model_id: str, target: Path) -> None:
    """Replace ``target`` by the files of a model; it is never half filled, but absent for a moment.

    Raises:
        ConfigError: It is there and is no copy of a model, or holds other things as well.
    """
    if foreign := _foreign_names(target):
        raise ConfigError(
            f"{target} holds {foreign[0]}, which is of no earlier copy and would be lost; move it, or name "
            "another directory"
        )
    with TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as temporary:
        fresh = fetch_model(run.open_store(), model_id, Path(temporary) / model_id)
        if target.exists():
            shutil.rmtree(target)
        fresh.rename(target)


def _foreign_names(target: Path) -> list[str]:
    """Return the names in a directory that no copy of a model has put there, by the manifest of the copy."""
    try:
        copied = {MANIFEST, *decode((target / MANIFEST).read_bytes(), MANIFEST)["files"]}
    except (OSError, RegistryError, KeyError, TypeError):
        copied = set()
    return sorted({path.name for path in target.iterdir()} - copied) if target.is_dir() else []
