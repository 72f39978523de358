"""Factors in the store: two .npy files below a prefix, found and read back by their hashes."""

import hashlib
from collections.abc import Mapping

import numpy as np

from recsys.cf.data.npz import open_array
from recsys.errors import DataError, IntegrityError
from recsys.storage.base import Store
from recsys.storage.documents import put_file_deterministic
from recsys.storage.files import translated_errors
from recsys.storage.scratch import scratch_folder
from recsys.types import Factors


def put_factors(store: Store, prefix: str, factors: Factors) -> Mapping[str, str]:
    """Write U.npy and V.npy below ``prefix`` and return the SHA-256 of their raw bytes, by "U" and "V".

    They lie in a folder named by these hashes: two attempts that train other bits at the same time (another GPU,
    another BLAS) never write over each other. Writing the same again changes nothing.

    Memory: none but that of the temporary files they go through, one at a time, where TMPDIR is a tmpfs.
    """
    sha256 = factors.sha256()
    folder = _folder(prefix, sha256)
    with scratch_folder("factors") as temporary:
        for name, matrix in (("U", factors.user_factors), ("V", factors.item_factors)):
            path = temporary / f"{name}.npy"
            with translated_errors(str(path)):
                np.save(path, matrix, allow_pickle=False)
            put_file_deterministic(store, f"{folder}/{path.name}", path)
            path.unlink()
    return sha256


def get_factors(store: Store, prefix: str, sha256: Mapping[str, str]) -> Factors:
    """Return what ``put_factors`` wrote; large matrices are mapped from a temporary file, see ``open_array``.

    They may be written to, which changes nothing but the copy of this process. Raises IntegrityError when they are
    not what ``sha256`` says.
    """
    folder = _folder(prefix, sha256)
    if store.head(f"{folder}/U.npy") is None:
        folder = prefix  # where earlier versions of train-cf wrote them
    try:
        with scratch_folder("factors") as temporary:
            paths = [temporary / f"{side}.npy" for side in "UV"]
            for path in paths:
                store.get_file(f"{folder}/{path.name}", path)
            factors = Factors(*(open_array(path) for path in paths))
    except (ValueError, DataError) as error:
        raise IntegrityError(f"{prefix}: U or V cannot be read ({error}); delete it and rerun") from error
    if factors.sha256() != dict(sha256):
        raise IntegrityError(f"{prefix}: U or V differ from what was trained; delete it and rerun")
    return factors


def _folder(prefix: str, sha256: Mapping[str, str]) -> str:
    return f"{prefix}/factors-{hashlib.sha256((sha256['U'] + sha256['V']).encode()).hexdigest()[:16]}"
