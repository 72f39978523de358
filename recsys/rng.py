"""Seeds for every purpose, derived from the one seed of the run.

Compiled code that draws in parallel uses the counter-based functions of ``recsys.cf.sampling.counter``.
"""

import hashlib

import numpy as np


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
