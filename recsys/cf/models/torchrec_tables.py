"""Tables cut by rows over the ranks of TorchRec: made, filled from files, looked up, moved, written to files.

Imports torch and torchrec: only ranks import this file.
"""

import logging
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor
from torch.distributed.optim.apply_optimizer_in_backward import (
    _apply_optimizer_in_backward as apply_in_backward,
)
from torchrec import EmbeddingCollection, EmbeddingConfig, KeyedJaggedTensor
from torchrec.distributed import DistributedModelParallel
from torchrec.distributed.comm_ops import set_gradient_division
from torchrec.distributed.embedding import EmbeddingCollectionSharder
from torchrec.distributed.planner import EmbeddingShardingPlanner
from torchrec.distributed.planner.types import (
    KernelConfig,
    ParameterConstraints,
    TopologyFactory,
    TrainerConfig,
)

from recsys.cf.models.torchrec_job import JobFiles
from recsys.config.settings import free_memory_bytes
from recsys.types import FloatMatrix, IndexVector

USERS, ITEMS = "user_factors", "item_factors"
_LANE = 4  # FBGEMM wants columns in fours
_ROWS_AT_A_TIME = 65_536  # copied between files and shards
_LOOKUPS = {USERS: 1, ITEMS: 2}  # rows of a triplet

# TorchRec divides gradients by the number of ranks, as if the loss were a mean over them. Ours is a sum over
# triplets, so that a step is the same at any number of ranks; divided, two ranks would learn at half the rate.
set_gradient_division(False)
logging.getLogger("torchrec").setLevel(logging.ERROR)


