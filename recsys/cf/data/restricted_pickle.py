"""Pickles of foreign origin, read without running anything they contain.

Unpickling calls whatever the file names. Here it may name nothing but the constructors of sets and of NumPy
scalars, arrays and dtypes, and those names lead to stand-ins in this file that check what they are given: NumPy's
own unpickling trusts shapes, flags and object pointers of the file and is never reached.
"""

import io
import pickle
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
_PLAIN_KINDS = "biufUS"  # bool, integers, floats, text: values whose bytes say all
_ORDERS = {"<", ">", "=", "|"}


def read_restricted_pickle(path: Path) -> Any:
    """Return what the pickle holds: dict, set, list, tuple, int, float, str, bool, None, NumPy arrays and scalars.

    Arrays of objects come back as lists. Raises RawDataError when the file holds anything else, is no pickle or
    is damaged; nothing that it names is imported or called.
    """
    try:
        return _plain(_Unpickler(io.BytesIO(path.read_bytes()), encoding="latin1").load())
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


def _plain(value: Any) -> Any:
    """Return ``value`` with stand-ins replaced by what they stand for."""
    if isinstance(value, _Array):
        return _plain(value.value) if isinstance(value.value, list) else value.value
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, dict):
        return {_plain(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return type(value)(_plain(one) for one in value)
    if not isinstance(value, str | bytes | int | float | None):
        raise pickle.UnpicklingError(f"it holds a {type(value).__name__}, which is no value")
    return value
