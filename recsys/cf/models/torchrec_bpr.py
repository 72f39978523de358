"""BPR over sharded tables, as each rank of TorchRec runs it. Imports torch: only ranks import this file."""

import time
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import softplus

from recsys.cf.models.bpr import learning_rate_at, regularization_of, samples_of_parts
from recsys.cf.models.bpr_kernel import HARDNESS, LOSS, ORDERED, Regularization
from recsys.cf.models.memory import peak_memory_bytes
from recsys.cf.models.torchrec_job import Job, JobFiles
from recsys.cf.models.torchrec_tables import ITEMS, USERS, ShardedTables
from recsys.cf.sampling.dual import KINDS
from recsys.cf.sampling.shuffled import Sequence, draw_places
from recsys.config.schema import BprConfig
from recsys.rng import derive_seed
from recsys.types import HistoryRow


class BprRank:
    """One rank's part of a fit: its share of every batch of triplets."""

    def __init__(self, job: Job, files: JobFiles, device: torch.device) -> None:
        self._job, self._config = job, BprConfig(**job.settings)
        self._pools = files.read_pools(job)
        self._share = -(-job.batch_size // dist.get_world_size())
        self._regularization = regularization_of(self._config)
        columns = self._config.factors + int(self._config.item_bias)
        shapes = {USERS: (job.n_users, columns), ITEMS: (job.n_items, columns)}
        self._device = device
        self.tables = ShardedTables(files, shapes, self._share, device, torch.optim.SGD, lr=1.0)

    def epoch(self, epoch: int) -> HistoryRow:
        """Apply one 0-based epoch together with the other ranks and return its row."""
        started, config = time.perf_counter(), self._config
        learning_rate = learning_rate_at(config, epoch)
        self.tables.set_learning_rate(learning_rate)
        sums = torch.zeros(3, dtype=torch.float64, device=self._device)
        counts, n_triplets = np.zeros(len(KINDS), dtype=np.int64), 0
        for part, samples in enumerate(samples_of_parts(config)):
            drawn, n = self._part(epoch, part, samples, sums)
            counts += drawn
            n_triplets += n
        told = self._told(sums, counts, n_triplets)
        n_all = max(int(told[3]), 1)
        shares = told[5:] / max(told[5:].sum(), 1)
        return {
            "epoch": epoch + 1,
            "seconds": time.perf_counter() - started,
            "loss": float(told[LOSS] / n_all),
            "ordered_share": float(told[ORDERED] / n_all),
            "hardness": float(told[HARDNESS] / n_all),
            "learning_rate": learning_rate,
            "triplets": int(told[3]),
            "peak_memory_bytes": int(told[4]),  # of all ranks together; pages they share count for each
            **{f"share_{kind}": float(share) for kind, share in zip(KINDS, shares, strict=True)},
        }

    def _part(self, epoch: int, part: int, samples: int, sums: Tensor) -> tuple[NDArray[np.int64], int]:
        """Apply a part of an epoch; add to ``sums``; return this rank's draws of each kind and its triplets."""
        config, job = self._config, self._job
        sequence = Sequence(
            config.negative_sampling,
            config.hard_negative_ratio,
            samples,
            key=derive_seed(job.seed, "bpr", "epoch", epoch, part),
            order_key=derive_seed(job.seed, "bpr", "order", epoch, part),
            candidates=config.adaptive_candidates,
        )
        now: tuple[Any, ...] = ()
        if config.negative_sampling == "adaptive":
            self.tables.export()  # candidates are scored by the factors as they are when the part begins
            now = self.tables.exported()
        counts, n_triplets = np.zeros(len(KINDS), dtype=np.int64), 0
        before = dist.get_rank() * self._share
        for batch in range(0, self._pools.n_positives * samples, job.batch_size):
            first = batch + before
            last = max(first, min(first + self._share, batch + job.batch_size))
            triplets = draw_places(self._pools, sequence, first, last, *now)
            u, v = self.tables.rows(triplets.users, triplets.positives, triplets.negatives)
            self.tables.move(*gradients(u, v, self._regularization, config, sums))
            counts += triplets.counts
            n_triplets += len(triplets.users)
        return counts, n_triplets

    def _told(self, sums: Tensor, counts: NDArray[np.int64], n_triplets: int) -> NDArray[np.float64]:
        """Return the sums of all ranks: the three of the loss, triplets, peak memory, draws of each kind."""
        own = np.concatenate([[n_triplets, peak_memory_bytes()], counts]).astype(np.float64)
        told = torch.cat([sums, torch.from_numpy(own).to(self._device)])
        dist.all_reduce(told)
        return np.asarray(told.cpu().numpy(), dtype=np.float64)


def gradients(
    u: Tensor, v: Tensor, regularization: Regularization, config: BprConfig, sums: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the gradients of the batch's loss by the rows of U and V, what ``bpr_kernel.run_epoch`` steps along.

    The loss is a sum over triplets, -log sigmoid(x) + the three rows' squared lengths times their weight / 2,
    with x = u . (v_i - v_j): of a row that several triplets name the gradients add up.

    Args:
        u: (n, columns) rows of U.
        v: (n, 2, columns) rows of V: positive, negative.
        regularization: weights of the three rows.
        config: says how many columns are factors, and whether one is a bias.
        sums: gets the sums of -log sigmoid(x), sigmoid(-x) and (x > 0) added.
    """
    difference = v[:, 0] - v[:, 1]
    if config.item_bias:
        u = u.clone()
        u[:, config.factors] = 1.0
    x = (u * difference).sum(1)
    steepness = torch.sigmoid(-x)
    pull = steepness[:, None] * u
    v_gradient = torch.stack(
        [regularization.positive * v[:, 0] - pull, regularization.negative * v[:, 1] + pull], dim=1
    )
    u_gradient = regularization.user * u - steepness[:, None] * difference
    if config.item_bias:
        u_gradient[:, config.factors] = 0.0  # the constant 1 of every user
    sums[LOSS] += softplus(-x).sum(dtype=torch.float64)
    sums[HARDNESS] += steepness.sum(dtype=torch.float64)
    sums[ORDERED] += (x > 0).sum()
    return u_gradient, v_gradient
