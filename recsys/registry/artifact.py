"""Model versions: immutable prefixes registry/models/{model_type}/{version}/, their manifest written last."""

import logging
import re
import secrets
from datetime import UTC, datetime
from pathlib import Path

from recsys.errors import IntegrityError, ModelNotFound, ObjectExists, ObjectNotFound, RegistryError
from recsys.registry.documents import SCHEMA_VERSION, decode, encode, utc_text
from recsys.storage.base import Store, bytes_sha256, file_sha256
from recsys.types import Json

MANIFEST = "manifest.json"
MODELS_PREFIX = "registry/models/"
_MODEL_ID = re.compile(r"(?P<type>[a-z][a-z0-9_]*)_(?P<version>\d{8}T\d{6}Z_[0-9a-f]{8})")
_log = logging.getLogger(__name__)


def new_version(now: datetime | None = None) -> str:
    """Return a version no other attempt has: UTC time and 8 random hex digits, 20300131T235959Z_0badcafe."""
    return f"{(now or datetime.now(UTC)).astimezone(UTC):%Y%m%dT%H%M%SZ}_{secrets.token_hex(4)}"


def make_model_id(model_type: str, version: str) -> str:
    """Return "{model_type}_{version}". Raises RegistryError when one of them is malformed."""
    model_id = f"{model_type}_{version}"
    split_model_id(model_id)
    return model_id


def split_model_id(model_id: str) -> tuple[str, str]:
    """Return (model_type, version). Raises RegistryError when it is no model id."""
    match = _MODEL_ID.fullmatch(model_id)
    if match is None:
        raise RegistryError(f"{model_id!r} is no model id; one looks like als_20300131T235959Z_0badcafe")
    return match["type"], match["version"]


def model_prefix(model_id: str) -> str:
    """Return the key prefix of the model's files, with a slash at its end."""
    return MODELS_PREFIX + "/".join(split_model_id(model_id)) + "/"


def stage_model(store: Store, model_type: str, version: str, directory: Path, *, facts: Json) -> str:
    """Upload a model's files, the manifest last, and return its model_id; each file is read back and hashed.

    Repeating it with the same bytes completes what a killed attempt began; the manifest makes a model exist.

    Args:
        model_type: Such as "als".
        version: See ``new_version``; unique for each attempt.
        directory: Its files are uploaded; it has no subdirectories. A manifest.json in it is left out, the
            model gets one of its own.
        facts: What else the manifest tells (data version, configuration fingerprint, git commit, ...).

    Raises:
        ObjectExists: Other bytes are there under this version.
        IntegrityError: The store returns other bytes than were sent.
        RegistryError: The directory is empty or has subdirectories.
    """
    model_id = make_model_id(model_type, version)
    prefix = model_prefix(model_id)
    files: Json = {}
    for path in _model_files(directory):
        sha256 = _upload(store, prefix + path.name, path)
        files[path.name] = {"sha256": sha256, "n_bytes": path.stat().st_size}
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "model_id": model_id,
        "model_type": model_type,
        "created_at": utc_text(datetime.now(UTC)),
        "facts": facts,
        "files": files,
    }
    _write_manifest(store, prefix + MANIFEST, manifest)
    n_bytes = sum(entry["n_bytes"] for entry in files.values())
    _log.info("staged %s: %d files, %d bytes", model_id, len(files), n_bytes)
    return model_id


def read_manifest(store: Store, model_id: str) -> Json:
    """Return the manifest. Raises ModelNotFound when there is none."""
    return load_manifest(store, model_id)[0]


def load_manifest(store: Store, model_id: str, expected_sha256: str | None = None) -> tuple[Json, str]:
    """Return the manifest and the SHA-256 of its bytes.

    Raises:
        ModelNotFound: The model has no manifest.
        IntegrityError: Its hash is not ``expected_sha256``, or it speaks of another model.
    """
    key = model_prefix(model_id) + MANIFEST
    try:
        data = store.get(key).data
    except ObjectNotFound as error:
        raise ModelNotFound(f"model {model_id} has no {MANIFEST} in {store.uri}") from error
    sha256 = bytes_sha256(data)
    if expected_sha256 is not None and sha256 != expected_sha256:
        raise IntegrityError(f"{key} is not the manifest that was registered: its SHA-256 is {sha256}")
    manifest = decode(data, key)
    if manifest.get("model_id") != model_id or not isinstance(manifest.get("files"), dict):
        raise IntegrityError(f"{key} is damaged: it is not the manifest of {model_id}")
    return manifest, sha256


