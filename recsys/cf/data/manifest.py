"""manifest.json of a data version: what it was made of and the hash of every other file; its being there makes
the version exist.
"""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from recsys.cf.data.files import REQUIRED_FILES
from recsys.errors import (
    DataValidationError,
    DataVersionNotFound,
    NewerSchema,
    ObjectNotFound,
    OutcomeUnknown,
)
from recsys.storage.base import Store, is_key

# Raised by one whenever the same input would be prepared into other files.
SCHEMA_VERSION = 2
VERSIONS_PREFIX = "data/versions/"
MANIFEST_FILE = "manifest.json"


class FileEntry(BaseModel):
    """SHA-256 (hex) and size of one file."""

    model_config = ConfigDict(frozen=True)

    sha256: str
    bytes: int


class _Schema(BaseModel):
    """All that a manifest of any schema says in the same way."""

    schema_version: int


class Manifest(BaseModel):
    """manifest.json of a data version: what it was made of and the hash of every other file."""

    model_config = ConfigDict(frozen=True)

    schema_version: int
    version: str
    created_at: datetime
    content_hash: str
    sources: dict[str, FileEntry]
    settings: dict[str, Any]
    summary: dict[str, int]
    files: dict[str, FileEntry]


def file_key(version: str, name: str) -> str:
    """Return the store key of one file of a version."""
    return f"{VERSIONS_PREFIX}{version}/{name}"


def read_manifest(store: Store, version: str) -> Manifest:
    """Return the manifest of a version id.

    Raises DataVersionNotFound, NewerSchema whatever else newer code has changed, or DataValidationError.
    """
    try:
        data = store.get(file_key(version, MANIFEST_FILE)).data
    except ObjectNotFound as error:
        raise DataVersionNotFound(f"{store.uri} has no data version {version}") from error
    try:
        schema = _Schema.model_validate_json(data).schema_version
        if schema > SCHEMA_VERSION:
            finding = f"schema version {schema} is newer than this code knows: upgrade recsys"
            raise NewerSchema(f"data version {version}: {finding}", (finding,))
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        finding = f"{MANIFEST_FILE} cannot be read: {error.errors()[0]['msg']}"
        raise DataValidationError(f"data version {version} is damaged: {finding}", (finding,)) from error
    if findings := _manifest_faults(manifest, version):
        raise DataValidationError(f"data version {version}: {'; '.join(findings)}", tuple(findings))
    return manifest


def put_manifest(store: Store, manifest: Manifest) -> None:
    """Create the manifest, resolving a lost reply by reading back. Raises ObjectExists."""
    data = manifest.model_dump_json(indent=1).encode() + b"\n"
    key = file_key(manifest.version, MANIFEST_FILE)
    try:
        store.put_new(key, data)
    except OutcomeUnknown:
        if store.head(key) is None or store.get(key).data != data:
            raise


def _manifest_faults(manifest: Manifest, version: str) -> list[str]:
    faults = []
    if manifest.version != version or not version.endswith(manifest.content_hash[:12]):
        faults.append(f"{MANIFEST_FILE} belongs to version {manifest.version} ({manifest.content_hash[:12]})")
    faults += [f"{MANIFEST_FILE} lacks {name}" for name in REQUIRED_FILES if name not in manifest.files]
    faults += [
        f"{MANIFEST_FILE} names {name!r}" for name in manifest.files if "/" in name or not is_key(name)
    ]
    return faults
