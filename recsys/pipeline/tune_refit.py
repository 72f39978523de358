"""The version that serves: the winner trained on everything, with the evaluation of its twin."""

import json
import logging
from pathlib import Path

import numpy as np

from recsys.cf.data.dataset import InteractionDataset
from recsys.cf.data.mappings import MAPPINGS_FILE, write_mappings
from recsys.cf.data.merge import train_on
from recsys.cf.data.npz import write_arrays
from recsys.cf.models.base import FitResult
from recsys.cf.scoring.blocks import FactorScorer
from recsys.cf.scoring.score_range import measure_score_range
from recsys.pipeline.lineage import code_facts
from recsys.pipeline.study import StudyReference
from recsys.pipeline.tune_measure import WINNER, final_look, measure, retrain
from recsys.pipeline.tune_trial import tuning_data
from recsys.registry.artifact import new_version, stage_model
from recsys.registry.catalogue import Registry
from recsys.storage.documents import to_bytes
from recsys.storage.scratch import scratch_folder
from recsys.types import Json

_BLOCK_USERS = 8192
logger = logging.getLogger(__name__)


def register_refit(study: StudyReference) -> Json:
    """Train the winner on train, validation and test, register it as a candidate, and return what it is.

    Nothing can measure this model: there is no row left that it has not seen. Its metadata say so under
    "refit" and carry the test metrics of its twin, the same settings and steps trained on train + validation;
    the registry shows the twin's. It is never promoted by a night: `recsys registry promote` does that.
    Measured against later data versions it counts as any model; on its own the leaked test pairs are counted.
    """
    store = study.open_store()
    registry = Registry(store, actor=study.study_id, single_writer=study.config.registry.single_writer)
    known = next((one for one in registry.list(study.model) if one.run_id == study.study_id), None)
    twin = final_look(study)["metrics"][WINNER]
    if known is not None:
        return {"model_id": known.model_id, "twin_metrics": twin}
    data = train_on(tuning_data(study), ["validation", "test"])
    fit = retrain(study, WINNER, data)
    with scratch_folder("refit") as folder:
        _write_files(study, folder, data, fit, twin)
        facts = {
            "run_id": study.study_id,
            "data_version": study.data_version,
            "fingerprint": "",
            "factors_sha256": fit.factors.sha256(),
            "settings": measure(study, WINNER)["section"],
            "code": code_facts(),
            "refit": _refit(study, twin),
        }
        model_id = stage_model(store, study.model, new_version(), folder, facts=facts)
    registry.register(
        model_id, study.model, data_version=study.data_version, run_id=study.study_id, metrics=twin
    )
    logger.info("registered %s, trained on all data", model_id)
    return {"model_id": model_id, "twin_metrics": twin}


def _refit(study: StudyReference, twin: Json) -> Json:
    return {
        "trained_on": ["train", "validation", "test"],
        "study_id": study.study_id,
        "metrics_are_of": "its twin: the same settings and steps, trained on train + validation",
        "twin_metrics": twin,
    }


def _write_files(
    study: StudyReference, folder: Path, data: InteractionDataset, fit: FitResult, twin: Json
) -> None:
    """Write what serving reads, and the documents that say what this is."""
    model, seen = study.model, data.user_seen_train
    for side, matrix in (("U", fit.factors.user_factors), ("V", fit.factors.item_factors)):
        np.save(folder / f"{model}_{side}.npy", matrix, allow_pickle=False)
    users = np.flatnonzero(tuning_data(study).held_out("test").counts()).astype(np.int32)
    scores = measure_score_range(
        FactorScorer(fit.factors),
        users,
        seen,
        method="test_set",
        block_users=_BLOCK_USERS,
        max_exact_samples=study.config.evaluation.score_range_exact_samples,
        max_scores=study.config.evaluation.max_scores,
        seed=study.config.runtime.seed,
    )
    metadata = {
        "schema_version": 1,
        "model_type": model,
        "timestamp": fit.ended_at.isoformat(),
        "run_id": study.study_id,
        "data_version": study.data_version,
        "data_hash": data.content_hash,
        "code": code_facts(),
        "iterations": len(fit.history),
        "factors_sha256": fit.factors.sha256(),
        "score_range": scores.to_json(),
        "refit": _refit(study, twin),
    }
    documents = {
        "params": {**measure(study, WINNER)["section"], "random_seed": study.config.runtime.seed},
        "metrics": twin,
        "metadata": metadata,
    }
    for name, document in documents.items():
        (folder / f"{model}_{name}.json").write_bytes(to_bytes(document))
    (folder / "training_history.json").write_text(
        json.dumps([dict(row) for row in fit.history], indent=1), encoding="utf-8"
    )
    write_mappings(folder / MAPPINGS_FILE, data.mappings)
    write_arrays(folder / "seen_items.npz", {"indptr": seen.indptr, "indices": seen.indices})
    np.save(folder / "item_popularity.npy", data.item_popularity, allow_pickle=False)
    data.items.write_parquet(folder / "items.parquet")
