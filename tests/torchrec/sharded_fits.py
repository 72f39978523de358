"""What the tests of TorchRec share: when they run, and a fit with little to say."""

import importlib.util

import pytest
from shops import pools_of, random_positives

from recsys.cf.models.base import FitControl
from recsys.cf.models.torchrec_fit import fit_bpr_torchrec
from recsys.config.schema import BprConfig, TorchRecConfig

needs_torchrec = pytest.mark.skipif(
    importlib.util.find_spec("torchrec") is None or importlib.util.find_spec("fbgemm_gpu") is None,
    reason="this environment has no torchrec: make test-torchrec runs these tests in one that has",
)


def little_pools():
    """Return pools with users of every kind of negative."""
    positives = random_positives(150, 40, 6, seed=1)
    explicit = [[u % 40] if u % 3 == 0 and not positives[u, u % 40] else [] for u in range(150)]
    implicit = [[(u + 7) % 40] if u % 2 == 0 and not positives[u, (u + 7) % 40] else [] for u in range(150)]
    return pools_of(positives, explicit, implicit)


def little_config(**settings):
    """Return settings of a fit of few short epochs."""
    return BprConfig(**{"factors": 6, "epochs": 3, "samples_per_epoch": 2, "init_std": 0.1, **settings})


def sharded_fit(pools, config, ranks=2, batch_size=64, validate=None, **control):
    """Return the fit by TorchRec with seed 3."""
    settings = TorchRecConfig(ranks=ranks, batch_size=batch_size)
    return fit_bpr_torchrec(
        pools, config, settings=settings, seed=3, validate=validate, control=FitControl(**control)
    )
