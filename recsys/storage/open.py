"""From the URI of a store to the store."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from recsys.config.settings import default_store_uri
from recsys.errors import ConfigError
from recsys.storage.base import Store
from recsys.storage.local import LocalStore


def open_store(uri: str | None = None) -> Store:
    """Return the store behind ``uri``; ``open_store(store.uri)`` is the same store in another process.

    Args:
        uri: A path, ``file:///path`` or ``s3://bucket/prefix``; None means RECSYS_STORE, or ``./store``.
            Endpoint, region and credentials of S3 come from the usual AWS places only.

    Raises:
        ConfigError: The URI has another scheme, or no bucket.
    """
    uri = uri or default_store_uri()
    if "://" not in uri:
        return LocalStore(Path(uri).expanduser())
    parts = urlsplit(uri)
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path:
        return LocalStore(Path(unquote(parts.path)))
    if parts.scheme == "s3" and parts.netloc:
        from recsys.storage.s3 import S3Store  # boto3 takes a third of a second to import

        return S3Store(parts.netloc, parts.path.strip("/"))
    raise ConfigError(f"store {uri!r} is not understood; use a path, file:///path or s3://bucket/prefix")
