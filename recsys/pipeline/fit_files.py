"""Factors in the store: two .npy files below a prefix, read back by their hashes."""

import io
from collections.abc import Mapping

import numpy as np

from recsys.errors import IntegrityError
from recsys.storage.base import Store
from recsys.storage.documents import put_deterministic
from recsys.types import Factors


def put_factors(store: Store, prefix: str, factors: Factors) -> None:
    """Write U.npy and V.npy below ``prefix``; writing the same again changes nothing."""
    for name, matrix in (("U", factors.user_factors), ("V", factors.item_factors)):
        buffer = io.BytesIO()
        np.save(buffer, matrix, allow_pickle=False)
        put_deterministic(store, f"{prefix}/{name}.npy", buffer.getvalue())


def get_factors(store: Store, prefix: str, sha256: Mapping[str, str]) -> Factors:
    """Return what ``put_factors`` wrote. Raises IntegrityError when it is not what ``sha256`` says."""
    try:
        factors = Factors(
            *(
                np.load(io.BytesIO(store.get(f"{prefix}/{side}.npy").data), allow_pickle=False)
                for side in "UV"
            )
        )
    except (ValueError, EOFError) as error:
        raise IntegrityError(f"{prefix}: U or V cannot be read ({error}); delete it and rerun") from error
    if factors.sha256() != dict(sha256):
        raise IntegrityError(f"{prefix}: U or V differ from what was trained; delete it and rerun")
    return factors
