"""A study: one search on one data version, and what of it lies in the store.

Everything is written once under tuning/studies/{study_id}/: study.json, trials/00000.json ..., measured/,
final.json, trials.parquet, proposal.yaml, reports/, result.json. These documents are the study; nothing else
remembers anything, so that a killed study goes on wherever the store can be reached.
"""

import copy
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, ConfigDict

import recsys
from recsys.cf.data.manifest import read_manifest
from recsys.cf.data.version import resolve_version
from recsys.cf.models.base import EARLY_STOP_METRIC
from recsys.cf.tuning.sampling import PlannedTrial, next_batch
from recsys.cf.tuning.space import Settings, Space, TrialPoint, best_trial
from recsys.config.load import config_from_document
from recsys.config.presets import resolve_presets
from recsys.config.schema import TrainingConfig
from recsys.errors import ConfigError, DataError, TrainingError
from recsys.rng import derive_name
from recsys.storage.base import Store
from recsys.storage.documents import read_document, write_once
from recsys.storage.open import open_store
from recsys.types import Json

STUDIES_PREFIX = "tuning/studies/"
OBJECTIVE = EARLY_STOP_METRIC  # "ndcg@10" on validation
# The preset under which a model's unset fields have the values of the schema and nothing is searched.
_PLAIN_PRESET = {"als": "default", "bpr": "original"}
_TRIAL_KEYS = ("number", "stage", "settings", "state", "value", "history", "seconds", "rungs", "section")
logger = logging.getLogger(__name__)


class StudyReference(BaseModel):
    """Names a study: small, immutable, safe to pass between tasks and processes."""

    model_config = ConfigDict(frozen=True)

    store_uri: str
    study_id: str
    data_version: str
    content_hash: str
    space: Space
    given: Mapping[str, Any]  # the current configuration: what was set in it, as a document
    config_path: str | None = None  # where it was read from, for people

    @property
    def config(self) -> TrainingConfig:
        """Return the current configuration, with the fields set that were set in it."""
        return config_from_document(dict(self.given), f"the configuration of study {self.study_id}")

    @property
    def model(self) -> str:
        """Name of the model that is tuned."""
        return self.space.model

    @property
    def prefix(self) -> str:
        """Key prefix of everything that belongs to this study."""
        return f"{STUDIES_PREFIX}{self.study_id}"

    def open_store(self) -> Store:
        """Return the store this study reads and writes."""
        return open_store(self.store_uri)

    def trial_config(self, settings: Settings) -> TrainingConfig:
        """Return the current configuration with ``settings``, presets written out, nothing left to search.

        Raises ConfigError when a setting is unknown or out of bounds.
        """
        document = with_settings(self.given, self.model, settings)
        document.setdefault("runtime", {})["models"] = [self.model]
        return resolve_presets(config_from_document(document, f"search space {self.space.name}"))


def with_settings(given: Mapping[str, Any], model: str, settings: Settings) -> Json:
    """Return a configuration document with settings by path on top, the model's preset fixed if it was auto."""
    document: Json = copy.deepcopy(dict(given))
    section = document.setdefault(model, {})
    if model in _PLAIN_PRESET and section.get("preset", "auto") == "auto":
        section["preset"] = _PLAIN_PRESET[model]
    for path, value in settings.items():
        *sections, leaf = path.split(".")
        target = document
        for name in sections:
            target = target.setdefault(name, {})
        target[leaf] = value
    return document


def open_study(
    store_uri: str,
    config: TrainingConfig,
    space: Space,
    *,
    data_version: str = "latest",
    force: bool = False,
    config_path: str | None = None,
) -> StudyReference:
    """Return the study of this space on this data version, and write it down.

    The id is a function of what decides the trials, so that a rerun finds those of an earlier attempt;
    ``force`` makes a new one. Raises DataVersionNotFound; ConfigError when the space does not fit the schema.
    """
    store = open_store(store_uri)
    version = resolve_version(store, data_version)
    manifest = read_manifest(store, version)
    if not manifest.summary.get("validation", 0):
        raise DataError(f"data version {version} has no validation split to compare settings on")
    given = config.model_dump(mode="json", exclude_unset=True)
    study = StudyReference(
        store_uri=store.uri,  # absolute: workers start in other folders
        study_id="",
        data_version=version,
        content_hash=manifest.content_hash,
        space=space,
        given=given,
        config_path=config_path,
    )
    _check_space(study)
    study = study.model_copy(update={"study_id": _study_id(study, force)})
    document = {**study.model_dump(mode="json"), "created_at": datetime.now(UTC).isoformat()}
    write_once(store, f"{study.prefix}/study.json", document)
    return study


