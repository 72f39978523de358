"""A small data version as stored bytes, and stores in which some of them are forged; for tests of damage."""

import hashlib
import io
import json

import numpy as np
import polars as pl
import pytest
from scipy.sparse import load_npz, save_npz

from recsys.cf.data.demo import write_demo_shop
from recsys.cf.data.prepare import prepare
from recsys.cf.data.version import list_versions
from recsys.config.schema import DataConfig
from recsys.storage.memory import MemoryStore


@pytest.fixture(scope="session")
def contents(tmp_path_factory):
    """Return the objects of a store with one version; not to be changed."""
    shop = write_demo_shop(
        tmp_path_factory.mktemp("shop"), size="small", seed=1, users=400, interactions=2_500
    )
    store = MemoryStore()
    prepare(store, shop.reviews, shop.products, DataConfig(), seed=1)
    return {info.key: store.get(info.key).data for info in store.list()}


def filled(contents):
    """Return a store of these objects."""
    store = MemoryStore()
    for key, data in contents.items():
        store.put_new(key, data)
    return store


def key_of(store, name):
    """Return the key of a file of the only version."""
    return f"data/versions/{list_versions(store)[0].version}/{name}"


def read(store, name):
    """Return the bytes of a file of the only version."""
    return store.get(key_of(store, name)).data


def content(contents, name):
    """Return the bytes of a file among the objects."""
    return next(data for key, data in contents.items() if key.endswith(f"/{name}"))


def forge(store, name, data):
    """Replace a file and its hash in the manifest, as a bug in preparation would."""
    manifest = json.loads(read(store, "manifest.json"))
    manifest["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    store.overwrite(key_of(store, name), data)
    store.overwrite(key_of(store, "manifest.json"), json.dumps(manifest).encode())


def forged(contents, changes):
    """Return a store in which files are replaced and the manifest says that they should be so."""
    store = filled(contents)
    for name, data in changes.items():
        forge(store, name, data)
    return store


def forge_frame(store, name, change):
    """Forge a Parquet file by a function of its frame."""
    out = io.BytesIO()
    change(pl.read_parquet(io.BytesIO(read(store, name)))).write_parquet(out)
    forge(store, name, out.getvalue())


def forge_matrix(store, name, change):
    """Forge a sparse matrix by a function that changes it in place."""
    matrix = load_npz(io.BytesIO(read(store, name)))
    change(matrix)
    out = io.BytesIO()
    save_npz(out, matrix)
    forge(store, name, out.getvalue())


def forge_arrays(store, name, **changes):
    """Forge arrays of an archive by functions of each."""
    arrays = dict(np.load(io.BytesIO(read(store, name))))
    out = io.BytesIO()
    np.savez(out, **{**arrays, **{key: change(arrays[key]) for key, change in changes.items()}})
    forge(store, name, out.getvalue())


def forge_array(store, name, change):
    """Forge a single array by a function of it."""
    out = io.BytesIO()
    np.save(out, change(np.load(io.BytesIO(read(store, name)))))
    forge(store, name, out.getvalue())
