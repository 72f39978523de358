"""An object of a store as a file that can be read from anywhere, a range of bytes at a time."""

import io
from typing import BinaryIO, cast

from recsys.errors import ObjectNotFound
from recsys.storage.base import Store

_BUFFER_BYTES = 1 << 20


def open_object(store: Store, key: str) -> BinaryIO:
    """Return a readable, seekable file over an object; nothing is read before it is asked for.

    Raises ObjectNotFound; reading raises as ``Store.get_range`` does.
    """
    # a listing tells the size without reading the object, in every store
    size = next((info.n_bytes for info in store.list(key) if info.key == key), None)
    if size is None:
        raise ObjectNotFound(f"{store.uri}/{key} does not exist")
    return cast(BinaryIO, io.BufferedReader(_Ranges(store, key, size), _BUFFER_BYTES))


class _Ranges(io.RawIOBase):
    def __init__(self, store: Store, key: str, size: int) -> None:
        super().__init__()
        self._store, self._key, self._size, self._at = store, key, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        n_bytes = min(len(buffer), self._size - self._at)
        if n_bytes <= 0:
            return 0
        data = self._store.get_range(self._key, self._at, n_bytes)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