def fetch_model(store: Store, model_id: str, directory: Path, *, expected_sha256: str | None = None) -> Path:
    """Download all files and the manifest into ``directory``, verify each, and return the directory.

    Args:
        expected_sha256: SHA-256 of the manifest as the registry recorded it; None trusts the manifest found.

    Raises:
        ModelNotFound: The model has no manifest.
        IntegrityError: A file is missing or its hash differs; the message names it.
    """
    manifest, _ = load_manifest(store, model_id, expected_sha256)
    prefix = model_prefix(model_id)
    directory.mkdir(parents=True, exist_ok=True)
    for name, entry in manifest["files"].items():
        try:
            found = store.get_file(prefix + name, directory / name)
        except ObjectNotFound as error:
            raise IntegrityError(f"{prefix}{name} is gone though the manifest names it") from error
        if found != entry["sha256"]:
            (directory / name).unlink()
            raise IntegrityError(f"{prefix}{name} is damaged: SHA-256 {found}, manifest {entry['sha256']}")
    store.get_file(prefix + MANIFEST, directory / MANIFEST)
    return directory


def verify_model(store: Store, model_id: str, *, expected_sha256: str | None = None) -> list[str]:
    """Return everything wrong with the model's files in the store, hashing all; empty means intact."""
    try:
        manifest, _ = load_manifest(store, model_id, expected_sha256)
    except (ModelNotFound, IntegrityError, RegistryError) as error:
        return [str(error)]
    prefix = model_prefix(model_id)
    present = {info.key.removeprefix(prefix) for info in store.list(prefix)} - {MANIFEST}
    findings = [f"{prefix}{name} is in no manifest" for name in sorted(present - set(manifest["files"]))]
    for name, entry in manifest["files"].items():
        try:
            found = store.sha256(prefix + name)
        except ObjectNotFound:
            findings.append(f"{prefix}{name} is missing")
            continue
        if found != entry["sha256"]:
            findings.append(f"{prefix}{name} is damaged: SHA-256 {found}, manifest {entry['sha256']}")
    return findings


def delete_files(store: Store, model_id: str) -> int:
    """Delete the manifest, so that the model ceases to exist at once, then its files; return their number."""
    prefix = model_prefix(model_id)
    keys = [info.key for info in store.list(prefix)]
    keys.sort(key=lambda key: key != prefix + MANIFEST)
    for key in keys:
        store.delete(key)
    return len(keys)


def _model_files(directory: Path) -> list[Path]:
    paths = sorted(path for path in directory.iterdir() if path.name != MANIFEST)
    strange = [path.name for path in paths if not path.is_file()]
    if strange or not paths:
        raise RegistryError(
            f"{directory} must hold a model's files and nothing else; found {', '.join(strange) or 'nothing'}"
        )
    return paths


def _upload(store: Store, key: str, path: Path) -> str:
    try:
        sent = store.put_file(key, path)
    except ObjectExists:
        sent = file_sha256(path)
        if store.sha256(key) != sent:
            raise
        return sent
    stored = store.sha256(key)
    if stored != sent:
        raise IntegrityError(f"{key} reads back as SHA-256 {stored}, sent was {sent}; the store is not sound")
    return sent


def _write_manifest(store: Store, key: str, manifest: Json) -> None:
    try:
        store.put_new(key, encode(manifest))
    except ObjectExists:
        existing = decode(store.get(key).data, key)
        # Only the time may differ: a killed attempt with the same version wrote the same model.
        if {**existing, "created_at": None} != {**manifest, "created_at": None}:
            raise
