"""Encoders of sentence-transformers, from a directory on this machine."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from recsys.errors import ConfigError
from recsys.rng import derive_name
from recsys.storage.base import file_sha256
from recsys.types import FloatMatrix

MODEL_MARKER = "modules.json"  # the file by which a sentence-transformers model is known
_WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")
_VERSION_DIGITS = 12


class SentenceEncoder:
    """A sentence-transformers model; imports torch when it is made."""

    def __init__(self, directory: Path, device: str, name: str) -> None:
        """Load the model in ``directory`` for ``device`` "cpu", "cuda" or "auto"; nothing is downloaded.

        ``name`` is kept with the vectors.

        Raises ConfigError when sentence-transformers is not installed or the directory cannot be loaded.
        """
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before the library is imported: it reads it once
        try:
            from sentence_transformers import SentenceTransformer
            from transformers.utils.logging import disable_progress_bar
        except ModuleNotFoundError as error:
            raise ConfigError(
                "this encoder needs sentence-transformers: pip install 'train-cf[embed]', or take --encoder ngrams"
            ) from error
        disable_progress_bar()  # of loading the weights; the command shows its own
        try:
            self._model = SentenceTransformer(
                str(directory), device=None if device == "auto" else device, local_files_only=True
            )
        except (OSError, ValueError, RuntimeError, AssertionError) as error:  # the last: a torch without CUDA
            cause = next(iter(str(error).splitlines()), type(error).__name__)
            raise ConfigError(f"--encoder {directory}: the model cannot be loaded: {cause}") from error
        self.name = name
        self.version = _weights_version(directory)

    def encode(self, texts: Sequence[str]) -> FloatMatrix:
        """Return unit vectors, float32 (len(texts), dimensions), of the whole batch at once."""
        vectors = self._model.encode(
            list(texts),
            batch_size=len(texts),
            convert_to_numpy=True,
            normalize_embeddings=True,
            show_progress_bar=False,
        )
        return np.asarray(vectors, dtype=np.float32)


def _weights_version(directory: Path) -> str:
    """Return the beginning of a SHA-256 of all weights: the same weights give comparable vectors.

    A model may have several files of them: shards, or a dense layer behind the transformer.
    """
    for pattern in _WEIGHTS:
        hashes = [file_sha256(path) for path in sorted(directory.rglob(pattern))]
        if hashes:
            return (hashes[0] if len(hashes) == 1 else derive_name(*hashes))[:_VERSION_DIGITS]
    return ""
