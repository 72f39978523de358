"""Adam for the rows of a sharded table that this rank owns. Imports torch: only ranks import this file.

FBGEMM has no Adam for the CPU. Its plain SGD can carry one: rows set to 0 before a backward pass of rate 1 hold
minus their gradient after it, added up over all triplets of all ranks. The owner reads it there and writes the rows
that Adam makes. Nobody sees rows in between: a shard is read by its own process alone, when the next lookup asks.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from recsys.cf.models.hybrid_adam import adam_step


class OwnedAdam:
    """One table's rows of this rank and their moments; a step costs what the rows that it names cost."""

    def __init__(self, values: Tensor, first: int, moments: Sequence[Tensor], learning_rate: float) -> None:
        """Take over tensors of one shape, (rows, columns).

        Args:
            values: the rank's rows of the table, which TorchRec looks up and moves.
            first: number of the first of them in the whole table.
            moments: decaying means of the gradients and of their squares.
            learning_rate: Adam's.
        """
        self._values, self.first, self._learning_rate = values, first, learning_rate
        self.moments = tuple(moments)
        self._taken, self._old = torch.zeros(0, dtype=torch.int64), values[:0]

    def take_out(self, asked: Tensor) -> None:
        """Set the rows of this rank among ``asked`` to 0, ready for a backward pass.

        ``asked`` are numbers in the whole table of all rows that any rank looked up; those of others, repeated ones
        and -1 do no harm.
        """
        own = asked - self.first
        self._taken = torch.unique(own[(own >= 0) & (own < len(self._values))])
        self._old = self._values.index_select(0, self._taken)
        self._values.index_fill_(0, self._taken, 0.0)

    def put_back(self, step: int) -> None:
        """Read the gradient out of the rows taken out and put the moved rows there; ``step`` counts from 1."""
        gradient = self._values.index_select(0, self._taken).neg_()
        tables = (self._values, *self.moments)
        state = torch.stack(
            [self._old, *(table.index_select(0, self._taken) for table in self.moments)], dim=1
        )
        adam_step(state, gradient, step, self._learning_rate)
        for table, rows in zip(tables, state.unbind(1), strict=True):
            table.index_copy_(0, self._taken, rows)
