"""Product embeddings brought to the items of a data version, matched by the shop's ids."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.cf.data.dataset import IdMappings
from recsys.cf.data.embeddings import ProductEmbeddings
from recsys.errors import DataError
from recsys.types import FloatMatrix, Json

_EXAMPLES = 5


@dataclass(frozen=True)
class AlignedEmbeddings:
    """Product embeddings by item_idx."""

    vectors: FloatMatrix  # float32 (n_items, dimensions), C order; zero rows for items without one
    known: NDArray[np.bool_]  # (n_items,): whether the item has a vector, which may be zero itself
    name: str  # of the model that made them; empty when unknown
    version: str
    missing: tuple[str, ...]  # a few ids of items without a vector
    n_foreign: int  # vectors of ids that the data version does not have

    @property
    def n_items(self) -> int:
        """Number of items of the data version."""
        return len(self.known)

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        return int(self.vectors.shape[1])

    @property
    def coverage(self) -> float:
        """Share of the items that have a vector, 0 to 1."""
        return float(self.known.mean())

    def report(self) -> Json:
        """Return the coverage as a JSON object: items, known, coverage, missing_examples, foreign."""
        return {
            "items": self.n_items,
            "known": int(self.known.sum()),
            "coverage": self.coverage,
            "missing_examples": list(self.missing),
            "foreign": self.n_foreign,
        }


def align_embeddings(
    embeddings: ProductEmbeddings, mappings: IdMappings, *, min_coverage: float = 0.0
) -> AlignedEmbeddings:
    """Return the embeddings by item_idx, ids compared as exact strings.

    Args:
        embeddings: As ``read_product_embeddings`` gives them.
        mappings: Ids of the data version; only the items are read.
        min_coverage: Least share of items that must have a vector, 0 to 1.

    Raises:
        DataError: Fewer items have a vector; the message names some ids of either side.
    """
    item_ids = mappings.item_ids
    source = np.full(len(item_ids), -1, dtype=np.int64)
    for row, item_id in enumerate(embeddings.item_ids):
        item_idx = mappings.item_to_idx.get(item_id)
        if item_idx is not None:
            source[item_idx] = row
    known = source >= 0
    vectors = np.zeros((len(item_ids), embeddings.embeddings.shape[1]), dtype=np.float32)
    vectors[known] = embeddings.embeddings[source[known]]
    missing = tuple(item_ids[item_idx] for item_idx in np.flatnonzero(~known)[:_EXAMPLES].tolist())
    aligned = AlignedEmbeddings(
        vectors=vectors,
        known=known,
        name=embeddings.name,
        version=embeddings.version,
        missing=missing,
        n_foreign=len(embeddings.item_ids) - int(known.sum()),
    )
    if aligned.coverage < min_coverage:
        raise _too_few(aligned, embeddings.item_ids, min_coverage)
    return aligned


def _too_few(aligned: AlignedEmbeddings, given_ids: Sequence[str], min_coverage: float) -> DataError:
    return DataError(
        f"product embeddings cover {aligned.coverage:.1%} of {aligned.n_items} items, bert.min_coverage asks "
        f"for {min_coverage:.1%}; without one are {_listed(aligned.missing)}, the embeddings are of "
        f"{_listed(given_ids[:_EXAMPLES])}; check that both name items alike (leading zeros, prefixes), embed "
        "the missing ones with `recsys embed`, or lower bert.min_coverage"
    )


def _listed(ids: Sequence[str]) -> str:
    return ", ".join(repr(one) for one in ids) + (", ..." if len(ids) == _EXAMPLES else "")
