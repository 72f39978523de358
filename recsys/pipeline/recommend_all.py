"""Batch recommendations: the best unseen items of every user of a registered model, as Parquet in the store."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from recsys.cf.models.threads import use_compiled_threads
from recsys.cf.scoring.hnsw import recall
from recsys.config.schema import TrainingConfig
from recsys.config.settings import available_threads
from recsys.errors import ObjectNotFound, RecallTooLow
from recsys.pipeline.list_copy import check_output, copy_set
from recsys.pipeline.list_model import ListModel
from recsys.pipeline.list_parts import COLUMNS, UsersDone, compute_lists, finished_part, write_part
from recsys.pipeline.list_set import (
    SCHEMA_VERSION,
    ListSet,
    list_settings,
    missing_files,
    open_set,
    point_to,
    read_set,
    set_findings,
    write_manifest,
)
from recsys.registry.artifact import split_model_id
from recsys.rng import derive_seed
from recsys.types import Json

logger = logging.getLogger(__name__)


def recommend_all(
    store_uri: str,
    config: TrainingConfig,
    *,
    model: str = "champion",
    output: Path | None = None,
    on_users: UsersDone = lambda _: None,
) -> Json:
    """Return the result of ``publish_lists`` after writing the lists of all users, wherever the engine does that.

    A set that is finished is found; of one whose attempt was killed only what lacks is computed.

    Args:
        model: Model id, its unique beginning, "champion" or "previous".
        output: Local directory that gets a copy of the files.
        on_users: Called with the number of users done since the last call (local engine).

    Raises:
        ModelNotFound, IntegrityError: See ``open_set``.
        RecallTooLow: The approximate index misses more than ``recommend.min_recall`` allows; nothing is published.
        ConfigError: An extra that the method or engine needs is not installed, or ``output`` cannot get a copy
            (``check_output``); the latter before anything is read.
    """
    if output is not None:
        check_output(output)
    lists = open_set(store_uri, config, model)
    result = finished_set(lists)
    if result is None:
        with lists.lease():
            began = time.perf_counter()
            measured = measure_recall(lists)
            entries, n_computed = write_lists(lists, on_users)
            result = publish_lists(lists, entries, measured)
            seconds = time.perf_counter() - began
            result |= {"seconds": seconds, "users_per_second": n_computed / seconds}
    if output is not None:
        copy_set(lists, result, output)
    return result


def finished_set(lists: ListSet) -> Json | None:
    """Return the result of a set that was published before ("reused": true), None where there is none.

    None, too, for a published set whose files are damaged. Its manifest stays while they are made again, so that
    latest.json never names a set that is not there. A lease is held from before the first look until latest.json
    names the set, so that retention removes it before, and it is not found, or not at all. Those who may only read
    find it without one.
    """
    store = lists.open_store()
    with lists.lease(required=False):
        manifest = read_set(store, lists.prefix)
        if manifest is None:
            return None
        findings = set_findings(store, lists.prefix, manifest)
        if findings:
            logger.warning("%s is damaged and made again: %s", lists.prefix, "; ".join(findings))
            return None
        if lists.of_champion:
            point_to(lists, manifest)
    return {**_result(lists, manifest), "reused": True, "seconds": 0.0, "users_per_second": None}


def measure_recall(lists: ListSet) -> Json | None:
    """Return {"value", "k", "n_users", "n_items_missed"} of the approximate lists of seeded users; None for exact ones.

    Raises:
        RecallTooLow: The value is below ``recommend.min_recall``.
    """
    ours = lists.config.recommend
    if ours.method == "exact":
        return None
    use_compiled_threads(lists.config.runtime.threads or available_threads())
    rng = np.random.default_rng(derive_seed(lists.config.runtime.seed, "recall of lists"))
    drawn = rng.choice(lists.n_users, min(ours.recall_users, lists.n_users), replace=False)
    users = np.sort(drawn).astype(np.int32)
    found = compute_lists(lists, users, lambda _: None)
    exact = compute_lists(lists, users, lambda _: None, exact=True)
    value = recall(found.items, exact.items)
    logger.info("recall of %s: %.4f over %d users", ours.method, value, len(users))
    if value < ours.min_recall:
        raise RecallTooLow(
            f"the lists of {ours.method} hold {value:.2%} of the items of the exact ones ({len(users)} users), less "
            f"than recommend.min_recall {ours.min_recall:.2%}; nothing was published: raise recommend.hnsw_ef_search "
            "or hnsw_m, or use recommend.method=exact"
        )
    n_listed = int((exact.items >= 0).sum())
    n_missed = round((1 - value) * n_listed)
    return {"value": value, "k": ours.k, "n_users": len(users), "n_items_missed": n_missed}


def write_lists(lists: ListSet, on_users: UsersDone = lambda _: None) -> tuple[list[Json], int]:
    """Return the entries of all files, in order, and for how many users lists were computed now."""
    store = lists.open_store()
    done = {part: entry for part in range(lists.n_parts) if (entry := finished_part(store, lists, part))}
    for entry in done.values():
        on_users(entry["n_users"])
    missing = [part for part in range(lists.n_parts) if part not in done]
    if done:
        logger.info("%d of %d files were finished by an earlier attempt", len(done), lists.n_parts)
    if missing and lists.config.runtime.engine.recommend == "spark":
        from recsys.pipeline.recommend_spark import write_parts_on_spark

        done |= write_parts_on_spark(lists, missing)
    else:
        use_compiled_threads(lists.config.runtime.threads or available_threads())
        done |= {part: write_part(lists, part, on_users) for part in missing}
    return [done[part] for part in range(lists.n_parts)], sum(done[part]["n_users"] for part in missing)


def publish_lists(lists: ListSet, entries: Sequence[Json], measured_recall: Json | None) -> Json:
    """Write the manifest, which makes the set visible, and return the result.

    Files that went since they were written, by a retention that began before this attempt took its lease, are made
    again first.

    Returns:
        {"set_id", "prefix", "store", "model_id", "data_version", "settings", "engine", "n_users", "n_items",
        "n_short": lists with fewer than k items, "n_files", "n_bytes", "recall", "reused"}.

    Raises:
        IntegrityError: Other lists were published under this id.
        ObjectNotFound: Files went again while they were made again.
    """
    manifest = _manifest(lists, entries, measured_recall)
    store = lists.open_store()
    if gone := missing_files(store, lists.prefix, manifest):
        logger.warning("files of %s are gone and made again: %s", lists.prefix, ", ".join(gone))
        manifest = _manifest(lists, write_lists(lists)[0], measured_recall)
        if gone := missing_files(store, lists.prefix, manifest):
            raise ObjectNotFound(f"{lists.prefix} lost {', '.join(gone)} while it was written; run again")
    write_manifest(lists, manifest)
    if lists.of_champion:
        point_to(lists, manifest)
    result = {**_result(lists, manifest), "reused": False}
    logger.info(
        "recommendations of %s: %d users, k=%d, %d files, %.1f MB in %s",
        *(lists.model_id, lists.n_users, lists.config.recommend.k, result["n_files"]),
        *(result["n_bytes"] / 1e6, lists.prefix),
    )
    return result


def _manifest(lists: ListSet, entries: Sequence[Json], measured_recall: Json | None) -> Json:
    model = lists.model()
    return {
        "schema_version": SCHEMA_VERSION,
        "set_id": lists.set_id,
        "model_id": lists.model_id,
        "model_type": split_model_id(lists.model_id)[0],
        "model_manifest_sha256": lists.manifest_sha256,
        "data_version": lists.data_version,
        "settings": list_settings(lists.config),
        "columns": COLUMNS,
        "n_users": lists.n_users,
        "n_items": len(model.item_ids),
        "n_short": sum(entry["n_short"] for entry in entries),
        "recall": measured_recall,
        "files": list(entries),
        "popular": _popular(model, lists.config.recommend.k),
    }


def _popular(model: ListModel, k: int) -> Json:
    """Return the list of users without factors: the most popular items, as ``ServedModel.popular`` gives it."""
    items = np.argsort(-model.item_popularity, kind="stable")[:k]
    scores = model.item_popularity[items]
    shares = scores.astype(np.float64) / max(float(model.item_popularity.max()), 1e-12)
    return {
        "item_ids": model.item_ids.gather(items).to_list(),
        "scores": scores.tolist(),
        "normalized": shares.tolist(),
    }


def _result(lists: ListSet, manifest: Json) -> Json:
    facts = ("set_id", "model_id", "data_version", "settings", "n_users", "n_items", "n_short", "recall")
    return {
        **{name: manifest[name] for name in facts},
        "store": lists.store_uri,
        "prefix": lists.prefix,
        "engine": lists.config.runtime.engine.recommend,
        "n_files": len(manifest["files"]),
        "n_bytes": sum(entry["n_bytes"] for entry in manifest["files"]),
    }
