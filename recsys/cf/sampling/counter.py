"""Counter-based random numbers for compiled code: a draw is a hash of (key, counter).

So a draw does not depend on the order of work or on the number of threads, and an epoch can be drawn again
from its number alone. The stream is SplitMix64 read at any position (Steele, Lea and Flood 2014, "Fast
splittable pseudorandom number generators"): output n of the generator seeded with ``key``.
"""

import numba as nb
import numpy as np

from recsys.config.settings import set_thread_policy

set_thread_policy()  # read by OpenMP when the first parallel kernel starts
# Two Python threads run compiled code at once (ALS beside BPR); numba's default layer may abort on that.
nb.config.THREADING_LAYER = "threadsafe"  # type: ignore[attr-defined]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31, _S32, _S40 = (np.uint64(n) for n in (27, 30, 31, 32, 40))
_UNIT = np.float32(1.0 / (1 << 24))


@nb.njit(inline="always", cache=True)
def hash_bits(key, counter):  # type: ignore[no-untyped-def]
    """Return 64 random bits for (key, counter), both uint64."""
    z = key + (counter + np.uint64(1)) * _GOLDEN
    z = (z ^ (z >> _S30)) * _MIX_1
    z = (z ^ (z >> _S27)) * _MIX_2
    return z ^ (z >> _S31)


@nb.njit(inline="always", cache=True)
def index_below(bits, n):  # type: ignore[no-untyped-def]
    """Return an index in [0, n) from the low 32 bits; the bias is below n / 2**32."""
    return np.int64(((bits & np.uint64(0xFFFFFFFF)) * np.uint64(n)) >> _S32)


@nb.njit(inline="always", cache=True)
def unit_float(bits):  # type: ignore[no-untyped-def]
    """Return a float32 in [0, 1) from the high 24 bits, independent of what ``index_below`` reads."""
    return np.float32(bits >> _S40) * _UNIT
