"""From the URI of a store to the store."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from recsys.config.settings import default_store_uri
from recsys.errors import ConfigError
from recsys.storage.base import Store
from recsys.storage.local import LocalStore

# s3:/bucket is a slip of the pen, and must not become a directory of that name; C:\\ is a path.
_SCHEME_WITHOUT_SLASHES = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")


def open_store(uri: str | None = None) -> Store:
    """Return the store behind ``uri``; ``open_store(store.uri)`` is the same store in another process.

    Args:
        uri: A path, ``file:///path`` or ``s3://bucket/prefix``; None means RECSYS_STORE, or ``./store``.
            Endpoint, region and credentials of S3 come from the usual AWS places only.

    Raises:
        ConfigError: The URI has another scheme, or no bucket.
    """
    uri = uri or default_store_uri()
    if "://" not in uri and not _SCHEME_WITHOUT_SLASHES.match(uri):
        return _local(Path(uri).expanduser())
    parts = urlsplit(uri)
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path:
        return _local(Path(unquote(parts.path)))
    if parts.scheme == "s3" and parts.netloc:
        from recsys.storage.s3 import S3Store  # boto3 takes a third of a second to import

        return S3Store(parts.netloc, parts.path.strip("/"))
    raise ConfigError(f"store {uri!r} is not understood; use a path, file:///path or s3://bucket/prefix")


def store_uri_anywhere(uri: str) -> str:
    """Return a URI that names the same store in a process with another working directory."""
    return uri if "://" in uri else str(Path(uri).expanduser().absolute())


def _local(root: Path) -> Store:
    if root.exists() and not root.is_dir():
        raise ConfigError(f"store {root} is a file; name a directory or s3://bucket/prefix")
    return LocalStore(root)
