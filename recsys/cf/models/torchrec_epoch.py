"""What every model's ranks do alike in an epoch: take their share of each batch, add up, tell the row of history.

Imports torch: only ranks import this file.
"""

import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.distributed as dist

from recsys.cf.models.memory import peak_memory_bytes
from recsys.cf.models.torchrec_job import Job
from recsys.cf.sampling.dual import KINDS
from recsys.cf.sampling.pools import NegativePools
from recsys.cf.sampling.shuffled import Sequence as TripletSequence
from recsys.cf.sampling.shuffled import Triplets, draw_places
from recsys.types import FloatMatrix, HistoryRow


def share_of(job: Job) -> int:
    """Return the triplets of a batch that one rank takes, at most."""
    n_ranks: int = dist.get_world_size()
    return -(-job.batch_size // n_ranks)


def own_triplets(
    pools: NegativePools, sequence: TripletSequence, job: Job, scored_by: Sequence[FloatMatrix] = ()
) -> Iterator[Triplets]:
    """Yield this rank's share of each batch of the sequence; on every rank as many, some of them empty.

    Args:
        pools: positives and pools of negatives.
        sequence: names the triplets.
        job: says how large a batch of all ranks is.
        scored_by: U and the items' matrix that adaptive draws score candidates by.
    """
    share = share_of(job)
    before = dist.get_rank() * share
    for batch in range(0, pools.n_positives * sequence.samples, job.batch_size):
        first = batch + before
        last = max(first, min(first + share, batch + job.batch_size))
        yield draw_places(pools, sequence, first, last, *scored_by)


class Tally:
    """What an epoch adds up over triplets, by this rank and then by all."""

    def __init__(self, names: Sequence[str], device: torch.device) -> None:
        """Start the clock; ``sums`` (len(names),) float64 is for the caller to add to."""
        self._started, self._names = time.perf_counter(), names
        self.sums = torch.zeros(len(names), dtype=torch.float64, device=device)
        self._counts, self._n_triplets = np.zeros(len(KINDS), dtype=np.int64), 0

    def count(self, triplets: Triplets) -> None:
        """Add triplets to the numbers of draws."""
        self._counts += triplets.counts
        self._n_triplets += len(triplets.users)

    def row(self, epoch: int) -> HistoryRow:
        """Return the row of a 0-based epoch over all ranks, each name's sum as a mean over triplets."""
        own = np.concatenate([[self._n_triplets, peak_memory_bytes()], self._counts]).astype(np.float64)
        told = torch.cat([self.sums, torch.from_numpy(own).to(self.sums.device)])
        dist.all_reduce(told)
        sums, rest = np.split(told.cpu().numpy(), [len(self._names)])
        means = (sums / max(int(rest[0]), 1)).tolist()
        shares = rest[2:] / max(rest[2:].sum(), 1)
        return {
            "epoch": epoch + 1,
            "seconds": time.perf_counter() - self._started,
            **dict(zip(self._names, means, strict=True)),
            "triplets": int(rest[0]),
            "peak_memory_bytes": int(rest[1]),  # of all ranks together; pages they share count for each
            **{f"share_{kind}": float(share) for kind, share in zip(KINDS, shares, strict=True)},
        }
