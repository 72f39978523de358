"""Raw reviews in, an immutable and verified data version out: the steps in their order."""

import hashlib
import json
import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from recsys.cf.data.build import INTERACTION_COLUMNS, build_dataset, summary_counts
from recsys.cf.data.clean import clean_interactions
from recsys.cf.data.dataset import InteractionDataset
from recsys.cf.data.embeddings import ProductEmbeddings, read_product_embeddings, write_product_embeddings
from recsys.cf.data.files import EMBEDDINGS_FILE, STATS_FILE, read_dataset_files, write_dataset_files
from recsys.cf.data.funnel import Funnel, FunnelStep
from recsys.cf.data.manifest import SCHEMA_VERSION, FileEntry, Manifest, file_key
from recsys.cf.data.quality import comment_quality
from recsys.cf.data.raw import read_interactions, read_items
from recsys.cf.data.segment import segment_interactions
from recsys.cf.data.split import TEST, assign_splits
from recsys.cf.data.stats import data_stats
from recsys.cf.data.validate import validate_dataset
from recsys.cf.data.version import find_content, move_latest, publish
from recsys.config.schema import DataConfig
from recsys.errors import EmptyDataError, RawDataError
from recsys.storage.base import Store, file_sha256
from recsys.types import Json

logger = logging.getLogger(__name__)

# Called with the name of a finished step and the number of rows it left.
StepCallback = Callable[[str, int], None]


@dataclass(frozen=True)
class PreparedVersion:
    """What preparing led to: the version, whether it is new, and its funnel and sizes in rows."""

    version: str
    created: bool  # False: a version of the same content and settings was there already
    funnel: list[FunnelStep]
    rows_in: int
    rows_out: int  # train + validation + test
    users: int
    items: int
    train: int
    validation: int
    test_users: int
    warnings: tuple[str, ...]


def prepare(
    store: Store,
    interactions: Path,
    items: Path | None,
    config: DataConfig,
    *,
    seed: int,
    embeddings: Path | None = None,
    on_step: StepCallback | None = None,
) -> PreparedVersion:
    """Return the data version of these files and settings, made now unless it exists intact, and make it latest.

    A version becomes visible only when whole: it is built and validated locally, uploaded, and its manifest
    written last. Equal input bytes and settings give equal file bytes. 370,000 rows take a few seconds.

    Args:
        interactions: reviews as CSV (.csv, .csv.gz) or Parquet.
        items: products in the same formats, or None.
        seed: draws the users that ``config.max_users`` keeps; without that it changes nothing.
        embeddings: an .npz that ``read_product_embeddings`` reads; becomes part of the version.

    Raises:
        RawDataError: a file cannot be read as its schema says. EmptyDataError: a step left nothing; says which
            filter emptied it. StoreError: the store failed; running again is safe.
    """
    sources = _hash_sources(interactions, items, embeddings)
    settings = _settings(config, seed)
    content_hash = _content_hash(sources, settings)
    existing = find_content(store, content_hash)
    if existing is not None:
        logger.info("prepare version=%s exists already: same input, same settings", existing)
        move_latest(store, existing)
        return _describe(existing, store_stats(store, existing), created=False)

    rows, funnel = prepare_interactions(
        read_interactions(interactions, config.columns), config, seed, on_step
    )
    item_rows = read_items(items, config.item_columns) if items is not None else None
    dataset = build_dataset(rows, item_rows, config, content_hash=content_hash)
    dataset = replace(dataset, stats=data_stats(dataset, rows, funnel, config.split_unit))
    vectors = read_product_embeddings(embeddings) if embeddings is not None else None
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        version="",
        created_at=datetime.now(UTC),
        content_hash=content_hash,
        sources=sources,
        settings=settings,
        summary=summary_counts(dataset),
        files={},
    )
    version = _stage_and_publish(store, manifest, dataset, rows, vectors)
    move_latest(store, version)
    for warning in dataset.stats["warnings"]:
        logger.warning("prepare version=%s: %s", version, warning)
    if on_step is not None:
        on_step("publish", funnel.rows_out)
    return _describe(version, dataset.stats, created=True)


