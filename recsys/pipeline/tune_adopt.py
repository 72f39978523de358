"""Adopting a study: its winner's settings go into a configuration file, and the store remembers who did it."""

import getpass
import hashlib
import logging
from datetime import UTC, datetime
from pathlib import Path

from recsys.config.load import config_from_document, config_to_yaml, load_config
from recsys.errors import ConfigError
from recsys.pipeline.study import OBJECTIVE, StudyReference, finished_study, with_settings
from recsys.storage.documents import write_once
from recsys.storage.files import replace_file
from recsys.types import Json

logger = logging.getLogger(__name__)


def adopt(study: StudyReference, path: Path, reason: str, *, force: bool = False) -> Json:
    """Write the winner's settings into the file at ``path`` and return the document of the adoption.

    Everything else that the file sets stays; a missing file becomes the study's proposal. The file is
    replaced as a whole: its own comments are lost, its former text is kept beside it as FILE.before-adoption
    and in the document tuning/studies/{study_id}/adoptions/{time}.json.

    Raises:
        ConfigError: the study has not ended; its winner is worse than the settings it was compared with, and
            not ``force``; or the file is no valid configuration.
        AccessDenied, StoreFull, StoreError: the file cannot be written.
    """
    result = finished_study(study)
    if result is None:
        raise ConfigError(f"study {study.study_id} has not ended; run it to its end first")
    if result["comparison"][OBJECTIVE]["high"] < 0 and not force:
        raise ConfigError(f"study {study.study_id}: {result['verdict']} --force adopts it all the same")
    before = path.read_text(encoding="utf-8") if path.exists() else None
    given = (
        load_config(path).model_dump(mode="json", exclude_unset=True) if before is not None else study.given
    )
    config = config_from_document(with_settings(given, study.model, result["proposed"]), str(path))
    now = datetime.now(UTC)
    text = _head(study, result, now) + config_to_yaml(config)
    if before is not None:
        replace_file(path.with_name(f"{path.name}.before-adoption"), [before.encode()])
    replace_file(path, [text.encode()])
    document: Json = {
        "study_id": study.study_id,
        "adopted_at": now.isoformat(),
        "adopted_by": _user(),
        "reason": reason,
        "file": str(path),
        "settings": result["proposed"],
        "comparison": result["comparison"][OBJECTIVE],
        "before": before,
        "after_sha256": hashlib.sha256(text.encode()).hexdigest(),
    }
    key = f"{study.prefix}/adoptions/{now:%Y%m%dT%H%M%S%fZ}.json"
    write_once(study.open_store(), key, document)
    logger.info("%s: settings of study %s", path, study.study_id)
    return document


def _head(study: StudyReference, result: Json, now: datetime) -> str:
    lines = [
        f"Settings of {study.model} adopted from study {study.study_id} on {now:%Y-%m-%d}.",
        result["verdict"],
    ]
    return "".join(f"# {line}\n" for line in lines)


def _user() -> str:
    try:
        return getpass.getuser()
    except OSError:  # a container without a user database
        return "unknown"
