"""The embeddings a run uses: those of its data version, or a file that the configuration names."""

import logging
from pathlib import Path

from recsys.cf.data.dataset import InteractionDataset
from recsys.cf.data.embedding_files import require_reader
from recsys.cf.data.embeddings import ProductEmbeddings, read_product_embeddings
from recsys.cf.data.files import EMBEDDINGS_FILE
from recsys.cf.data.load import load_product_embeddings
from recsys.cf.data.manifest import Manifest, read_manifest
from recsys.cf.embeddings.align import AlignedEmbeddings, align_embeddings
from recsys.config.schema import BertConfig, TrainingConfig
from recsys.errors import ConfigError, DataError
from recsys.rng import derive_name
from recsys.storage.base import Store, file_sha256

logger = logging.getLogger(__name__)


def aligned_embeddings(store: Store, data: InteractionDataset, config: BertConfig) -> AlignedEmbeddings:
    """Return the embeddings of the items of ``data``, by item_idx.

    Args:
        store: Holds the data version.
        data: The loaded data version.
        config: ``embeddings_path`` names a file that is used instead of the version's own embeddings;
            ``min_coverage`` is the least share of items that must have a vector.

    Raises:
        DataError: The version has no embeddings and no file is named, or too few items have a vector.
        RawDataError: The named file cannot be read.
    """
    embeddings = _embeddings(store, data.version, config)
    aligned = align_embeddings(embeddings, data.mappings, min_coverage=config.min_coverage)
    logger.info(
        "embeddings %s %s: %d of %d items covered, %d dimensions",
        *(aligned.name or "of unknown name", aligned.version),
        *(aligned.known.sum(), aligned.n_items, aligned.dimensions),
    )
    return aligned


def require_embeddings(config: TrainingConfig, manifest: Manifest) -> None:
    """Raise DataError when a model of the run starts from embeddings and there are none; reads no embedding."""
    starting = [model for model in config.runtime.models if config.bert.starts(model)]
    if starting and config.bert.embeddings_path is None and EMBEDDINGS_FILE not in manifest.files:
        raise _none(manifest.version)


def _none(version: str) -> DataError:
    return DataError(
        f"data version {version} has no product embeddings; make them with `recsys embed`, prepare with "
        "`recsys prepare ... --embeddings embeddings.npz`, or name a file with bert.embeddings_path"
    )


def has_embeddings(store: Store, version: str, config: BertConfig) -> bool:
    """Return whether ``aligned_embeddings`` has anything to read, without reading it."""
    return config.embeddings_path is not None or EMBEDDINGS_FILE in read_manifest(store, version).files


def _embeddings(store: Store, version: str, config: BertConfig) -> ProductEmbeddings:
    if config.embeddings_path is not None:
        return read_product_embeddings(Path(config.embeddings_path))
    found = load_product_embeddings(store, version)
    if found is None:
        raise _none(version)
    return found


def fingerprint_with_embeddings(config: BertConfig, fingerprint: str) -> str:
    """Return the fingerprint of a run, another one for other bytes in the file of ``embeddings_path``.

    Raises ConfigError when that file cannot be read, or the package that reads its kind is not installed.
    """
    if config.embeddings_path is None:
        return fingerprint
    require_reader(Path(config.embeddings_path))
    try:
        return derive_name(fingerprint, file_sha256(Path(config.embeddings_path)))
    except OSError as error:
        raise ConfigError(
            f"bert.embeddings_path {config.embeddings_path}: {error.strerror}; name a file that this machine "
            "and every worker can read"
        ) from error
