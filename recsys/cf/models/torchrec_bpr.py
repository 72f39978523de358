"""BPR over sharded tables, as each rank of TorchRec runs it. Imports torch: only ranks import this file."""

import torch
from torch import Tensor
from torch.nn.functional import softplus

from recsys.cf.models.bpr import learning_rate_at, regularization_of, samples_of_parts
from recsys.cf.models.bpr_kernel import HARDNESS, LOSS, ORDERED, Regularization
from recsys.cf.models.torchrec_epoch import Tally, own_triplets, share_of
from recsys.cf.models.torchrec_job import Job, JobFiles
from recsys.cf.models.torchrec_tables import ITEMS, USERS, ShardedTables
from recsys.cf.sampling.shuffled import Sequence
from recsys.config.schema import BprConfig
from recsys.rng import derive_seed
from recsys.types import FloatMatrix, HistoryRow, Json

_SUMS = ("loss", "hardness", "ordered_share")  # by LOSS, HARDNESS, ORDERED


class BprRank:
    """One rank's part of a fit: its share of every batch of triplets."""

    def __init__(self, job: Job, files: JobFiles, device: torch.device) -> None:
        self._job, self._config = job, BprConfig(**job.settings)
        self._pools = files.read_pools(job)
        self._regularization = regularization_of(self._config)
        columns = self._config.factors + int(self._config.item_bias)
        shapes = {USERS: (job.n_users, columns), ITEMS: (job.n_items, columns)}
        self._device = device
        self._tables = ShardedTables(files, shapes, share_of(job), device, torch.optim.SGD, lr=1.0)

    def epoch(self, epoch: int) -> HistoryRow:
        """Apply one 0-based epoch together with the other ranks and return its row."""
        config, tally = self._config, Tally(_SUMS, self._device)
        learning_rate = learning_rate_at(config, epoch)
        self._tables.set_learning_rate(learning_rate)
        for part, samples in enumerate(samples_of_parts(config)):
            self._part(epoch, part, samples, tally)
        return {**tally.row(epoch), "learning_rate": learning_rate}

    def largest(self) -> float:
        """Return the largest absolute value in the rows of this rank; infinity for NaN."""
        return self._tables.largest()

    def notes(self) -> Json:
        """Return what a checkpoint needs that no table holds: nothing, as SGD has no memory."""
        return {}

    def export(self) -> None:
        """Write U and V to the files' ``out_*`` and wait until all ranks have."""
        self._tables.export()

    def _part(self, epoch: int, part: int, samples: int, tally: Tally) -> None:
        """Apply a part of an epoch and add to its tally."""
        config, job = self._config, self._job
        sequence = Sequence(
            config.negative_sampling,
            config.hard_negative_ratio,
            samples,
            key=derive_seed(job.seed, "bpr", "epoch", epoch, part),
            order_key=derive_seed(job.seed, "bpr", "order", epoch, part),
            candidates=config.adaptive_candidates,
        )
        now: tuple[FloatMatrix, ...] = ()
        if config.negative_sampling == "adaptive":
            self._tables.export()  # candidates are scored by the factors as they are when the part begins
            now = self._tables.exported()
        for triplets in own_triplets(self._pools, sequence, job, now):
            u, v = self._tables.rows(triplets.users, triplets.positives, triplets.negatives)
            self._tables.move(*gradients(u, v, self._regularization, config, tally.sums))
            tally.count(triplets)


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
