"""What `recsys plan` predicts beside what happens: each stage in a process of its own, its peak read from Linux."""

import pytest
from memory_growth import run_measured

from recsys.config.schema import TrainingConfig
from recsys.planning import memory
from recsys.planning.sizes import Sizes

USERS, ITEMS, ROWS, THREADS = 120_000, 10_000, 1_200_000, 2
CONFIG = TrainingConfig()
_SHOP = """
import sys
import numpy as np
from scipy.sparse import csr_matrix
from recsys.cf.data.dataset import HardNegatives, UserItemSets
from recsys.cf.evaluation.evaluate import validate
from recsys.cf.models.base import FitControl
from recsys.cf.models.threads import use_compiled_threads
from recsys.config.schema import AlsConfig, BprConfig
users, items, rows, threads = map(int, sys.argv[1:5])

def shop(users, items, rows):
    random = np.random.default_rng(0)
    pairs = np.unique(random.integers(0, users, rows) * items + (items * random.random(rows) ** 2).astype(np.int64))
    structure = (pairs % items).astype(np.int32), np.searchsorted(pairs, np.arange(users + 1) * items)
    return csr_matrix((np.full(len(pairs), 5, np.float32), *structure), (users, items))

def looks_at(matrix):
    "Validation of the first thousand users, who are held to like the first item."
    n_users, n_asked = matrix.shape[0], min(matrix.shape[0], 1000)
    indptr = np.minimum(np.arange(n_users + 1), n_asked).astype(np.int64)
    held_out, seen = UserItemSets(indptr, np.zeros(n_asked, np.int32)), seen_in(matrix)
    return lambda factors: validate(factors, held_out, seen, 10)

def seen_in(matrix):
    return UserItemSets(matrix.indptr.astype(np.int64), matrix.indices)

use_compiled_threads(threads)
control = FitControl(threads=lambda: threads)
matrix = shop(users, items, rows)
"""
_ALS = """
from recsys.cf.models.als_train import train_als
config = AlsConfig(solver=sys.argv[5], iterations=2, regularization=1.0)
small = shop(300, 200, 3000)
train_als(small, small, config, seed=0, validate=looks_at(small), control=control)  # compiled, imported
with Growth() as fit:
    train_als(matrix, matrix, config, seed=0, validate=looks_at(matrix), control=control)
tell(peak=fit.peak, entries=matrix.nnz)
"""
_BPR = """
from recsys.cf.models.bpr import fit_bpr
from recsys.cf.sampling.pools import build_pools

def pools_of(matrix):
    seen = seen_in(matrix)
    none = UserItemSets(np.zeros_like(seen.indptr), matrix.indices[:0])
    return build_pools(matrix, seen, HardNegatives(none, none), np.ones(matrix.shape[1], np.float32))

config = BprConfig(epochs=2, validate_every=1)  # the second epoch beside the best of the first
small = shop(300, 200, 3000)
fit_bpr(pools_of(small), config, seed=0, validate=looks_at(small), control=control)
with Growth() as fit:
    fit_bpr(pools_of(matrix), config, seed=0, validate=looks_at(matrix), control=control)
tell(peak=fit.peak, entries=matrix.nnz)
"""


def within(share, measured, predicted):
    """Say whether the prediction is off by that share of what was measured at most."""
    assert measured * (1 - share) <= predicted <= measured * (1 + share), (
        f"measured {measured / 1e6:.0f} MB, predicted {predicted / 1e6:.0f} MB"
    )


@pytest.mark.parametrize("solver", ["implicit", "native"])
def test_the_memory_of_als_is_as_predicted(solver):
    found = run_measured(_SHOP + _ALS, USERS, ITEMS, ROWS, THREADS, solver)
    config = CONFIG.als.model_copy(update={"solver": solver})
    within(0.2, found["peak"], memory.als_bytes(USERS, ITEMS, int(found["entries"]), config, THREADS))


def test_the_memory_of_bpr_is_as_predicted():
    found = run_measured(_SHOP + _BPR, USERS, ITEMS, ROWS, THREADS)
    predicted = memory.bpr_bytes(USERS, ITEMS, int(found["entries"]), CONFIG.bpr, THREADS)
    within(0.2, found["peak"], predicted)


def test_the_memory_of_preparing_and_loading_is_as_predicted(tmp_path):
    found = run_measured(
        """
        import sys
        from pathlib import Path
        import recsys.pipeline.nightly  # what a night imports
        from recsys.cf.data.demo import write_demo_shop
        from recsys.cf.data.prepare import prepare
        from recsys.config.schema import DataConfig
        from recsys.storage.local import LocalStore
        place = Path(sys.argv[1])
        write_demo_shop(place / "raw", size="spec", seed=1)
        made = prepare(LocalStore(place / "store"), place / "raw" / "reviews.csv", None, DataConfig(), seed=0)
        tell(users=made.users, items=made.items, rows=made.rows_out, train=made.train)
        """,
        tmp_path,
    )
    users, items, rows, train = (int(found[name]) for name in ("users", "items", "rows", "train"))
    loading = run_measured(
        """
        import sys
        import recsys.pipeline.nightly
        from recsys.cf.data.load import load_processed_data
        from recsys.storage.local import LocalStore
        with Growth() as loading:
            load_processed_data(LocalStore(sys.argv[1]))
        tell(before=loading.before, peak=loading.peak)
        """,
        tmp_path / "store",
    )
    sizes = Sizes(users, items, train, int(0.8 * train), rows - train)
    pool = CONFIG.data.top_popular_items
    within(
        0.25,  # a third of it is what libraries set up, which differs among machines
        memory.INTERPRETER_BYTES + loading["peak"],
        memory.INTERPRETER_BYTES + memory.load_bytes(sizes, pool),
    )
    # half of it are pages of libraries, whose number depends on kernel and page cache
    within(0.35, loading["before"], memory.INTERPRETER_BYTES)