def _study_id(study: StudyReference, force: bool) -> str:
    config = study.config
    base = resolve_presets(config).model_dump(mode="json", include={study.model, "bert"})
    tuning = config.tuning
    print_of_study = derive_name(
        study.space.model_dump_json(),
        base,
        config.runtime.seed,
        tuning.batch,
        tuning.pruner,
        tuning.pruner_warmup,
        recsys.__version__,
    )
    stamp = f"_{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}" if force else ""
    return f"st_{study.content_hash[:12]}_{print_of_study[:8]}{stamp}"


def _check_space(study: StudyReference) -> None:
    """Refuse a space that names unknown settings before anything is trained."""
    if study.model not in TrainingConfig.model_fields:
        raise ConfigError(f"search space {study.space.name}: there is no model {study.model!r}")
    for stage in study.space.stages:
        first = {
            path: domain[0] if isinstance(domain, tuple) else domain.low
            for path, domain in stage.search.items()
            if isinstance(domain, tuple) or not domain.whole
        }
        study.trial_config({**stage.fixed, **first})


def load_study(store: Store, study_id: str) -> StudyReference:
    """Return a study by its id or a unique beginning of it. Raises ConfigError when there is none or several."""
    keys = [
        info.key for info in store.list(f"{STUDIES_PREFIX}{study_id}") if info.key.endswith("/study.json")
    ]
    if len(keys) != 1:
        found = ", ".join(key.split("/")[2] for key in keys) or "none; `recsys tune list` shows them"
        raise ConfigError(f"study {study_id!r} in {store.uri}: {found}")
    document = read_document(store, keys[0], required=("study_id", "space", "given")) or {}
    return StudyReference.model_validate(document | {"store_uri": store.uri})


def trial_key(study: StudyReference, number: int) -> str:
    """Return the store key of one trial's document."""
    return f"{study.prefix}/trials/{number:05d}.json"


def trial_documents(study: StudyReference, *, before: int | None = None) -> list[Json]:
    """Return the documents of all ended trials, or of those with lower numbers, by number; not to be changed."""
    store = study.open_store()
    end = trial_key(study, before) if before is not None else f"{study.prefix}/trials0"
    keys = [info.key for info in store.list(f"{study.prefix}/trials/") if info.key < end]
    return [_trial(study.store_uri, key) for key in keys]


def trial_document(study: StudyReference, number: int) -> Json:
    """Return the document of one ended trial; not to be changed."""
    return _trial(study.store_uri, trial_key(study, number))


@lru_cache(maxsize=4096)
def _trial(store_uri: str, key: str) -> Json:
    """Return a trial's document, read once per process: it never changes."""
    document = read_document(open_store(store_uri), key, required=_TRIAL_KEYS)
    if document is None:
        raise TrainingError(f"{key} in {store_uri} vanished during the study")
    return document


def trial_points(study: StudyReference) -> list[TrialPoint]:
    """Return the ended trials as samplers see them."""
    return [
        TrialPoint(one["number"], one["stage"], one["settings"], one["value"], one["state"] == "complete")
        for one in trial_documents(study)
    ]


def next_trials(study: StudyReference) -> list[PlannedTrial]:
    """Return the trials of the current batch that have not ended; none when the search is over.

    Raises TrainingError when a stage cannot start because no trial before it is complete.
    """
    config = study.config
    try:
        return next_batch(
            study.space, trial_points(study), batch=config.tuning.batch, seed=config.runtime.seed
        )
    except ValueError as error:
        raise TrainingError(f"study {study.study_id}: {error}") from error


def winning_settings(study: StudyReference) -> tuple[int, Settings]:
    """Return number and settings of the best complete trial. Raises TrainingError when there is none."""
    best = best_trial(trial_points(study))
    if best is None:
        raise TrainingError(
            f"study {study.study_id}: no trial came to its end (all diverged or were pruned); widen the space"
        )
    return best.number, best.settings


def finished_study(study: StudyReference) -> Json | None:
    """Return the result of this study if it ended well before, else None."""
    return read_document(study.open_store(), f"{study.prefix}/result.json", required=("study_id", "winner"))
