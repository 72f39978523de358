"""What a data version is made of, as one hash: equal files and settings mean an equal version."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from recsys.cf.data.manifest import SCHEMA_VERSION, FileEntry
from recsys.cf.data.sources import Source
from recsys.config.schema import DataConfig
from recsys.storage.base import file_sha256
from recsys.types import Json


def describe_sources(**sources: Sequence[Source]) -> dict[str, FileEntry]:
    """Return hash and size of each file: under its kind when it is the only one, else under kind/number name."""
    described = {}
    for kind, files in sources.items():
        for number, source in enumerate(files, start=1):
            name = kind if len(files) == 1 else f"{kind}/{number} {PurePosixPath(source.name).name}"
            described[name] = FileEntry(sha256=file_sha256(source.path), bytes=source.path.stat().st_size)
    return described


def kind_of(source_name: str) -> str:
    """Return what a source of a manifest holds: interactions, items or embeddings."""
    return source_name.split("/", 1)[0]


def relevant_settings(config: DataConfig, seed: int) -> Json:
    """Return what of the configuration decides the result, as JSON; the seed only where something is drawn."""
    settings: Json = config.model_dump(mode="json")
    return settings if config.max_users is None else {**settings, "seed": seed}


def content_hash(sources: Mapping[str, FileEntry], settings: Json) -> str:
    """Return the SHA-256 over all source files, whatever their names and order, and the settings."""
    by_kind = defaultdict(set)
    for name, entry in sources.items():
        by_kind[kind_of(name)].add(entry.sha256)
    document = {
        "schema_version": SCHEMA_VERSION,
        "sources": {kind: sorted(hashes) for kind, hashes in by_kind.items()},
        "settings": settings,
    }
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
