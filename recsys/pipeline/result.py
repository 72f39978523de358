"""The result of a run: one JSON document that the report, the UI and other programs read."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from recsys.cf.models.memory import peak_memory_bytes
from recsys.config.settings import available_threads
from recsys.pipeline.data_drift import drift_since_last
from recsys.pipeline.fit import FitReference
from recsys.pipeline.lineage import code_facts
from recsys.pipeline.run import RunReference, load_dataset
from recsys.storage.documents import read_document
from recsys.types import Json

SCHEMA_VERSION = 1
_FIT_KEYS = (
    "factors_sha256",
    "settings",
    "trials",
    "search_note",
    "history",
    "iterations",
    "best_iteration",
    "stopped_early",
    "fit_seconds",
    "device",
    "resumed_from",
    "warm_from",
    "content",
    "bert_initialization",
    "peak_memory_bytes",
)


def assemble_result(
    run: RunReference,
    fits: Sequence[FitReference],
    evaluation: Json | None,
    *,
    model_ids: Mapping[str, str] | None = None,
    decision: Json | None = None,
    failures: Mapping[str, str] | None = None,
) -> Json:
    """Return the document of a run, or of the part of it that exists by now.

    Everything in it is JSON; times are UTC; it never holds a matrix.
    """
    evaluated = evaluation or {"models": {}, "baselines": {}, "comparisons": [], "champion_before": None}
    evaluated = {"cold_users": None, **evaluated}
    store = run.open_store()
    models: Json = {}
    for fit in fits:
        document = read_document(store, f"{fit.prefix}/fit.json") or {}
        models[fit.model] = {
            "model_id": (model_ids or {}).get(fit.model),
            "seconds": (fit.ended_at - fit.started_at).total_seconds(),
            "intervals": [fit.started_at.isoformat(), fit.ended_at.isoformat()],
            **{key: document.get(key) for key in _FIT_KEYS},
            **evaluated["models"].get(fit.model, {}),
        }
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": run.run_id,
        "data_version": run.data_version,
        "fingerprint": run.fingerprint,
        "created_at": datetime.now(UTC).isoformat(),
        "reused": False,
        "store": run.store_uri,
        "code": code_facts(),
        "data": _data_facts(run),
        "models": models,
        "failures": dict(failures or {}),
        "baselines": evaluated["baselines"],
        "comparisons": evaluated["comparisons"],
        "champion_before": evaluated["champion_before"],
        "cold_users": evaluated["cold_users"],
        "decision": decision,
        "overlap_seconds": overlap_seconds(fits),
        "timings": _timings(fits),
        "threads": run.config.runtime.threads or available_threads(),
        "confidence_level": run.config.evaluation.confidence_level,
        "peak_memory_bytes": peak_memory_bytes(),
    }


def _timings(fits: Sequence[FitReference]) -> dict[str, float]:
    """Return seconds by training, from the last training's end until now, and in all from the first start."""
    if not fits:
        return {}
    seconds = {fit.model: (fit.ended_at - fit.started_at).total_seconds() for fit in fits}
    now = datetime.now(UTC)
    after = now - max(fit.ended_at for fit in fits)  # evaluation, registration, decision
    total = now - min(fit.started_at for fit in fits)
    return {**seconds, "after_training": after.total_seconds(), "total": total.total_seconds()}


def overlap_seconds(fits: Sequence[FitReference]) -> float:
    """Return for how long all fits ran at once; 0 when they did not, or when there are fewer than two."""
    if len(fits) < 2:
        return 0.0
    both = min(fit.ended_at for fit in fits) - max(fit.started_at for fit in fits)
    return max(0.0, both.total_seconds())


def _data_facts(run: RunReference) -> Json:
    data = load_dataset(run)
    stats = data.stats
    return {
        "funnel": stats["funnel"],
        "rows_in": stats["rows_in"],
        "rows_out": stats["rows_out"],
        "users": data.n_users,
        "items": data.n_items,
        "train": int(data.X_train_confidence.nnz),
        "validation": data.val_interactions.height,
        "test": data.test_interactions.height,
        "test_users": data.test_interactions["user_idx"].n_unique(),
        "warnings": stats.get("warnings", []),
        "drift": drift_since_last(run),
    }
