"""The JSON documents of the registry: how they are written, read, and brought up to the schema version."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from recsys.errors import RegistryError
from recsys.storage.documents import to_bytes
from recsys.types import Json

SCHEMA_VERSION = 1
# From the version a document has to the next one. A new version adds its step here and keeps the old ones,
# so that any registry ever written can be read; stored documents themselves are never rewritten.
MIGRATIONS: Mapping[int, Callable[[Json], Json]] = {}


def encode(document: Json) -> bytes:
    """Return the document as indented UTF-8 JSON with sorted keys: equal documents give equal bytes.

    Raises:
        RegistryError: A number is NaN or infinite.
    """
    try:
        return to_bytes(document)
    except ValueError as error:
        raise RegistryError(f"cannot be recorded, a number is not finite: {document}") from error


def decode(
    data: bytes,
    key: str,
    *,
    version: int = SCHEMA_VERSION,
    migrations: Mapping[int, Callable[[Json], Json]] = MIGRATIONS,
) -> Json:
    """Return the JSON object in ``data``, migrated to schema ``version``.

    Raises:
        RegistryError: It is no JSON object, or was written by a newer train-cf; names ``key``.
    """
    try:
        document = json.loads(data)
        found = document["schema_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise RegistryError(f"{key} is damaged: no JSON object with a schema_version") from error
    if not isinstance(found, int) or found > version:
        raise RegistryError(
            f"{key} has schema version {found}, this train-cf reads up to {version}; update train-cf"
        )
    while found < version:
        if found not in migrations:
            raise RegistryError(f"{key} has schema version {found}, which no migration leads on from")
        document = migrations[found](document)
        found += 1
    return dict(document)


def utc_text(moment: datetime) -> str:
    """Return the moment as ISO text in UTC with microseconds, such as 2030-01-31T23:59:59.000000Z."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_utc(text: str) -> datetime:
    """Return the moment that ``utc_text`` wrote."""
    return datetime.fromisoformat(text)
