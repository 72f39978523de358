"""Raw reviews become an immutable, verified data version."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recsys.cf.data.dataset import InteractionDataset
    from recsys.cf.data.demo import write_demo_shop
    from recsys.cf.data.load import load_processed_data, load_product_embeddings
    from recsys.cf.data.prepare import PreparedVersion
    from recsys.cf.data.version import list_versions, resolve_version, verify_version

# ``prepare`` is the room of that name: from recsys.cf.data.prepare import prepare.
# Imported when first asked for: polars and scipy take longer to start than most commands take to run.
_ROOMS = {
    "InteractionDataset": "dataset",
    "PreparedVersion": "prepare",
    "list_versions": "version",
    "load_processed_data": "load",
    "load_product_embeddings": "load",
    "resolve_version": "version",
    "verify_version": "version",
    "write_demo_shop": "demo",
}

__all__ = [
    "InteractionDataset",
    "PreparedVersion",
    "list_versions",
    "load_processed_data",
    "load_product_embeddings",
    "resolve_version",
    "verify_version",
    "write_demo_shop",
]


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)
