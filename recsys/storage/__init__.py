"""Objects under keys: local directory, S3, memory. Knows bytes, not models."""

from recsys.storage.base import ObjectInfo, Store, StoredObject
from recsys.storage.open import open_store

__all__ = ["ObjectInfo", "Store", "StoredObject", "open_store"]
