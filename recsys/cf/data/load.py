"""The only door from a stored data version to training: every hash compared, every law checked."""

import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recsys.cf.data.dataset import InteractionDataset
from recsys.cf.data.embeddings import ProductEmbeddings, read_product_embeddings
from recsys.cf.data.files import EMBEDDINGS_FILE, REQUIRED_FILES, read_dataset_files
from recsys.cf.data.host_copies import host_copy
from recsys.cf.data.manifest import Manifest, file_key, read_manifest
from recsys.cf.data.validate import validate_dataset
from recsys.cf.data.version import resolve_version
from recsys.errors import DataValidationError, ObjectNotFound
from recsys.storage.base import Store, file_sha256
from recsys.storage.scratch import scratch_folder

logger = logging.getLogger(__name__)


def load_processed_data(
    store: Store, version: str = "latest", *, cache_dir: Path | None = None
) -> InteractionDataset:
    """Return a data version as one frozen object with read-only arrays.

    The matrices and item sets are views of the local copies of their files, mapped into memory: loading copies
    each of them once, from the store to that file, and pages are read when they are first touched.

    Args:
        version: "latest", an id, or a hash prefix.
        cache_dir: keeps a copy of the files for all processes of this host, downloaded once and hashed at every
            load, the newest three versions; None: a temporary directory, removed before this returns; the disk
            space is free when the dataset is.

    Raises:
        DataVersionNotFound: no such version. DataValidationError: stored bytes differ from the manifest; names every
            such file. DataValidationError: the files contradict each other; carries every finding.
    """
    version = resolve_version(store, version)
    manifest = read_manifest(store, version)
    with local_directory(cache_dir, version) as directory:
        fetch_files(store, manifest, REQUIRED_FILES, directory)
        dataset, interactions = read_dataset_files(
            directory, version=version, content_hash=manifest.content_hash
        )
        validate_dataset(dataset, interactions, manifest.settings)
    logger.info(
        "loaded data version=%s users=%d items=%d train=%d validation=%d test=%d",
        version,
        dataset.n_users,
        dataset.n_items,
        dataset.X_train_confidence.nnz,
        dataset.val_interactions.height,
        dataset.test_interactions.height,
    )
    return dataset


def content_findings(store: Store, version: str) -> list[str]:
    """Return what is wrong with what a version holds, though its bytes are those that were written."""
    try:
        load_processed_data(store, version)
    except DataValidationError as error:
        return list(error.findings)
    return []


def load_product_embeddings(
    store: Store, version: str = "latest", *, cache_dir: Path | None = None
) -> ProductEmbeddings | None:
    """Return the product embeddings of a data version, or None when it was prepared without.

    Arguments and errors as in ``load_processed_data``.
    """
    version = resolve_version(store, version)
    manifest = read_manifest(store, version)
    if EMBEDDINGS_FILE not in manifest.files:
        return None
    with local_directory(cache_dir, version) as directory:
        fetch_files(store, manifest, (EMBEDDINGS_FILE,), directory)
        return read_product_embeddings(directory / EMBEDDINGS_FILE)


@contextmanager
def local_directory(cache_dir: Path | None, version: str) -> Iterator[Path]:
    """Give a directory for the files of a version: below ``cache_dir``, or one that lives as long as the context."""
    if cache_dir is None:
        with scratch_folder("data") as temporary:
            yield temporary
    else:
        with host_copy(cache_dir, version) as directory:
            yield directory


def fetch_files(store: Store, manifest: Manifest, names: tuple[str, ...], directory: Path) -> None:
    """Bring ``names`` into ``directory`` and compare every hash. Raises DataValidationError naming all that differ."""
    findings = []
    for name in names:
        expected, target = manifest.files[name].sha256, directory / name
        if target.is_file() and file_sha256(target) == expected:
            continue
        # Another process or thread may fill the same cache: whole files appear, never halves.
        arriving = directory / f".{name}.{uuid.uuid4().hex}"
        try:
            found = store.get_file(file_key(manifest.version, name), arriving)
        except ObjectNotFound:
            findings.append(f"{name} is missing")
            continue
        if found == expected:
            arriving.replace(target)
        else:
            arriving.unlink()
            findings.append(f"{name}: SHA-256 differs from the manifest")
    if findings:
        raise DataValidationError(
            f"data version {manifest.version} in {store.uri} is damaged: {'; '.join(findings)}; "
            "prepare it again from the raw files",
            tuple(findings),
        )
