"""The incremental night: new review files added to what an earlier data version was made of.

The reviews of a version are cleaned, and cleaning a union equals cleaning its cleaned parts together, so the result
is the version that all raw files at once would give. Indices are given anew: known users and items may move, which
is why every model carries the mappings it was trained with.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from recsys.cf.data.clean import READ_STEPS, SCORED_COLUMNS, one_zero
from recsys.cf.data.content import kind_of
from recsys.cf.data.files import INTERACTIONS_FILE, STATS_FILE, InteractionsFile
from recsys.cf.data.funnel import Funnel, FunnelStep, add_steps
from recsys.cf.data.load import fetch_files
from recsys.cf.data.manifest import FileEntry, Manifest, read_manifest
from recsys.cf.data.version import resolve_version
from recsys.config.schema import DataConfig
from recsys.errors import ConfigError
from recsys.storage.base import Store
from recsys.types import Json

# What cleaning and scoring depend on: it cannot be redone without the raw rows.
_FIXED_SETTINGS = ("rating_min", "rating_max", "quality_languages")


@dataclass(frozen=True)
class BaseVersion:
    """An earlier version to which reviews are added."""

    manifest: Manifest
    stats: Json
    interactions: InteractionsFile

    def rows(self) -> Iterator[pl.DataFrame]:
        """Yield its cleaned and scored reviews, those of cold-start users and rare items too."""
        for batch in self.interactions.batches():
            yield one_zero(batch.select(SCORED_COLUMNS))

    def count_into(self, funnel: Funnel) -> None:
        """Add the rows it read and those it dropped while cleaning them."""
        steps = map(FunnelStep.from_json, self.stats["funnel"])
        add_steps(funnel, self.stats["rows_in"], (step for step in steps if step.step in READ_STEPS))

    def sources_with(self, new: Mapping[str, FileEntry]) -> dict[str, FileEntry]:
        """Return the review files of both, and the other files of ``new``."""
        reviews = [entry for name, entry in self.manifest.sources.items() if kind_of(name) == "interactions"]
        reviews += [entry for name, entry in new.items() if kind_of(name) == "interactions"]
        distinct = {entry.sha256: entry for entry in reviews}.values()
        others = {name: entry for name, entry in new.items() if kind_of(name) != "interactions"}
        return {f"interactions/{number}": entry for number, entry in enumerate(distinct, start=1)} | others


def open_base(store: Store, version: str, config: DataConfig, directory: Path) -> BaseVersion:
    """Return the version that ``version`` names, its files copied to ``directory`` and hashed.

    Raises DataVersionNotFound, DataValidationError when it is damaged, and ConfigError when its reviews were
    cleaned with other settings than ``config`` or were no reviews (imported matrices).
    """
    version = resolve_version(store, version)
    manifest = read_manifest(store, version)
    if not any(kind_of(name) == "interactions" for name in manifest.sources):
        # its rows have no times, so neither duplicates nor held-out events of a union could be told
        raise ConfigError(
            f"data version {version} was imported from matrices, not prepared from reviews: nothing can be "
            "appended to it; prepare all raw review files together, without --append-to"
        )
    wanted = config.model_dump(mode="json")
    different = [name for name in _FIXED_SETTINGS if manifest.settings.get(name) != wanted[name]]
    if different:
        raise ConfigError(
            f"data version {version} was prepared with another data.{different[0]} "
            f"({manifest.settings.get(different[0])}, now {wanted[different[0]]}): prepare all raw files anew"
        )
    directory.mkdir(parents=True)
    fetch_files(store, manifest, (INTERACTIONS_FILE, STATS_FILE), directory)
    stats = json.loads((directory / STATS_FILE).read_text("utf-8"))
    return BaseVersion(manifest, stats, InteractionsFile(directory / INTERACTIONS_FILE))
