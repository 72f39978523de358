"""The publishing stage: one model's files become an immutable version and a registered candidate."""

import csv
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recsys.cf.data.mappings import MAPPINGS_FILE, write_mappings
from recsys.cf.data.npz import write_arrays
from recsys.cf.embeddings.map import item_map_file
from recsys.pipeline.earlier_attempt import registered_fit
from recsys.pipeline.fit import FitReference, load_factors
from recsys.pipeline.item_map import write_map_of
from recsys.pipeline.lineage import code_facts
from recsys.pipeline.result import assemble_result
from recsys.pipeline.run import RunReference, load_dataset
from recsys.registry.artifact import new_version, split_model_id, stage_model
from recsys.reporting.model_card import model_document, render_model_card, render_model_report
from recsys.storage.documents import read_document, to_bytes
from recsys.storage.scratch import scratch_folder
from recsys.types import Factors, HistoryRow, Json

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Parts:
    """Everything the files of one model are written from."""

    model: str
    factors: Factors
    fit: Json
    evaluation: Json
    result: Json


def publish_model(run: RunReference, fit: FitReference, evaluation: Json) -> str:
    """Return the model_id under which this fit is registered: as a candidate, or as failed if it cannot serve.

    A fit that an earlier attempt of the run has registered, and whose files are intact, is found again, see
    ``registered_fit``.

    Args:
        evaluation: the document of ``evaluate_models``.
    """
    store, model = run.open_store(), fit.model
    registry = run.registry()
    known = registered_fit(run, fit)
    if known is not None:
        logger.info("%s is registered already as %s", model, known.model_id)
        return known.model_id
    fit_document = read_document(store, f"{fit.prefix}/fit.json") or {}
    result = assemble_result(run, [fit], evaluation)
    parts = _Parts(model, load_factors(run, fit), fit_document, evaluation["models"][model], result)
    with scratch_folder(model) as directory:
        _write_files(run, parts, directory)
        facts = {
            "run_id": run.run_id,
            "data_version": run.data_version,
            "fingerprint": run.fingerprint,
            "factors_sha256": dict(fit.factors_sha256),
            "settings": fit_document["settings"],
            "code": code_facts(),
        }
        model_id = stage_model(store, model, new_version(), directory, facts=facts)
    unservable = _unservable(parts.evaluation)
    registry.register(
        model_id,
        model,
        data_version=run.data_version,
        run_id=run.run_id,
        metrics=parts.evaluation["metrics"],
        status="failed" if unservable else "candidate",
        reasons=unservable,
    )
    return _first_registered(run, fit, model_id)


def _first_registered(run: RunReference, fit: FitReference, model_id: str) -> str:
    """Return the model that counts where another attempt registered the same fit meanwhile: the first one."""
    registry = run.registry()
    of_run = [entry for entry in registry.list(fit.model) if entry.run_id == run.run_id]
    first = registered_fit(run, fit) if len(of_run) > 1 else None
    if first is None or first.model_id == model_id:
        return model_id
    reason = f"another attempt of {run.run_id} registered the same fit as {first.model_id}"
    registry.archive(model_id, [reason])
    return first.model_id


def _unservable(evaluation: Json) -> list[str]:
    """Return why serving cannot open a model: no gate lets it pass, and no person shall promote it either."""
    if evaluation["finite"] and evaluation["score_range"] is not None:
        return []
    return [evaluation["score_range_error"]]


def artifact_uri(store_uri: str, model_id: str) -> str:
    """Return where the files of a registered model lie, for people."""
    return f"{store_uri.rstrip('/')}/registry/models/{'/'.join(split_model_id(model_id))}"


def _write_files(run: RunReference, parts: _Parts, directory: Path) -> None:
    model, data = parts.model, load_dataset(run)
    for side, matrix in (("U", parts.factors.user_factors), ("V", parts.factors.item_factors)):
        np.save(directory / f"{model}_{side}.npy", matrix, allow_pickle=False)
    map_facts = write_map_of(run, data, parts.factors, directory / item_map_file(model))
    documents = {
        "params": {**parts.fit["settings"], "random_seed": parts.fit["seed"]}
        | {"training_time_seconds": parts.fit["fit_seconds"]},
        "metrics": _flat_metrics(parts.evaluation),
        "metadata": {**_metadata(run, parts), "item_map": map_facts},
    }
    for name, document in documents.items():
        (directory / f"{model}_{name}.json").write_bytes(to_bytes(document))
    _write_history(directory, parts.fit["history"])
    store = run.open_store()
    store.get_file(f"{run.prefix}/{model}/per_user_metrics.parquet", directory / "per_user_metrics.parquet")
    write_mappings(directory / MAPPINGS_FILE, data.mappings)
    seen = data.user_seen_train
    write_arrays(directory / "seen_items.npz", {"indptr": seen.indptr, "indices": seen.indices})
    np.save(directory / "item_popularity.npy", data.item_popularity, allow_pickle=False)
    data.items.write_parquet(directory / "items.parquet")
    (directory / "report.json").write_bytes(to_bytes(model_document(parts.result, model)))
    (directory / "report.html").write_text(render_model_report(parts.result, model), encoding="utf-8")
    (directory / "model_card.md").write_text(render_model_card(parts.result, model), encoding="utf-8")


def _flat_metrics(evaluation: Json) -> Json:
    """Return the metrics file of the original: value, baseline_value and improvement as number and text."""
    flat: Json = dict(evaluation["metrics"])
    flat |= {f"baseline_{name}": value for name, value in evaluation["baseline"].items()}
    for name, fraction in evaluation["improvement"].items():
        flat[f"improvement_{name}"] = fraction
        flat[f"improvement_{name}_text"] = "undefined" if fraction is None else f"{fraction:.1%}"
        flat[f"improvement_{name}_interval"] = evaluation["improvement_ci"][name]
    return flat | {"n_users": evaluation["n_users"]}


def _metadata(run: RunReference, parts: _Parts) -> Json:
    fit = parts.fit
    last = fit["history"][-1]
    return {
        "schema_version": 1,
        "model_type": parts.model,
        "timestamp": fit["ended_at"],
        "run_id": run.run_id,
        "data_version": run.data_version,
        "data_hash": load_dataset(run).content_hash,
        "fingerprint": run.fingerprint,
        "git_commit": code_facts()["git_commit"],
        "code": code_facts(),
        "device": fit["device"],
        "peak_memory_bytes": fit["peak_memory_bytes"],
        "training_time_seconds": fit["fit_seconds"],
        "factors_sha256": fit["factors_sha256"],
        "best_iteration": fit["best_iteration"],
        "iterations": fit["iterations"],
        "stopped_early": fit["stopped_early"],
        "resumed_from": fit["resumed_from"],
        "warm_from": fit["warm_from"],
        "content": fit.get("content"),
        "trials": fit["trials"],
        "search_note": fit["search_note"],
        "score_range": parts.evaluation["score_range"],
        "cold_start_performance": parts.evaluation["cold_start_performance"],
        "sampling": {name: last[name] for name in last if name.startswith("share_")},
        "bert_initialization": fit.get("bert_initialization", {"enabled": False}),
    }


def _write_history(directory: Path, history: list[HistoryRow]) -> None:
    columns: Mapping[str, None] = dict.fromkeys(name for row in history for name in row)
    with (directory / "training_history.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(history)
    (directory / "training_history.json").write_text(json.dumps(history, indent=1), encoding="utf-8")
