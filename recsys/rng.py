"""Seeds for every purpose, derived from the one seed of the run.

Compiled code that draws in parallel uses the counter-based functions of ``recsys.cf.sampling.counter``.
"""

import hashlib

import numpy as np

from recsys.types import FloatMatrix

_BLOCK_ROWS = 1 << 16


def derive_seed(seed: int, *labels: str | int) -> int:
    """Return a 63-bit seed for one purpose: independent for different labels, equal for equal ones."""
    text = "/".join([str(seed), *(str(label) for label in labels)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def derive_name(*parts: object) -> str:
    """Return 64 hex digits that are equal for equal parts and different for others."""
    return hashlib.sha256("/".join(str(part) for part in parts).encode()).hexdigest()


def generator(seed: int, *labels: str | int) -> np.random.Generator:
    """Return a NumPy generator for one purpose, see ``derive_seed``."""
    return np.random.Generator(np.random.PCG64(derive_seed(seed, *labels)))


def normal_matrix(random: np.random.Generator, scale: float, rows: int, columns: int) -> FloatMatrix:
    """Return N(0, scale), float32 (rows, columns): the numbers that one draw of float64 would round to.

    Drawn block by block, so that the memory of the float64 numbers does not grow with the rows.
    """
    matrix = np.empty((rows, columns), dtype=np.float32)
    for start in range(0, rows, _BLOCK_ROWS):
        block = matrix[start : start + _BLOCK_ROWS]
        block[:] = random.normal(0.0, scale, block.shape)
    return matrix
