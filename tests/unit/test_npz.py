"""Archives that are mapped: nothing copied, aligned, readable by numpy and scipy, safe when damaged."""

import mmap
import tracemalloc
import zipfile

import numpy as np
import pytest
from scipy.sparse import load_npz, random_array, save_npz

from recsys.cf.data.npz import read_arrays, read_csr, write_arrays, write_csr
from recsys.errors import DataError

ARRAYS = {
    "indptr": np.arange(1_001, dtype=np.int64),
    "one": np.arange(3, dtype=np.int32),
    "empty": np.zeros(0, dtype=np.float32),
    "name": np.array("tên"),
    "two": np.arange(15, dtype=np.float32).reshape(3, 5),
}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.npz"
    write_arrays(path, ARRAYS)
    return path


def bottom(array):
    while isinstance(array, np.ndarray) and array.base is not None:
        array = array.base
    return array.obj if isinstance(array, memoryview) else array


def test_numpy_reads_what_was_written_and_so_do_we(path):
    with np.load(path) as archive:
        theirs = dict(archive)
    ours = read_arrays(path)
    for name, expected in ARRAYS.items():
        for found in (theirs[name], ours[name]):
            assert found.dtype == expected.dtype
            assert np.array_equal(found, expected)


def test_arrays_are_aligned_views_of_the_file_that_outlive_it(path):
    arrays = read_arrays(path)
    path.unlink()
    for name, array in arrays.items():
        assert array.ctypes.data % 64 == 0
        assert not array.flags.writeable
        assert isinstance(bottom(array), mmap.mmap)
        assert np.array_equal(array, ARRAYS[name])


def test_reading_a_large_matrix_takes_no_memory_for_its_values(tmp_path):
    matrix = random_array((2_000, 5_000), density=0.2, format="csr", dtype=np.float32, rng=0)
    write_csr(tmp_path / "m.npz", matrix)
    tracemalloc.start()
    try:
        read = read_csr(tmp_path / "m.npz")
        assert tracemalloc.get_traced_memory()[1] < 0.02 * matrix.data.nbytes
    finally:
        tracemalloc.stop()
    assert all(isinstance(bottom(one), mmap.mmap) for one in (read.data, read.indices, read.indptr))
    assert (read != matrix).nnz == 0
    assert (load_npz(tmp_path / "m.npz") != matrix).nnz == 0


def test_compressed_matrices_of_older_versions_are_read(tmp_path):
    matrix = random_array((20, 30), density=0.2, format="csr", dtype=np.float32, rng=0)
    save_npz(tmp_path / "m.npz", matrix)
    read = read_csr(tmp_path / "m.npz")
    assert (read != matrix).nnz == 0
    assert not read.data.flags.writeable


def test_equal_arrays_give_equal_bytes(path, tmp_path):
    write_arrays(tmp_path / "b.npz", ARRAYS)
    assert path.read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_every_flipped_byte_is_read_as_something_or_told_as_damage(path):
    """The hash tells that a byte flipped; here it must only never crash or reach beyond the file."""
    data = path.read_bytes()
    told = 0
    for place in [*range(0, 400), *range(len(data) - 500, len(data))]:
        damaged = bytearray(data)
        damaged[place] ^= 0xFF
        path.write_bytes(bytes(damaged))
        try:
            for array in read_arrays(path).values():
                assert array.nbytes <= len(data)
                array.sum() if array.dtype.kind in "if" else None
        except DataError:
            told += 1
    assert told > 100


@pytest.mark.parametrize("keep", [0, 1, 30, 200, 5_000])
def test_truncation_is_told(path, keep):
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"a\.npz cannot be read"):
        read_arrays(path)


def test_objects_are_refused_before_anything_is_unpickled(tmp_path):
    path = tmp_path / "o.npz"
    np.savez(path, x=np.array([{}], dtype=object))
    with pytest.raises(DataError, match="objects"):
        read_arrays(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"\x80\x04K\x01.")
    with pytest.raises(DataError):
        read_arrays(path)