class ShardedTables:
    """U and V of one fit, float32, row-wise over the ranks; padded columns are zero and stay so.

    A step is ``rows`` and then ``move``, by all ranks together. The optimizer runs inside TorchRec's backward pass,
    where gradients of a row that several triplets name are added up first.
    """

    def __init__(
        self,
        files: JobFiles,
        shapes: Mapping[str, tuple[int, int]],
        share: int,
        device: torch.device,
        optimizer: type[torch.optim.Optimizer],
        **settings: float,
    ) -> None:
        """Make tables of these shapes, filled from ``start_*`` of the files; ``share``: triplets of a rank."""
        self._files, self._shapes, self._share, self._device = files, dict(shapes), share, device
        self._model = _sharded(self._shapes, share, device, optimizer, settings)
        self._parts = {
            name: self._model.state_dict()[f"embeddings.{name}.weight"].local_shards() for name in shapes
        }
        for name in shapes:
            self._fill(name, files.map(f"start_{name}"))
        self._looked_up: list[Tensor] = []

    def set_learning_rate(self, learning_rate: float) -> None:
        """Let the next steps move rows by this rate."""
        optimizer = self._model.fused_optimizer
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
        optimizer.zero_grad()  # hands the rate on; there are no gradients between steps

    def rows(
        self, users: IndexVector, positives: IndexVector, negatives: IndexVector
    ) -> tuple[Tensor, Tensor]:
        """Return U's rows (n, columns) and V's (n, 2, columns): positive, negative; n may differ by rank."""
        u, v = self.look_up(users, np.stack([positives, negatives], axis=1).ravel())
        return u, v.view(len(u), 2, v.shape[1])

    def look_up(self, users: NDArray[Any], items: NDArray[Any]) -> tuple[Tensor, Tensor]:
        """Return these rows of U and of V, (n, columns) each; both n may differ by rank."""
        features = KeyedJaggedTensor(
            keys=[USERS, ITEMS],
            values=torch.from_numpy(np.concatenate([users, items]).astype(np.int64)).to(self._device),
            lengths=torch.from_numpy(np.concatenate([self._spread(len(users)), self._spread(len(items))])).to(
                self._device
            ),
            stride=self._share,
        )
        found = self._model(features)
        self._looked_up = [found[name].values() for name in (USERS, ITEMS)]
        u, v = (rows.detach() for rows in self._looked_up)
        return u, v

    def move(self, user_gradient: Tensor, item_gradient: Tensor) -> None:
        """Send the gradients of the rows last looked up to their owners, who move the rows against them."""
        u, v = self._looked_up
        torch.autograd.backward([u, v], [user_gradient, item_gradient.view_as(v)])

    def owned(self, name: str) -> tuple[int, Tensor]:
        """Return the first of this rank's rows of a table, and them: what is written there counts."""
        (shard,) = self._parts[name]
        # .data: autograd's guard must not see writes between forward and backward, which reads no old values
        return int(shard.metadata.shard_offsets[0]), shard.tensor.data

    def _spread(self, n: int) -> NDArray[np.int32]:
        """Return how many lookups each place of the batch gets: TorchRec wants n of them shared out."""
        counts = np.full(self._share, n // self._share, dtype=np.int32)
        counts[: n % self._share] += 1
        return counts

    def largest(self) -> float:
        """Return the largest absolute value in the rows of this rank; infinity for NaN."""
        values = [shard.tensor.abs().max() for shards in self._parts.values() for shard in shards]
        largest = float(torch.stack(values).max()) if values else 0.0
        return largest if np.isfinite(largest) else float("inf")

    def export(self) -> None:
        """Write the rows of every rank to the files' ``out_*`` and wait until all have."""
        for name, shards in self._parts.items():
            for shard in shards:
                write_rows(self._files, name, shard.metadata.shard_offsets[0], shard.tensor)
        dist.barrier()

    def exported(self) -> tuple[FloatMatrix, FloatMatrix]:
        """Return U and V as last exported, mapped."""
        return self._files.map(f"out_{USERS}"), self._files.map(f"out_{ITEMS}")

    def _fill(self, name: str, start: NDArray[Any]) -> None:
        for shard in self._parts[name]:
            read_rows(start, shard.metadata.shard_offsets[0], shard.tensor)


def read_rows(start: NDArray[Any], first: int, rows: Tensor) -> None:
    """Fill a rank's rows, from ``first`` on, out of a whole matrix; padded columns become 0."""
    rows.zero_()
    for begin, end in _pieces(len(rows)):
        piece = torch.from_numpy(np.array(start[first + begin : first + end]))
        rows[begin:end, : start.shape[1]].copy_(piece)


def write_rows(files: JobFiles, name: str, first: int, rows: Tensor) -> None:
    """Write a rank's rows, from ``first`` on, to a table's ``out_*`` without padded columns."""
    out = files.out(name)
    for begin, end in _pieces(len(rows)):
        out[first + begin : first + end] = rows[begin:end, : out.shape[1]].cpu().numpy()
    if os.environ.get("LOCAL_WORLD_SIZE") != os.environ.get("WORLD_SIZE"):
        out.flush()  # other hosts read it


def _sharded(
    shapes: Mapping[str, tuple[int, int]],
    share: int,
    device: torch.device,
    optimizer: type[torch.optim.Optimizer],
    settings: Mapping[str, float],
) -> DistributedModelParallel:
    tables = [
        EmbeddingConfig(
            name=name,
            embedding_dim=-(-columns // _LANE) * _LANE,
            num_embeddings=rows,
            feature_names=[name],
        )
        for name, (rows, columns) in shapes.items()
    ]
    # meta: the whole table is never allocated, each rank makes its rows
    collection = EmbeddingCollection(tables=tables, device=torch.device("meta"))
    apply_in_backward(optimizer, collection.parameters(), dict(settings))
    sharder = EmbeddingCollectionSharder()
    constraints = {
        name: ParameterConstraints(
            sharding_types=["row_wise"], compute_kernels=["fused"], pooling_factors=[float(_LOOKUPS[name])]
        )
        for name in shapes
    }
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    topology = TopologyFactory.create_topology(
        TrainerConfig(
            world_size=dist.get_world_size(),
            local_world_size=local,
            ddr_cap_bytes=max(1, free_memory_bytes() // local),
        ),
        kernel_config=KernelConfig(compute_device=device.type),
    )
    planner = EmbeddingShardingPlanner(topology=topology, batch_size=share, constraints=constraints)
    plan = planner.collective_plan(collection, [sharder], dist.group.WORLD)
    return DistributedModelParallel(collection, device=device, plan=plan, sharders=[sharder])


def _pieces(n_rows: int) -> list[tuple[int, int]]:
    return [(start, min(start + _ROWS_AT_A_TIME, n_rows)) for start in range(0, n_rows, _ROWS_AT_A_TIME)]