def prepare_interactions(
    raw: pl.DataFrame, config: DataConfig, seed: int, on_step: StepCallback | None = None
) -> tuple[pl.DataFrame, Funnel]:
    """Return (cleaned rows with INTERACTION_COLUMNS, funnel): preparation without files and stores.

    Args:
        raw: what ``read_interactions`` returns. Raises EmptyDataError.
    """
    funnel = Funnel(raw.height)
    report = on_step or _ignore
    report("read", raw.height)
    cleaned = clean_interactions(raw, config, funnel)
    report("clean", cleaned.height)
    scored = _with_confidence(cleaned, config)
    report("comment_quality", scored.height)
    segmented = segment_interactions(scored, config, funnel, seed=seed)
    report("segment", funnel.rows_out)
    rows = assign_splits(segmented, config, funnel).select(INTERACTION_COLUMNS)
    if not (rows["split"] == TEST).any():
        raise EmptyDataError(
            f"the split holds out nothing: none of {rows['user_idx'].drop_nulls().n_unique()} trainable users "
            "has positives at two different times, so nothing could be measured; is the timestamp column the "
            "right one?"
        )
    report("split", funnel.rows_out)
    return rows, funnel


def _ignore(_step: str, _rows: int) -> None:
    """Report to nobody."""


def store_stats(store: Store, version: str) -> Json:
    """Return data_stats.json of a version id, unverified: for showing, not for training."""
    document: Json = json.loads(store.get(file_key(version, STATS_FILE)).data)
    return document


def _with_confidence(cleaned: pl.DataFrame, config: DataConfig) -> pl.DataFrame:
    positive = pl.col("rating") >= config.positive_threshold
    return cleaned.with_columns(
        positive.alias("is_positive"),
        (~positive).alias("is_hard_negative"),
        pl.col("rating").cast(pl.Float32),
        comment_quality(cleaned, config),
    ).with_columns((pl.col("rating") + pl.col("comment_quality")).alias("confidence"))


def _stage_and_publish(
    store: Store,
    manifest: Manifest,
    dataset: InteractionDataset,
    rows: pl.DataFrame,
    vectors: ProductEmbeddings | None,
) -> str:
    with tempfile.TemporaryDirectory(prefix="recsys-prepare-") as name:
        directory = Path(name)
        write_dataset_files(directory, dataset, rows)
        if vectors is not None:
            write_product_embeddings(directory / EMBEDDINGS_FILE, vectors)
        # What is published has passed the very check that every load repeats.
        written = read_dataset_files(directory, version="being prepared", content_hash=manifest.content_hash)
        validate_dataset(*written, manifest.settings)
        return publish(store, directory, manifest)


def _hash_sources(interactions: Path, items: Path | None, embeddings: Path | None) -> dict[str, FileEntry]:
    named = {"interactions": interactions, "items": items, "embeddings": embeddings}
    sources = {}
    for name, path in named.items():
        if path is None:
            continue
        if not path.is_file():
            raise RawDataError(f"{path} is not a file: give the path of the {name} file")
        sources[name] = FileEntry(sha256=file_sha256(path), bytes=path.stat().st_size)
    return sources


def _settings(config: DataConfig, seed: int) -> Json:
    """Return what of the configuration decides the result, as JSON; the seed only where something is drawn."""
    settings: Json = config.model_dump(mode="json")
    return settings if config.max_users is None else {**settings, "seed": seed}


def _content_hash(sources: dict[str, FileEntry], settings: Json) -> str:
    document = {
        "schema_version": SCHEMA_VERSION,
        "sources": {name: entry.sha256 for name, entry in sources.items()},
        "settings": settings,
    }
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _describe(version: str, stats: Json, *, created: bool) -> PreparedVersion:
    sizes = stats["sizes"]
    return PreparedVersion(
        version=version,
        created=created,
        funnel=[FunnelStep.from_json(step) for step in stats["funnel"]],
        rows_in=stats["rows_in"],
        rows_out=stats["rows_out"],
        users=sizes["users"],
        items=sizes["items"],
        train=sizes["train"],
        validation=sizes["validation"],
        test_users=sizes["test_users"],
        warnings=tuple(stats["warnings"]),
    )
