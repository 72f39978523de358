"""HybridCFBERT over sharded tables, as each rank of TorchRec runs it. Imports torch: only ranks import this file."""

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from recsys.cf.models.hybrid import BATCH_SUMS
from recsys.cf.models.hybrid_adam import RowAdam
from recsys.cf.models.hybrid_fold import fold_items
from recsys.cf.models.hybrid_model import one_thread_product, triplet_loss
from recsys.cf.models.hybrid_start import MOMENTS, learning_rates
from recsys.cf.models.torchrec_adam import OwnedAdam
from recsys.cf.models.torchrec_epoch import Tally, own_triplets, share_of
from recsys.cf.models.torchrec_job import Job, JobFiles
from recsys.cf.models.torchrec_tables import ITEMS, USERS, ShardedTables, read_rows, write_rows
from recsys.cf.sampling.shuffled import Sequence, Triplets
from recsys.config.schema import HybridConfig
from recsys.rng import derive_seed
from recsys.types import FloatMatrix, HistoryRow, Json

PROJECTION, SERVED = "projection", "served_items"


class HybridRank:
    """One rank's part of a fit: its rows of U and V with their moments, and the projection, which every rank has.

    Memory: three times its rows of U and V, and nothing that grows with the rest; embeddings are mapped.
    """

    def __init__(self, job: Job, files: JobFiles, device: torch.device) -> None:
        self._job, self._files, self._device = job, files, device
        self._config = HybridConfig(**job.settings)
        self._pools, self._content = files.read_pools(job), files.map("content")
        self._share = share_of(job)
        shapes = {USERS: (job.n_users, self._config.factors), ITEMS: (job.n_items, self._config.factors)}
        self._tables = ShardedTables(files, shapes, self._share, device, torch.optim.SGD, lr=1.0)
        self._tables.set_learning_rate(1.0)  # what rows hold after a backward pass is minus the gradient
        rates = learning_rates(self._config, self._content.shape[1])
        self._adam = {name: self._owned(name, rates[name]) for name in shapes}
        parts = [torch.from_numpy(files.map(f"start_{part}{PROJECTION}")) for part in ("", *MOMENTS)]
        self._projection = RowAdam([part.to(device) for part in parts], rates[PROJECTION])
        self._steps, self._n_epochs = int(files.map("steps")), job.first_epoch

    def epoch(self, epoch: int) -> HistoryRow:
        """Apply one 0-based epoch together with the other ranks and return its row."""
        config, seed = self._config, self._job.seed
        tally = Tally(BATCH_SUMS, self._device)
        sequence = Sequence(
            config.negative_sampling,
            config.hard_negative_ratio,
            config.samples_per_epoch,
            key=derive_seed(seed, "hybrid", "epoch", epoch),
            order_key=derive_seed(seed, "hybrid", "order", epoch),
            candidates=config.adaptive_candidates,
        )
        scored_by = self._served() if config.negative_sampling == "adaptive" else ()
        for triplets in own_triplets(self._pools, sequence, self._job, scored_by):
            tally.sums += self._step(triplets)
            tally.count(triplets)
        self._n_epochs = epoch + 1
        row = tally.row(epoch)
        cf_loss, content_loss = float(row["cf_loss"] or 0.0), float(row["content_loss"] or 0.0)
        loss = config.cf_weight * cf_loss + config.content_weight * content_loss
        return {"epoch": row["epoch"], "seconds": row["seconds"], "loss": loss, **row}

    def largest(self) -> float:
        """Return the largest absolute value of this rank's rows and the projection; infinity for NaN."""
        largest = float(self._projection.parts[0].abs().max())
        return max(self._tables.largest(), largest if np.isfinite(largest) else float("inf"))

    def notes(self) -> Json:
        """Return what a checkpoint needs that no table holds."""
        return {"steps": self._steps}

    def export(self) -> None:
        """Write the tables, and where a checkpoint is due their moments, to the files' ``out_*``; wait for all."""
        parts = dict(zip(("", *MOMENTS), self._projection.parts, strict=True))
        if self._n_epochs in self._job.kept:
            for name, adam in self._adam.items():
                for part, moment in zip(MOMENTS, adam.moments, strict=True):
                    write_rows(self._files, f"{part}{name}", adam.first, moment)
        if dist.get_rank() == 0:  # of all ranks the same bits
            for part, tensor in parts.items():
                write_rows(self._files, f"{part}{PROJECTION}", 0, tensor)
        self._tables.export()

    def _step(self, triplets: Triplets) -> Tensor:
        """Do one step of Adam with the other ranks; return this rank's sums, those of ``HybridModel.step``."""
        user_rows, user = np.unique(triplets.users, return_inverse=True)
        item_rows, item = np.unique(
            np.concatenate([triplets.positives, triplets.negatives]), return_inverse=True
        )
        u, v = self._tables.look_up(user_rows, item_rows)
        for adam, asked in zip(self._adam.values(), self._asked(user_rows, item_rows), strict=True):
            adam.take_out(asked)
        u_gradient, v_gradient, p_gradient, sums = self._gradients(u, v, item_rows, user, item)
        self._tables.move(u_gradient, v_gradient)
        dist.all_reduce(p_gradient)
        self._steps += 1
        for adam in self._adam.values():
            adam.put_back(self._steps)
        self._projection.move_all(p_gradient, self._steps)
        return sums

    def _gradients(
        self,
        u: Tensor,
        v: Tensor,
        item_rows: NDArray[np.int32],
        user: NDArray[np.intp],
        item: NDArray[np.intp],
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the gradients of this rank's loss by its rows of U and V and by the projection, and its sums."""
        P = self._projection.parts[0]
        if not len(user):  # the batch ended before this rank's share
            sums = torch.zeros(len(BATCH_SUMS), dtype=torch.float64, device=self._device)
            return torch.zeros_like(u), torch.zeros_like(v), torch.zeros_like(P), sums
        factors = self._config.factors
        vectors = self._tensor(self._content[item_rows])
        own_u, own_v = (rows[:, :factors].clone().requires_grad_() for rows in (u, v))
        c = one_thread_product(vectors, P).requires_grad_()
        users, items = self._tensor(user), self._tensor(item).view(2, -1)
        loss = triplet_loss(own_u, own_v, c, users, items, self._config)
        u_gradient, v_gradient, c_gradient = torch.autograd.grad(loss.total, (own_u, own_v, c))
        margin = loss.margin
        sums = torch.stack([loss.cf, loss.content, (margin > 0).sum(), torch.sigmoid(-margin).sum()])
        unused = (0, u.shape[1] - factors)
        p_gradient = one_thread_product(vectors.T, c_gradient)
        return pad(u_gradient, unused), pad(v_gradient, unused), p_gradient, sums.to(torch.float64)

    def _asked(self, user_rows: NDArray[np.int32], item_rows: NDArray[np.int32]) -> tuple[Tensor, Tensor]:
        """Return the rows of U and of V that all ranks look up in this step, with repetitions and -1."""
        share = self._share
        own = np.full(3 * share, -1, dtype=np.int64)
        own[: len(user_rows)] = user_rows
        own[share : share + len(item_rows)] = item_rows
        everybody = [
            torch.empty(3 * share, dtype=torch.int64, device=self._device)
            for _ in range(dist.get_world_size())
        ]
        dist.all_gather(everybody, self._tensor(own))
        asked = torch.stack(everybody)
        return asked[:, :share].flatten(), asked[:, share:].flatten()

    def _served(self) -> tuple[FloatMatrix, FloatMatrix]:
        """Return U and the items as they would be served now, mapped; each rank folds its own rows."""
        first, rows = self._tables.owned(ITEMS)
        own = rows[:, : self._config.factors].cpu().numpy()
        P = np.ascontiguousarray(self._projection.parts[0].cpu().numpy())
        folded = fold_items(own, self._content[first : first + len(own)], P, self._config)
        write_rows(self._files, SERVED, first, torch.from_numpy(folded))
        self._tables.export()
        return self._files.map(f"out_{USERS}"), self._files.map(f"out_{SERVED}")

    def _owned(self, name: str, learning_rate: float) -> OwnedAdam:
        first, rows = self._tables.owned(name)
        moments = [torch.empty_like(rows) for _ in MOMENTS]
        for part, moment in zip(MOMENTS, moments, strict=True):
            read_rows(self._files.map(f"start_{part}{name}"), first, moment)
        return OwnedAdam(rows, first, moments, learning_rate)

    def _tensor(self, array: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(np.array(array)).to(self._device)
