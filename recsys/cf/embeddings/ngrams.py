"""An encoder without a model: words and runs of letters, hashed into a vector."""

import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from recsys.types import FloatMatrix

_DIMENSIONS = 512
_LETTERS = (3, 4)  # lengths of the runs of letters
_WORD_WEIGHT = 2.0  # a whole word says more than a run of its letters


class NgramEncoder:
    """Hashes words and runs of 3 and 4 letters with random signs into 512 numbers (Weinberger et al. 2009).

    Scalar products estimate the overlap of two texts. It learns nothing and knows no synonyms, but needs no
    model, is the same everywhere, and titles of one product line come out near each other.
    """

    name = "ngrams"
    version = "1"

    def encode(self, texts: Sequence[str]) -> FloatMatrix:
        """Return unit vectors, float32 (len(texts), 512); zero for texts without a letter or digit."""
        vectors = np.zeros((len(texts), _DIMENSIONS), dtype=np.float32)
        for row, text in enumerate(texts):
            for feature, count in Counter(_features(text)).items():
                bits = zlib.crc32(feature.encode())
                weight = (1.0 + np.log(count)) * (_WORD_WEIGHT if feature.startswith(" ") else 1.0)
                vectors[row, (bits >> 1) % _DIMENSIONS] += weight if bits & 1 else -weight
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / np.where(lengths > 0, lengths, 1.0), dtype=np.float32)


def _features(text: str) -> Iterator[str]:
    """Yield " word " for each word and the runs of letters inside "^word$"."""
    plain = unicodedata.normalize("NFC", text).casefold()
    words = "".join(letter if letter.isalnum() else " " for letter in plain).split()
    for word in words:
        yield f" {word} "
        framed = f"^{word}$"
        for length in _LETTERS:
            for start in range(len(framed) - length + 1):
                yield framed[start : start + length]
