"""Pickles of foreign origin, read without running anything they contain.

Unpickling calls whatever the file names. Here it may name nothing but the constructors of sets and of NumPy
scalars, arrays and dtypes, and those names lead to stand-ins in this file that check what they are given: NumPy's
own unpickling trusts shapes, flags and object pointers of the file and is never reached.
"""

import io
import pickle
import pickletools
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from recsys.errors import RawDataError

_DAMAGE = (
    pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, IndexError, KeyError, OverflowError,
    MemoryError, RecursionError, ImportError, struct.error,
)  # fmt: skip
# What builds plain values. Classes with constructors (OBJ, NEWOBJ), persistent ids and registered extensions are
# not among them.
_OPERATIONS = {
    "PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "DUP", "NONE", "NEWTRUE", "NEWFALSE", "INT",
    "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES",
    "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "EMPTY_LIST", "APPEND", "APPENDS", "LIST", "EMPTY_TUPLE",
    "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_DICT", "DICT", "SETITEM", "SETITEMS", "EMPTY_SET",
    "ADDITEMS", "FROZENSET", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET",
    "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD",
}  # fmt: skip
_STORING = {"PUT", "BINPUT", "LONG_BINPUT"}
_PLAIN_KINDS = "biufUS"  # bool, integers, floats, text: values whose bytes say all
_ORDERS = {"<", ">", "=", "|"}


def read_restricted_pickle(path: Path) -> Any:
    """Return what the pickle holds: dict, set, list, tuple, int, float, str, bool, None, NumPy arrays and scalars.

    Arrays of objects come back as lists. Raises RawDataError when the file holds anything else, is no pickle or
    is damaged; nothing that it names is imported or called.
    """
    try:
        data = path.read_bytes()
        _check_operations(data)
        return _plain(_Unpickler(io.BytesIO(data), encoding="latin1").load(), {})
    except _DAMAGE as error:
        raise RawDataError(f"{path}: {next(iter(str(error).splitlines()), type(error).__name__)}") from error


class _Dtype:
    """What the file says of a dtype, checked when it is used."""

    def __init__(self, name: object = "", *_flags: object) -> None:
        self.name = str(name)
        self.order = "="

    def __setstate__(self, state: Any) -> None:
        _version, order, subdtype, names, fields, *_ = state
        if order not in _ORDERS or subdtype is not None or names is not None or fields is not None:
            raise pickle.UnpicklingError("a dtype with fields: only plain arrays are read")
        self.order = str(order)

    def resolve(self) -> np.dtype[Any]:
        dtype = np.dtype(self.name)
        if dtype.kind not in _PLAIN_KINDS:
            raise pickle.UnpicklingError(f"an array of {self.name}: only numbers and text are read")
        return dtype if self.order == "|" else dtype.newbyteorder(self.order)  # type: ignore[arg-type]

    def holds_objects(self) -> bool:
        return self.name in ("O", "O8", "|O", "object")


class _Array:
    """An array whose content the file gives later."""

    value: Any = None

    def __setstate__(self, state: Any) -> None:
        _version, shape, dtype, is_fortran, content = state
        if dtype.holds_objects():
            if not isinstance(content, list) or len(shape) != 1 or shape[0] != len(content):
                raise pickle.UnpicklingError("an array of objects that is no plain list")
            self.value = content
            return
        data = content.encode("latin1") if isinstance(content, str) else bytes(content)
        self.value = _array(data, dtype, shape, "F" if is_fortran else "C")


def _reconstruct(_type: object, _shape: object, _kind: object) -> _Array:
    return _Array()


def _scalar(dtype: _Dtype, content: Any) -> Any:
    data = content.encode("latin1") if isinstance(content, str) else bytes(content)
    return _array(data, dtype, (1,), "C")[0].item()


def _frombuffer(content: Any, dtype: _Dtype, shape: tuple[int, ...], order: str) -> _Array:
    array = _Array()
    array.value = _array(bytes(content), dtype, shape, order)
    return array


def _array(data: bytes, dtype: _Dtype, shape: Any, order: str) -> np.ndarray[Any, Any]:
    resolved, sizes = dtype.resolve(), tuple(int(size) for size in shape)
    flat = np.frombuffer(data, resolved) if data else np.empty(0, resolved)
    return flat.reshape(sizes, order="F" if order == "F" else "C")


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """Protocol 2 writes bytes as text to be encoded."""
    if encoding not in ("latin1", "latin-1", "utf-8"):
        raise pickle.UnpicklingError(f"bytes in the encoding {encoding}")
    return text.encode(encoding)


def _empty_bytes() -> bytes:
    """Old protocols write b"" as a call of bytes without arguments."""
    return b""


class _Call:
    """A function that a file may call, and do nothing else to: BUILD would set attributes of a plain one."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("refused: it wants to change a function")


_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")
_NUMERIC = ("numpy.core.numeric", "numpy._core.numeric")
_ALLOWED: dict[tuple[str, str], Any] = {
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("__builtin__", "frozenset"): frozenset,
    ("_codecs", "encode"): _Call(_encode),
    ("builtins", "bytes"): _Call(_empty_bytes),
    ("__builtin__", "bytes"): _Call(_empty_bytes),
    ("numpy", "dtype"): _Call(_Dtype),
    ("numpy", "ndarray"): _Call(_Array),  # named as the type to reconstruct
    **{(module, "_reconstruct"): _Call(_reconstruct) for module in _MULTIARRAY},
    **{(module, "scalar"): _Call(_scalar) for module in _MULTIARRAY},
    **{(module, "_frombuffer"): _Call(_frombuffer) for module in _NUMERIC},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(
                f"refused: it wants to call {module}.{name}; only dict, set, list, tuple, numbers, text and NumPy "
                "arrays are read. Nothing of it was run. Save tables as Parquet or CSV instead"
            )
        return _ALLOWED[module, name]


def _check_operations(data: bytes) -> None:
    """Raise unless every operation is a known one that asks for no more memory than the file is large.

    The interpreter's own unpickler would make room for four billion values when a file says that it stores one
    at such a place.
    """
    for operation, argument, _ in pickletools.genops(data):
        if operation.name not in _OPERATIONS:
            raise pickle.UnpicklingError(f"refused: operation {operation.name} builds no plain value")
        if operation.name in _STORING and int(argument or 0) > len(data):
            raise pickle.UnpicklingError("refused: it stores a value further out than the file is long")


def _plain(value: Any, done: dict[int, Any]) -> Any:
    """Return ``value`` with stand-ins replaced by what they stand for; ``done`` holds what was seen, by identity.

    Without it a short file whose lists hold each other twice would take for ever.
    """
    if id(value) not in done:
        done[id(value)] = _replaced(value, done)
    return done[id(value)]


def _replaced(value: Any, done: dict[int, Any]) -> Any:
    if isinstance(value, _Array):
        return _plain(value.value, done)
    if isinstance(value, dict):
        return {_plain(key, done): _plain(one, done) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return type(value)(_plain(one, done) for one in value)
    if not isinstance(value, str | bytes | int | float | np.ndarray | None):
        raise pickle.UnpicklingError(f"it holds a {type(value).__name__}, which is no value")
    return value
