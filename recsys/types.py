"""Shapes of data that several rooms speak of."""

import hashlib
from collections.abc import Callable
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatMatrix: TypeAlias = NDArray[np.float32]
IndexVector: TypeAlias = NDArray[np.int32]
Json: TypeAlias = dict[str, Any]
# One row of a training history: iteration or epoch, seconds, loss, and what the trainer adds.
HistoryRow: TypeAlias = dict[str, float | int | None]
# Called after each iteration or epoch with its history row; may raise TrainingCancelled.
ProgressCallback: TypeAlias = Callable[[HistoryRow], None]


MAX_INT32_ENTRIES = 2**31 - 1


def index_type(n_entries: int) -> type[np.int32] | type[np.int64]:
    """Return the type of positions in an array of so many entries: int32, from 2^31 entries on int64."""
    return np.int32 if n_entries <= MAX_INT32_ENTRIES else np.int64


@dataclass(frozen=True)
class Factors:
    """User and item factors of one model: U (n_users, factors) and V (n_items, factors), float32, C order."""

    user_factors: FloatMatrix
    item_factors: FloatMatrix

    def __post_init__(self) -> None:
        for name, matrix in (("user_factors", self.user_factors), ("item_factors", self.item_factors)):
            if matrix.ndim != 2 or matrix.dtype != np.float32:
                raise ValueError(f"{name} must be a float32 matrix, got {matrix.dtype} of {matrix.ndim} dims")
        if self.user_factors.shape[1] != self.item_factors.shape[1]:
            raise ValueError(
                f"U has {self.user_factors.shape[1]} factors and V has {self.item_factors.shape[1]}; "
                "they must be equal"
            )

    @property
    def n_users(self) -> int:
        """Number of rows of U."""
        return int(self.user_factors.shape[0])

    @property
    def n_items(self) -> int:
        """Number of rows of V."""
        return int(self.item_factors.shape[0])

    @property
    def n_factors(self) -> int:
        """Number of columns of U and V."""
        return int(self.user_factors.shape[1])

    def sha256(self) -> dict[str, str]:
        """SHA-256 of the raw bytes of U and V, as {"U": hex, "V": hex}: equal means bit-equal models."""
        return {"U": _array_sha256(self.user_factors), "V": _array_sha256(self.item_factors)}


def _array_sha256(matrix: FloatMatrix) -> str:
    return hashlib.sha256(np.ascontiguousarray(matrix).data).hexdigest()


@dataclass(frozen=True)
class ScoreRange:
    """Where the scores of a model lie over items unseen in train; what hybrid reranking normalises with."""

    method: str  # "validation_set" or "test_set": whose users were scored; "..._sample": a sample of them
    min: float
    max: float
    mean: float
    std: float
    p01: float
    p50: float
    p99: float
    num_samples: int
    n_users: int | None = None  # of a sample; None: all were scored
    n_users_sampled_from: int | None = None

    def normalize(self, scores: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Return clip((scores - p01) / (p99 - p01), 0, 1), float64, in the shape of ``scores``."""
        return np.clip((np.asarray(scores, dtype=np.float64) - self.p01) / (self.p99 - self.p01), 0.0, 1.0)

    def to_json(self) -> Json:
        """Return the fields as a JSON object, those of a sample only where there was one."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, document: Json) -> "ScoreRange":
        """Return the range that ``to_json`` wrote; keys it does not know are ignored."""
        known = {field.name for field in fields(cls) if field.default is MISSING or field.name in document}
        return cls(**{name: document[name] for name in known})
