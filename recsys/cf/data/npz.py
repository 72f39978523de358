"""NumPy and SciPy archives without pickles: written so that they can be mapped, read without a copy.

A damaged archive is a DataError, never a raw traceback.
"""

import io
import mmap
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.errors import DataError

# What numpy, scipy and zipfile raise on truncated, forged or foreign files.
_DAMAGE = (
    zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, ValueError, KeyError, TypeError, IndexError,
    NotImplementedError, SyntaxError, tokenize.TokenError, MemoryError, OverflowError, RuntimeError,
)  # fmt: skip
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, length of the name, length of the extra field
_EXTRA_HEADER = struct.Struct("<HH")
_ZIP64_EXTRA = 20  # bytes of the extra field for sizes above 4 GiB, always written
_PADDING_ID = 0x5A70  # of the extra field that only moves the data; no program gives it a meaning
_ALIGNMENT = 64  # as numpy aligns the data behind an .npy header
MAPPED_ABOVE_BYTES = 64 << 20  # smaller arrays are read: a copy costs less than its faults
_FIRST_ZIP_TIME = (1980, 1, 1, 0, 0, 0)


@contextmanager
def damage_as_data_error(path: Path) -> Iterator[None]:
    """Turn what a library raises on a damaged ``path`` into a DataError that names the file."""
    try:
        yield
    except _DAMAGE as error:
        cause = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise DataError(f"{path.name} cannot be read: {cause}") from error


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write an .npz that ``numpy.load`` reads and whose arrays ``read_arrays`` maps; equal arrays, equal bytes.

    The members are stored, not compressed, and padded so that the data of each array is aligned in the file.
    """
    with path.open("wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            contiguous = np.asarray(array, order="C")
            header = io.BytesIO()
            npy.write_array_header_1_0(header, npy.header_data_from_array_1_0(contiguous))
            member = zipfile.ZipInfo(f"{name}.npy", _FIRST_ZIP_TIME)
            member.file_size = len(header.getvalue()) + contiguous.nbytes
            member.extra = _padding(file.tell() + _LOCAL_HEADER.size + len(member.filename) + _ZIP64_EXTRA)
            with archive.open(member, "w", force_zip64=True) as stream:
                stream.write(header.getvalue())
                stream.write(contiguous.reshape(-1).view(np.uint8).data)


def write_csr(path: Path, matrix: csr_matrix) -> None:
    """Write a CSR matrix in the layout of ``scipy.sparse.save_npz``, so that ``read_csr`` can map it."""
    write_arrays(
        path,
        {
            "indices": matrix.indices,
            "indptr": matrix.indptr,
            "format": np.array(b"csr"),
            "shape": np.array(matrix.shape),
            "data": matrix.data,
        },
    )


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return every array of an .npz by name, read-only. Raises DataError.

    Arrays that ``write_arrays`` wrote are views of the mapped file: nothing is copied, and pages are read when
    they are first touched. The file may be removed meanwhile. Others are read into memory.
    """
    with damage_as_data_error(path), path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
        # Private and not read-only, so that ``writable_view`` can give it to a library that insists.
        mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
        return {
            member.filename.removesuffix(".npy"): _frozen(_mapped(mapped, member))
            for member in archive.infolist()
        } if all(_is_stored(member) for member in archive.infolist()) else _loaded(path)  # fmt: skip


def read_checked_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return what ``read_arrays`` does, every checksum of the archive compared first. Raises DataError.

    For files whose hash nobody wrote down. Memory: none; each array is aligned, an unaligned one copied.
    """
    with damage_as_data_error(path), zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"the checksum of {damaged} is wrong")
    return {name: np.require(array, requirements="A") for name, array in read_arrays(path).items()}


def open_array(path: Path) -> NDArray[Any]:
    """Return the array of an .npy, mapped where it is larger than 64 MiB, else read. Raises DataError.

    Mapped pages are read when they are first touched and shared by all processes that map the file until one of
    them writes, into a copy of its own: the file never changes and may be removed.
    """
    large = path.stat().st_size > MAPPED_ABOVE_BYTES
    with damage_as_data_error(path):
        array = np.load(path, mmap_mode="c" if large else None, allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError("an archive where a single array is expected")
        return np.asarray(array)


def writable_view(array: NDArray[Any]) -> NDArray[Any]:
    """Return a writable view of a read-only array, or a copy where its memory is read-only itself.

    For libraries that refuse read-only arrays and yet do not write. Arrays of ``read_arrays`` are private maps:
    even a write would reach neither the file nor another process.
    """
    view = array.view()
    try:
        view.flags.writeable = True
    except ValueError:
        return array.copy()
    return view


def read_array(path: Path) -> NDArray[Any]:
    """Return the array of an .npy, read-only. Raises DataError."""
    with damage_as_data_error(path):
        array = np.load(path, allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError("an archive where a single array is expected")
        array.flags.writeable = False
        return array


def read_csr(path: Path) -> csr_matrix:
    """Return the CSR matrix of ``write_csr`` or ``scipy.sparse.save_npz``, its arrays read-only. Raises DataError.

    A matrix of ``write_csr`` is a view of the mapped file, see ``read_arrays``.
    """
    with damage_as_data_error(path):
        arrays = read_arrays(path)
        form = bytes(arrays["format"].item()).decode("ascii")
        if form != "csr":
            raise ValueError(f"a {form} matrix where csr is expected")
        if any(arrays[name].dtype.kind != "i" for name in ("indices", "indptr")):
            raise ValueError("its indices are no integers")
        rows, columns = (int(size) for size in arrays["shape"])
        # The two index arrays keep their memory only when they have one type.
        matrix = csr_matrix(
            (arrays["data"], arrays["indices"], arrays["indptr"]), shape=(rows, columns), copy=False
        )
        for array in (matrix.data, matrix.indices, matrix.indptr):
            array.flags.writeable = False
        return matrix


def _padding(position: int) -> bytes:
    """Return an extra field at ``position`` that ends at a multiple of the alignment."""
    length = -(position + _EXTRA_HEADER.size) % _ALIGNMENT
    return _EXTRA_HEADER.pack(_PADDING_ID, length) + bytes(length)


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array


def _is_stored(member: zipfile.ZipInfo) -> bool:
    return member.compress_type == zipfile.ZIP_STORED


def _loaded(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    for array in arrays.values():
        array.flags.writeable = False
    return arrays


def _mapped(mapped: mmap.mmap, member: zipfile.ZipInfo) -> NDArray[Any]:
    """Return one stored member of the mapped archive as a view of it."""
    at = member.header_offset
    signature, n_name, n_extra = _LOCAL_HEADER.unpack_from(mapped, at)
    if signature != b"PK\x03\x04":
        raise ValueError("its directory points to no member")
    start = at + _LOCAL_HEADER.size + n_name + n_extra
    end = start + member.file_size
    if member.file_size != member.compress_size or end > len(mapped):
        raise ValueError("it is truncated")
    header = io.BytesIO(mapped[start : min(end, start + npy.MAGIC_LEN + 2 + 2**16)])
    if npy.read_magic(header) != (1, 0):
        raise ValueError(f"{member.filename} is in another version of the format")
    shape, fortran_order, dtype = npy.read_array_header_1_0(header)
    if dtype.hasobject or fortran_order:
        raise ValueError(f"{member.filename} holds objects or columns first; neither is ever written here")
    data = start + header.tell()
    count = int(np.prod(shape, dtype=object))
    if data + count * dtype.itemsize != end:
        raise ValueError(f"{member.filename} does not hold what its header says")
    return np.frombuffer(mapped, dtype, count, data).reshape(shape)
