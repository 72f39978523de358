"""Foreign pickles: values come out, and nothing they contain is ever run."""

import io
import os
import pickle
import pickletools
import subprocess
import tracemalloc
from collections import defaultdict
from fractions import Fraction

import numpy as np
import polars as pl
import pytest

from recsys.cf.data.restricted_pickle import read_restricted_pickle
from recsys.errors import RawDataError

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
VALUE = {
    0: {1, 2}, np.int64(1): {np.int32(3)}, "explicit": frozenset({4}), (1, 2.5): [None, True, "tên", b"\x00\xff"],
    "array": np.arange(6, dtype=np.int32).reshape(2, 3), "text": np.array(["a", "bc"]), "f": np.float32(0.5),
}  # fmt: skip


def written(tmp_path, data):
    path = tmp_path / "x.pkl"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_values_and_numpy_come_back(tmp_path, protocol):
    found = read_restricted_pickle(written(tmp_path, pickle.dumps(VALUE, protocol=protocol)))
    assert found.keys() == VALUE.keys()
    for key, expected in VALUE.items():
        if isinstance(expected, np.ndarray):
            assert found[key].dtype == expected.dtype
            assert np.array_equal(found[key], expected)
        else:
            assert found[key] == expected


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "array",
    [
        np.arange(4, dtype=">i8"),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.zeros(0, np.int32),
        np.array([True, False]),
    ],
)
def test_arrays_of_any_order_come_back(tmp_path, protocol, array):
    found = read_restricted_pickle(written(tmp_path, pickle.dumps(array, protocol=protocol)))
    assert np.array_equal(found, array)


def test_arrays_of_objects_come_back_as_lists(tmp_path):
    array = np.array(["a", "b", None], dtype=object)
    assert read_restricted_pickle(written(tmp_path, pickle.dumps(array))) == ["a", "b", None]


class Payload:
    """Creates a file when it is unpickled by anybody who trusts it."""

    def __init__(self, call, *args):
        self.call, self.args = call, args

    def __reduce__(self):
        return self.call, self.args


PAYLOADS = {
    "system": lambda target: Payload(os.system, f"touch {target}"),
    "process": lambda target: Payload(subprocess.check_call, ["touch", str(target)]),
    "exec": lambda target: Payload(exec, f"open({str(target)!r}, 'w').close()"),
    "open": lambda target: Payload(open, str(target), "w"),
    "nested": lambda target: Payload(pickle.loads, pickle.dumps(Payload(open, str(target), "w"))),
}
WRAPS = {
    "bare": lambda one: one,
    "in a dict": lambda one: {0: [one]},
    "in an array": lambda one: np.array([one], dtype=object),
}


@pytest.mark.parametrize(
    ("payload", "wrap", "protocol"),
    [
        *((payload, "bare", protocol) for payload in PAYLOADS for protocol in (0, 4)),
        *(("open", wrap, protocol) for wrap in WRAPS for protocol in PROTOCOLS),
    ],
)
def test_a_malicious_pickle_is_refused_and_nothing_of_it_runs(tmp_path, payload, wrap, protocol):
    target = tmp_path / "created"
    data = pickle.dumps(WRAPS[wrap](PAYLOADS[payload](target)), protocol=protocol)
    with pytest.raises(RawDataError, match="refused: it wants to call"):
        read_restricted_pickle(written(tmp_path, data))
    assert not target.exists()
    # The payload is real: whoever trusts it gets the file.
    pickle.loads(data)
    assert target.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"cos\nsystem\n(S'touch created'\ntR.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x01x\x85R.",
        b"(S'touch created'\nios\nsystem\n.",
        b"\x80\x04\x8c\x08builtins\x8c\x0aset.__init\x93.",
        b"\x80\x02cnumpy\nload\n.",
        b"\x80\x02cnumpy.core.multiarray\nfromstring\n.",
        b"\x80\x02crecsys.cf.data.restricted_pickle\n_ALLOWED\n.",
        b"Pabc\n.",
        b"\x80\x02\x82\x01.",
    ],
)
def test_hand_written_opcodes_find_no_way_around(tmp_path, data):
    with pytest.raises(RawDataError):
        read_restricted_pickle(written(tmp_path, data))


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps(1)[:-1] + b"r\xff\xff\xff\xff.",
        b"I1\np99999999999\n.",
        b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\x00\x00.",
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\x00\x00.",
    ],
)
def test_a_short_file_cannot_ask_for_much_memory(tmp_path, data):
    tracemalloc.start()
    try:
        with pytest.raises(RawDataError):
            read_restricted_pickle(written(tmp_path, data))
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_lists_that_hold_each_other_take_no_time(tmp_path):
    nested = []
    for _ in range(200):
        nested = [nested, nested]
    assert len(read_restricted_pickle(written(tmp_path, pickle.dumps(nested)))) == 2
    nested.append(nested)
    with pytest.raises(RawDataError):
        read_restricted_pickle(written(tmp_path, pickle.dumps(nested)))


def build(global_name, state):
    """Return a pickle that sets attributes of what ``global_name`` means."""
    return b"c" + global_name.replace(".", "\n", 1).encode() + b"\n" + pickle.dumps(state, 0)[:-1] + b"b."


@pytest.mark.parametrize("name", ["numpy.dtype", "numpy.ndarray", "_codecs.encode", "builtins.set"])
def test_what_may_be_called_cannot_be_changed(tmp_path, name):
    data = build(name, (None, {"__call__": 1, "_function": 2}))
    pickletools.dis(data, out=io.StringIO())  # well-formed
    with pytest.raises(RawDataError):
        read_restricted_pickle(written(tmp_path, data))
    assert np.array_equal(read_restricted_pickle(written(tmp_path, pickle.dumps(np.arange(3)))), np.arange(3))


@pytest.mark.parametrize(
    "value",
    [
        Fraction(1, 2),
        defaultdict(set),
        np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
        np.dtype("i4"),
        pl.Series([1]),
    ],
)
def test_other_objects_are_refused_by_name(tmp_path, value):
    with pytest.raises(RawDataError):
        read_restricted_pickle(written(tmp_path, pickle.dumps(value)))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_damaged_pickles_are_told_never_a_traceback(tmp_path, protocol):
    data = pickle.dumps(VALUE, protocol=protocol)
    random = np.random.default_rng(0)
    told = 0
    for trial in range(300):
        damaged = bytearray(data)
        if trial % 3 == 0:
            damaged = damaged[: int(random.integers(len(data)))]
        else:
            damaged[int(random.integers(len(data)))] ^= int(random.integers(1, 256))
        try:
            read_restricted_pickle(written(tmp_path, bytes(damaged)))
        except RawDataError:
            told += 1
    assert told > 100
