"""Raw reviews in, an immutable and verified data version out: the steps in their order."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from recsys.cf.data.append import open_base
from recsys.cf.data.build import DatasetBuilder, product_warnings, summary_counts
from recsys.cf.data.content import content_hash, describe_sources, relevant_settings
from recsys.cf.data.embeddings import (
    coverage_warnings,
    read_product_embeddings,
    write_product_embeddings,
)
from recsys.cf.data.engine import Inputs, LocalEngine, Making, PrepareEngine
from recsys.cf.data.files import EMBEDDINGS_FILE, INTERACTIONS_FILE, write_dataset_files
from recsys.cf.data.funnel import Funnel, FunnelStep
from recsys.cf.data.interactions import StepCallback, prepare_interactions, report_to_nobody
from recsys.cf.data.latest import LATEST, move_latest, move_latest_forward, move_latest_from
from recsys.cf.data.manifest import SCHEMA_VERSION, Manifest
from recsys.cf.data.publish import publish_directory
from recsys.cf.data.raw import read_item_files
from recsys.cf.data.sources import gather_sources
from recsys.cf.data.staging import PART_ROWS, StoredFrames, merge_frames
from recsys.cf.data.stats import RowFacts, data_stats
from recsys.cf.data.version import find_content, store_stats
from recsys.config.schema import DataConfig
from recsys.errors import LatestMoved
from recsys.storage.base import Store
from recsys.types import Json

__all__ = ["PreparedVersion", "prepare", "prepare_interactions", "store_stats"]

logger = logging.getLogger(__name__)

# One address of files or several: paths, globs, s3://bucket/key.
Addresses = str | Path | Sequence[str | Path]
# Of n runs that append at the same time one gets through in each round.
_APPEND_ATTEMPTS = 5


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
    interactions: Addresses,
    items: Addresses | None,
    config: DataConfig,
    *,
    seed: int,
    embeddings: Path | None = None,
    append_to: str | None = None,
    on_step: StepCallback | None = None,
    part_rows: int = PART_ROWS,
    engine: PrepareEngine | None = None,
) -> PreparedVersion:
    """Return the data version of these files and settings, made now unless it exists intact; a new one is the latest.

    A version becomes visible only when whole: it is built and validated locally, uploaded, and its manifest
    written last. Equal input bytes and settings give equal file bytes, so one that exists is found and nothing is
    done: a later latest, or one chosen by hand, stays (a warning says so). 370,000 rows take a few seconds, and time
    grows linearly with the rows; memory holds ``part_rows`` rows and about 70 bytes for each trained one.

    Args:
        interactions: reviews as CSV (.csv, .csv.gz), JSON Lines (.jsonl, .jsonl.gz) or Parquet.
        items: products in the same formats, or None.
        seed: draws the users that ``config.max_users`` keeps; without that it changes nothing.
        embeddings: a file that ``read_product_embeddings`` reads; becomes part of the version.
        append_to: a data version whose reviews these files are added to; the result is the version that all
            its files and these would give. Products are not taken over: give their files again. Of "latest", an
            append that another run overtook is made again on the new latest version, so that nobody's reviews
            are lost; a version named by its id is taken as it is, whatever is the latest.
        part_rows: rows in memory at once; changes nothing but memory.
        engine: who does the work; None: this machine. Every engine makes the same bytes, so a version that one
            made is found by the others.

    Raises:
        RawDataError: a file cannot be read as its schema says. EmptyDataError: a step left nothing; says which
            filter emptied it. ConfigError: ``append_to`` was prepared with other settings that cannot be redone, or
            imported. LatestMoved: others moved the latest version at every attempt; run it again.
            StoreError: the store failed; running again is safe. EngineError: the engine's cluster failed.
    """
    engine = engine or LocalEngine()

    def once() -> PreparedVersion:
        with engine.workspace() as work:
            inputs = Inputs(
                gather_sources("interactions", _addresses(interactions), work / "interactions"),
                gather_sources("items", _addresses(items), work / "items"),
                gather_sources("embeddings", _addresses(embeddings), work / "embeddings"),
                open_base(store, append_to, config, work / "base") if append_to is not None else None,
            )
            making = Making(config, seed, work, part_rows, on_step or report_to_nobody)
            return _find_or_make(store, inputs, making, engine, follow_latest=append_to == LATEST)

    return _again_when_overtaken(once)


def _again_when_overtaken(once: Callable[[], PreparedVersion]) -> PreparedVersion:
    """Return what ``once`` does, tried again while others move the latest version that it appends to."""
    for _ in range(_APPEND_ATTEMPTS - 1):
        try:
            return once()
        except LatestMoved as error:
            logger.info("%s; appending to the new latest version", error)
    try:
        return once()
    except LatestMoved as error:
        raise LatestMoved(
            f"{error}; so it went {_APPEND_ATTEMPTS} times: nothing is lost, but these reviews are not in the "
            "latest version yet; run it again when fewer others append"
        ) from error


def _find_or_make(
    store: Store, inputs: Inputs, making: Making, engine: PrepareEngine, *, follow_latest: bool
) -> PreparedVersion:
    """Return the version, made unless it exists, with the pointer moved as ``_point_latest`` says."""
    follows = inputs.base.manifest.version if inputs.base is not None and follow_latest else None
    manifest = _draft(inputs, making.config, making.seed)
    existing = find_content(store, manifest.content_hash)
    if existing is not None:
        logger.info("prepare version=%s exists already: same input, same settings", existing)
        warnings = _point_latest(store, existing, follows, created=False)
        return _describe(existing, store_stats(store, existing), warnings, created=False)
    version, stats = _make(store, inputs, manifest, making, engine)
    _point_latest(store, version, follows, created=True)
    for warning in stats["warnings"]:
        logger.warning("prepare version=%s: %s", version, warning)
    making.report("publish", stats["rows_out"])
    return _describe(version, stats, (), created=True)


def _point_latest(store: Store, version: str, follows: str | None, *, created: bool) -> tuple[str, ...]:
    """Move ``latest`` to ``version`` and return warnings.

    An append to the latest version moves it from ``follows`` only: whatever else is the latest holds reviews that
    ``version`` lacks. A new version is meant, so it takes the place of any other. One that was there already may be
    found by a job that is merely repeated: it never takes the place of a later one or, if it was there by then, of
    one chosen by hand; only that of an earlier one, which a run that was killed before its move has left behind.
    """
    stays = None
    if follows is not None:
        stays = move_latest_from(store, version, follows, created=created)
    elif created:
        move_latest(store, version)
    else:
        stays = move_latest_forward(store, version)
    return (stays,) if stays else ()


def _make(
    store: Store,
    inputs: Inputs,
    manifest: Manifest,
    making: Making,
    engine: PrepareEngine,
) -> tuple[str, Json]:
    """Return (id, statistics) of the version, made and published."""
    funnel, config, work = Funnel(), making.config, making.work
    item_rows = read_item_files(inputs.items, config.item_columns) if inputs.items else None
    builder, facts, parts = DatasetBuilder(), RowFacts(), StoredFrames(work / "parts")
    for part in engine.interactions(inputs, making, funnel):
        parts.add(part)
        builder.add(part)
        facts.add(part)
    directory = work / "version"
    directory.mkdir()
    merge_frames(parts.paths, directory / INTERACTIONS_FILE)
    parts.remove()
    dataset = builder.finish(item_rows, config, content_hash=manifest.content_hash)
    stats = data_stats(dataset, facts, funnel, config.split_unit)
    if item_rows is not None:
        stats["warnings"] += product_warnings(item_rows, dataset.mappings.item_ids)
    if inputs.embeddings:
        vectors = read_product_embeddings(inputs.embeddings[0].path)
        stats["warnings"] += coverage_warnings(vectors, dataset.mappings.item_ids)
        write_product_embeddings(directory / EMBEDDINGS_FILE, vectors)
    write_dataset_files(directory, replace(dataset, stats=stats))
    manifest = manifest.model_copy(update={"summary": summary_counts(dataset)})
    del dataset, builder, facts  # their memory is needed for the check of what was written
    return publish_directory(store, directory, manifest), stats


def _draft(inputs: Inputs, config: DataConfig, seed: int) -> Manifest:
    """Return the manifest of the version these inputs give, before there is one."""
    sources = describe_sources(
        interactions=inputs.interactions, items=inputs.items, embeddings=inputs.embeddings
    )
    if inputs.base is not None:
        sources = inputs.base.sources_with(sources)
    settings = relevant_settings(config, seed)
    return Manifest(
        schema_version=SCHEMA_VERSION,
        version="",
        created_at=datetime.now(UTC),
        content_hash=content_hash(sources, settings),
        sources=sources,
        settings=settings,
        summary={},
        files={},
    )


def _addresses(given: Addresses | None) -> list[str]:
    if given is None:
        return []
    return [str(given)] if isinstance(given, str | Path) else [str(one) for one in given]


def _describe(version: str, stats: Json, warnings: tuple[str, ...], *, created: bool) -> PreparedVersion:
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
        warnings=(*stats["warnings"], *warnings),
    )
