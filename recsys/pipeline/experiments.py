"""A row per trial in one CSV file that many processes write, and the same rows as Parquet.

Columns, in this order; those of the original first. Empty where a model has no such setting.

model_type, factors, reg, lr, alpha, recall@10, ndcg@10 (best on validation), training_time (seconds), state
(complete, pruned, diverged, refused), stage, best_iteration, iterations, study_id, trial, space, data_version,
data_hash, seed, settings (JSON by path), error, started_at (UTC), host, version, git_commit.
"""

import csv
import fcntl
import io
import json
import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from recsys.errors import ConfigError
from recsys.pipeline.lineage import code_facts
from recsys.pipeline.study import OBJECTIVE, StudyReference
from recsys.storage.files import translated_errors
from recsys.types import Json

COLUMNS = (
    *(
        "model_type",
        "factors",
        "reg",
        "lr",
        "alpha",
        "recall@10",
        "ndcg@10",
        "training_time",
        "state",
        "stage",
    ),
    *("best_iteration", "iterations", "study_id", "trial", "space", "data_version", "data_hash", "seed"),
    *("settings", "error", "started_at", "host", "version", "git_commit"),
)
_KEY = ("study_id", "trial")
_FLOATS = ("reg", "lr", "alpha", "recall@10", "ndcg@10", "training_time")
_WHOLE = ("factors", "best_iteration", "iterations", "trial", "seed")


def trial_row(study: StudyReference, trial: Json) -> dict[str, Any]:
    """Return the row of one trial document, with COLUMNS as keys."""
    section, metrics, code = trial["section"], trial["metrics"], code_facts()
    return {
        "model_type": study.model,
        "factors": section.get("factors"),
        "reg": section.get("regularization"),
        "lr": section.get("learning_rate"),
        "alpha": section.get("alpha"),
        "recall@10": metrics.get("recall@10"),
        "ndcg@10": metrics.get(OBJECTIVE),
        "training_time": round(trial["seconds"], 3),
        "state": trial["state"],
        "stage": trial["stage"],
        "best_iteration": trial["best_iteration"],
        "iterations": trial["iterations"],
        "study_id": study.study_id,
        "trial": trial["number"],
        "space": study.space.name,
        "data_version": study.data_version,
        "data_hash": study.content_hash[:12],
        "seed": study.config.runtime.seed,
        "settings": json.dumps(trial["settings"], sort_keys=True),
        "error": trial["error"],
        "started_at": datetime.fromtimestamp(trial["started_at"], UTC).isoformat(timespec="seconds"),
        "host": trial["host"],
        "version": code["version"],
        "git_commit": code["git_commit"],
    }


def append_rows(path: Path, rows: Sequence[dict[str, Any]]) -> int:
    """Append the rows that the file does not have yet, and return how many those were.

    Safe for any number of processes on one machine: a lock is held while the file is looked through and
    while header and rows go out in one write. A row is known by study_id and trial, so that a study which
    goes on after a kill writes each trial once. A line that a full disk has cut off is left and closed.

    Raises:
        ConfigError: the file has other columns.
        StoreFull, AccessDenied, StoreError: it cannot be written.
    """
    with translated_errors(str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)  # released when the file closes, also by a kill
            stream.seek(0)
            text = stream.read().decode("utf-8", "replace")
            known = _known_rows(path, text)
            missing = [row for row in rows if (row["study_id"], str(row["trial"])) not in known]
            if not missing:
                return 0
            before = "" if not text or text.endswith("\n") else "\n"
            head = "" if text else _lines([COLUMNS])
            body = _lines(["" if row[name] is None else row[name] for name in COLUMNS] for row in missing)
            _write_all(stream.fileno(), (before + head + body).encode())
    return len(missing)


def rows_to_parquet(rows: Sequence[dict[str, Any]]) -> bytes:
    """Return the rows as a Parquet file with typed columns."""
    schema = {
        name: pl.Float64 if name in _FLOATS else pl.Int64 if name in _WHOLE else pl.String for name in COLUMNS
    }
    columns = {name: [row[name] for row in rows] for name in COLUMNS}
    buffer = io.BytesIO()
    pl.DataFrame(columns, schema=schema, strict=False).write_parquet(buffer)
    return buffer.getvalue()


def _known_rows(path: Path, text: str) -> set[tuple[str, str]]:
    reader = csv.reader(io.StringIO(text, newline=""))
    head = next(reader, None)
    if head is None:
        return set()
    if tuple(head) != COLUMNS:
        raise ConfigError(
            f"{path} has other columns than this version writes; move it away or set tuning.experiments"
        )
    study, trial = (COLUMNS.index(name) for name in _KEY)
    return {(row[study], row[trial]) for row in reader if len(row) == len(COLUMNS)}


def _lines(rows: Iterable[Sequence[Any]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


def _write_all(descriptor: int, data: bytes) -> None:
    """Write everything; the system may take less at once when a disk is nearly full."""
    while data:
        data = data[os.write(descriptor, data) :]
