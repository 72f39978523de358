"""NumPy and SciPy archives, read without pickles; a damaged one is a DataError, never a raw traceback."""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, load_npz

from recsys.errors import DataError

# What numpy, scipy and zipfile raise on truncated, forged or foreign files.
_DAMAGE = (
    zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, KeyError, TypeError, IndexError,
    NotImplementedError, SyntaxError, MemoryError, OverflowError,
)  # fmt: skip


@contextmanager
def damage_as_data_error(path: Path) -> Iterator[None]:
    """Turn what a library raises on a damaged ``path`` into a DataError that names the file."""
    try:
        yield
    except _DAMAGE as error:
        cause = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise DataError(f"{path.name} cannot be read: {cause}") from error


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return every array of an .npz by name. Raises DataError."""
    with damage_as_data_error(path), np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def read_array(path: Path) -> NDArray[Any]:
    """Return the array of an .npy. Raises DataError."""
    with damage_as_data_error(path):
        array = np.load(path, allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError("an archive where a single array is expected")
        return array


def read_csr(path: Path) -> csr_matrix:
    """Return the CSR matrix that ``scipy.sparse.save_npz`` wrote. Raises DataError."""
    with damage_as_data_error(path):
        matrix = load_npz(path)
        if matrix.format != "csr":
            raise ValueError(f"a {matrix.format} matrix where csr is expected")
        return csr_matrix(matrix)
