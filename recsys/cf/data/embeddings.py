"""Product embeddings that a shop may bring along: read, checked, and stored with a data version."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.cf.data.embedding_files import (
    ID_NAMES,
    SAFETENSORS_ENDING,
    TORCH_ENDINGS,
    read_safetensors_file,
    read_torch_file,
)
from recsys.cf.data.npz import read_arrays
from recsys.config.schema import BertConfig
from recsys.errors import DataError, RawDataError
from recsys.types import FloatMatrix


@dataclass(frozen=True)
class ProductEmbeddings:
    """One vector per item: ``embeddings[i]``, float32 (n, d), belongs to ``item_ids[i]``."""

    embeddings: FloatMatrix
    item_ids: tuple[str, ...]
    name: str  # of the model that made them; empty when unknown
    version: str


def read_product_embeddings(path: Path) -> ProductEmbeddings:
    """Return the embeddings of a file with ``embeddings`` (n, d) and ``item_ids`` or ``product_ids`` (n,).

    The ending tells the format: .pt (PyTorch, needs the extra torch), .safetensors (needs the extra embed), or
    .npz without pickled objects. Optional entries ``name`` and ``version`` are strings.

    Raises:
        RawDataError: The file cannot be read, shapes disagree, a value is not finite, or an id is missing or
            repeated; all faults in one message.
        ConfigError: The package that reads this format is not installed.
    """
    arrays = _read_file(path)
    ids_name = next((name for name in ID_NAMES if name in arrays), None)
    if "embeddings" not in arrays or ids_name is None:
        raise RawDataError(
            f"{path} holds {', '.join(sorted(arrays)) or 'nothing'}; expected embeddings (n, d) and item_ids (n,)"
        )
    vectors, ids = arrays["embeddings"], arrays[ids_name]
    wrong_ids = ids.size > 0 and ids.dtype.kind not in "Uiu"  # a float id would read "7.0", bytes "b'7'"
    if vectors.ndim != 2 or vectors.dtype.kind not in "fiu" or ids.ndim != 1 or wrong_ids:
        raise RawDataError(
            f"{path}: embeddings must be numbers (n, d) and {ids_name} texts or whole numbers (n,), "
            f"got {vectors.dtype} {vectors.shape} and {ids.dtype} {ids.shape}"
        )
    embeddings = ProductEmbeddings(
        np.ascontiguousarray(vectors, dtype=np.float32),
        tuple(str(item_id) for item_id in ids.tolist()),
        str(arrays["name"]) if "name" in arrays else "",
        str(arrays["version"]) if "version" in arrays else "",
    )
    if faults := _faults(embeddings):
        raise RawDataError(f"{path}: {'; '.join(faults)}")
    return embeddings


def write_product_embeddings(path: Path, embeddings: ProductEmbeddings) -> None:
    """Write an .npz that ``read_product_embeddings`` reads; equal embeddings give equal bytes."""
    np.savez(
        path,
        embeddings=embeddings.embeddings,
        item_ids=np.array(embeddings.item_ids, dtype=np.str_),
        name=np.array(embeddings.name),
        version=np.array(embeddings.version),
    )


def coverage_warnings(embeddings: ProductEmbeddings, item_ids: Sequence[str]) -> list[str]:
    """Return a sentence when so few items have an embedding that models would refuse to start from them."""
    known, enough = set(embeddings.item_ids), BertConfig().min_coverage
    n_covered = sum(item_id in known for item_id in item_ids)
    if n_covered >= enough * len(item_ids):
        return []
    return [
        f"product embeddings cover {n_covered} of {len(item_ids)} items, bert.min_coverage asks for {enough:.0%}: "
        f"items are named like {item_ids[0]!r}, embeddings like {embeddings.item_ids[0]!r}"
    ]


def _read_file(path: Path) -> dict[str, NDArray[Any]]:
    suffix = path.suffix.lower()
    if suffix in TORCH_ENDINGS:
        return read_torch_file(path)
    if suffix == SAFETENSORS_ENDING:
        return read_safetensors_file(path)
    try:
        return read_arrays(path)
    except DataError as error:
        raise RawDataError(f"{path}: {error}; expected an .npz without pickled objects") from error


def _faults(embeddings: ProductEmbeddings) -> list[str]:
    vectors, ids = embeddings.embeddings, embeddings.item_ids
    faults = []
    if len(ids) != len(vectors):
        faults.append(f"{len(vectors)} vectors for {len(ids)} ids")
    if not len(vectors) or not vectors.shape[1]:
        faults.append("no vectors")
    if n_bad := int((~np.isfinite(vectors)).any(axis=1).sum()):
        faults.append(f"{n_bad} vectors are not finite")
    if n_repeated := len(ids) - len(set(ids)):
        faults.append(f"{n_repeated} ids are repeated")
    if "" in ids:
        faults.append("an id is empty")
    return faults
