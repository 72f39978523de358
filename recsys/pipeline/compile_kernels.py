"""Compiles the kernels ahead of the first night, into numba's cache: for container images and fresh machines."""

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from recsys.cf.data.demo import write_demo_shop
from recsys.cf.data.prepare import prepare
from recsys.config.load import load_config
from recsys.pipeline.nightly import run_nightly
from recsys.storage.open import open_store
from recsys.storage.scratch import scratch_folder
from recsys.types import Json

# The nights that between them call every kernel with the types that a real night uses: the default search, then
# the other solver of ALS beside a champion. Few iterations: what counts is that each kernel runs once.
_NIGHTS = (
    ("als.iterations=2", "bpr.epochs=2"),
    ("als.iterations=2", "bpr.epochs=2", "als.solver=native", "bpr.preset=original"),
)


def compile_kernels() -> Json:
    """Return {"seconds", "compiled", "cached", "cache"} after small nights on a made-up shop.

    ``compiled`` counts what was compiled now, ``cached`` what numba found in ``cache``, the directories where it
    keeps the machine code (NUMBA_CACHE_DIR, or beside the modules). Machine code fits one kind of processor:
    elsewhere numba compiles anew. Takes about a minute where nothing is cached; touches no store but its own.
    """
    started = time.perf_counter()
    with scratch_folder("compile") as place, _environment(place):
        shop = write_demo_shop(place / "raw", size="small", seed=1)
        store = str(place / "store")
        prepare(open_store(store), shop.reviews, shop.products, load_config(None, []).data, seed=1)
        for settings in _NIGHTS:
            run_nightly(store, load_config(None, list(settings)))
    return {"seconds": round(time.perf_counter() - started, 1), **_cache_use()}


@contextmanager
def _environment(place: Path) -> Iterator[None]:
    """Keep the nights of the block away from the checkpoints and the metrics of real ones."""
    before = dict(os.environ)
    os.environ["RECSYS_STATE"] = str(place / "state")
    os.environ.pop("RECSYS_METRICS_FILE", None)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _cache_use() -> Mapping[str, object]:
    """Return what the dispatchers of all modules of recsys say about numba's cache in this process."""
    from numba.core.dispatcher import Dispatcher

    modules = [module for name, module in list(sys.modules.items()) if name.startswith("recsys.")]
    kernels = {
        id(found): found
        for module in modules
        for found in vars(module).values()
        if isinstance(found, Dispatcher)
    }
    stats = [kernel.stats for kernel in kernels.values()]
    return {
        "compiled": sum(sum(one.cache_misses.values()) for one in stats),
        "cached": sum(sum(one.cache_hits.values()) for one in stats),
        "cache": sorted({one.cache_path for one in stats if one.cache_path}),
    }
