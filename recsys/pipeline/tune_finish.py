"""The end of a study: comparison, proposed configuration, table, report, result."""

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from recsys.cf.tuning.auto import search_space
from recsys.cf.tuning.importance import importance
from recsys.cf.tuning.space import Settings, best_trial, setting_label
from recsys.config.load import config_from_document, config_to_yaml
from recsys.pipeline.experiments import rows_to_parquet, trial_row
from recsys.pipeline.lineage import code_facts
from recsys.pipeline.study import (
    OBJECTIVE,
    STUDIES_PREFIX,
    StudyReference,
    trial_documents,
    trial_points,
    winning_settings,
    with_settings,
)
from recsys.pipeline.tune_measure import CURRENT, WINNER, compare_on_validation, final_look, measure
from recsys.pipeline.tune_record import Recorder
from recsys.pipeline.tune_refit import register_refit
from recsys.reporting.study import render_study
from recsys.storage.base import Store
from recsys.storage.documents import put_deterministic, read_document, write_once
from recsys.types import Json

MIN_VALIDATION_USERS = 50  # with fewer, differences between settings are noise
logger = logging.getLogger(__name__)


def finish_study(study: StudyReference) -> Json:
    """Write table, proposal, report and result of a study whose search is over, and return the result."""
    store = study.open_store()
    winner, current = measure(study, WINNER), measure(study, CURRENT)
    trials = trial_documents(study)
    settings = proposed_settings(study)
    result: Json = {
        "study_id": study.study_id,
        "created_at": datetime.now(UTC).isoformat(),
        "space": study.space.name,
        "model": study.model,
        "data_version": study.data_version,
        "seed": study.config.runtime.seed,
        "objective": OBJECTIVE,
        "n_trials": len(trials),
        "trials": [_listed(trial) for trial in trials],
        "stages": stage_summaries(study),
        "importance": importance(trial_points(study)),
        "winner": {**winner, "settings": dict(winning_settings(study)[1])},
        "current": {**current, "settings": {path: current["section"].get(_leaf(path)) for path in settings}},
        "proposed": dict(settings),
        "comparison": compare_on_validation(study),
        "final": final_look(study),
        "refit": register_refit(study) if study.config.tuning.refit_all else None,
        "code": code_facts(),
        "warnings": _warnings(winner),
    }
    result["verdict"] = verdict(result)
    proposal = proposal_yaml(study, result).encode()
    put_deterministic(store, f"{study.prefix}/proposal.yaml", proposal)
    table = rows_to_parquet([trial_row(study, trial) for trial in trials])
    put_deterministic(store, f"{study.prefix}/trials.parquet", table)
    page = render_study(result).encode()
    result["report"] = f"{study.store_uri.rstrip('/')}/{study.prefix}/report.html"
    put_deterministic(store, f"{study.prefix}/report.html", page)
    files = {"proposal.yaml": proposal, "report.html": page, "trials.parquet": table}
    result["mlflow"] = Recorder(study).finish(result, files)
    logger.info("%s", result["verdict"])
    return write_once(store, f"{study.prefix}/result.json", result)


def proposed_settings(study: StudyReference) -> Settings:
    """Return what the winner sets, by path, and whatever else ``auto`` would search and so could undo it."""
    _, settings = winning_settings(study)
    section = measure(study, WINNER)["section"]
    pinned = {f"{study.model}.{name}": section[name] for name in search_space(study.model).ladders}
    return {**pinned, **settings}


def proposal_yaml(study: StudyReference, result: Json) -> str:
    """Return the current configuration with the winner's settings, as YAML that says where it comes from."""
    document = with_settings(study.given, study.model, result["proposed"])
    config = config_from_document(document, f"the proposal of study {study.study_id}")
    lines = [
        f"Proposed by study {study.study_id}: {study.space.name}, {result['n_trials']} trials on data version "
        f"{study.data_version}.",
        result["verdict"],
        f"Settings: {setting_label(result['winner']['settings'])}",
        f"To use it: recsys tune adopt {study.study_id} --config FILE",
    ]
    return "".join(f"# {line}\n" for line in lines) + config_to_yaml(config)


def verdict(result: Json) -> str:
    """Return the comparison of winner and current configuration in one sentence."""
    found, which = result["comparison"][OBJECTIVE], result["winner"]["trial"]
    ours, theirs = (result[one]["metrics"][OBJECTIVE] for one in (WINNER, CURRENT))
    told = (
        f"{OBJECTIVE} on validation: trial {which} {ours:.4f}, current settings {theirs:.4f}, difference "
        f"{found['difference']:+.4f} ({found['level']:.0%} interval {found['low']:+.4f} to {found['high']:+.4f}, "
        f"{found['n_users']} users)"
    )
    if found["low"] > 0:
        return f"Better than the current settings. {told}."
    if found["high"] < 0:
        return f"Worse than the current settings: keep those. {told}."
    return f"No difference that these users show. {told}."


def stage_summaries(study: StudyReference) -> list[Json]:
    """Return for each stage how many trials ended how, its best one, and the seconds its fits took."""
    points, documents = trial_points(study), trial_documents(study)
    found = []
    for stage in study.space.stages:
        inside = [one for one in documents if one["stage"] == stage.name]
        best = best_trial([one for one in points if one.stage == stage.name])
        found.append(
            {
                "stage": stage.name,
                "sampler": stage.sampler,
                "n_trials": len(inside),
                "states": _counted([one["state"] for one in inside]),
                "seconds": sum(one["seconds"] for one in inside),
                "best_trial": best.number if best else None,
                "best_value": best.value if best else None,
                "best_settings": dict(best.settings) if best else None,
            }
        )
    return found


def _listed(trial: Json) -> Json:
    names = ("number", "stage", "settings", "state", "value", "metrics", "best_iteration", "iterations")
    return {name: trial[name] for name in (*names, "seconds", "error", "host")}


def _counted(states: Sequence[str]) -> Mapping[str, int]:
    return {state: states.count(state) for state in dict.fromkeys(states)}


def _leaf(path: str) -> str:
    return path.rpartition(".")[2]


def _warnings(winner: Mapping[str, Any]) -> list[str]:
    if winner["n_users"] >= MIN_VALIDATION_USERS:
        return []
    return [f"{winner['n_users']} validation users are too few to tell settings apart"]


def study_summaries(store: Store) -> list[Json]:
    """Return every study in the store, oldest first: id, space, trials so far, and result where it ended."""
    keys = [info.key for info in store.list(STUDIES_PREFIX)]
    found = []
    for key in (one for one in keys if one.endswith("/study.json")):
        prefix = key.removesuffix("study.json")
        document = read_document(store, key, required=("study_id", "space", "created_at")) or {}
        result = read_document(store, f"{prefix}result.json")
        found.append(
            {
                "study_id": document["study_id"],
                "created_at": document["created_at"],
                "space": document["space"]["name"],
                "model": document["space"]["model"],
                "data_version": document["data_version"],
                "n_trials": sum(one.startswith(f"{prefix}trials/") for one in keys),
                "finished": result is not None,
                "value": result["winner"]["metrics"][OBJECTIVE] if result else None,
                "difference": result["comparison"][OBJECTIVE] if result else None,
                "adopted": any(one.startswith(f"{prefix}adoptions/") for one in keys),
            }
        )
    return sorted(found, key=lambda one: str(one["created_at"]))
