"""Adam for tables of which a step sees few rows."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

_MEAN_DECAY, _SQUARE_DECAY, _EPSILON = 0.9, 0.999, 1e-8


class Rows(NamedTuple):
    """Some rows of a table on their way through a step: a copy, and where they come from."""

    indices: Tensor  # (rows,), distinct
    state: Tensor  # (rows, 3, columns): values, mean and square

    @property
    def values(self) -> Tensor:
        """The values, (rows, columns): a view."""
        return self.state[:, 0]


class RowAdam:
    """A table and its moments, updated row by row: rows that a step does not name stay as they are.

    The same numbers as torch's SparseAdam, without its sparse tensors; with all rows named, those of Adam
    (Kingma and Ba 2015, "Adam", the variant at the end of section 2). A row lies in memory beside its moments, so
    that a step fetches and stores each row once.
    """

    def __init__(self, parts: Sequence[Tensor], learning_rate: float) -> None:
        """Copy ``parts``, three matrices of one shape as the property has them; a new table's moments are zero."""
        self._state = torch.stack(list(parts), dim=1)
        self.learning_rate = learning_rate

    @property
    def parts(self) -> tuple[Tensor, Tensor, Tensor]:
        """Values, decaying mean of the gradients, decaying mean of their squares: (rows, columns) each, views."""
        values, mean, square = self._state.unbind(1)
        return values, mean, square

    def fetch(self, indices: Tensor) -> Rows:
        """Return these rows, distinct, for a step."""
        return Rows(indices, self._state.index_select(0, indices))

    def store(self, rows: Rows, gradient: Tensor, step: int) -> None:
        """Move the fetched rows against their gradient; ``step`` counts from 1."""
        adam_step(rows.state, gradient, step, self.learning_rate)
        self._state.index_copy_(0, rows.indices, rows.state)

    def move_all(self, gradient: Tensor, step: int) -> None:
        """Move the whole table against its gradient."""
        adam_step(self._state, gradient, step, self.learning_rate)


def adam_step(state: Tensor, gradient: Tensor, step: int, learning_rate: float) -> None:
    """Move rows in place against their gradient; ``state`` (rows, 3, columns): values, mean, square."""
    values, mean, square = state.unbind(1)
    mean.lerp_(gradient, 1 - _MEAN_DECAY)
    square.mul_(_SQUARE_DECAY).addcmul_(gradient, gradient, value=1 - _SQUARE_DECAY)
    # both corrections of the bias in the rate, as SparseAdam has them
    rate = learning_rate * (1 - _SQUARE_DECAY**step) ** 0.5 / (1 - _MEAN_DECAY**step)
    values.addcdiv_(mean, square.sqrt().add_(_EPSILON), value=-rate)
