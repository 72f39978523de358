"""HybridCFBERT in torch: two tables and a projection, the loss of a minibatch, and the steps that lower it.

Imports torch: only ``recsys.cf.models.hybrid`` imports this file, when a fit starts.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import embedding, logsigmoid

from recsys.cf.models.hybrid_adam import RowAdam
from recsys.cf.models.hybrid_start import MOMENTS, TABLES, learning_rates
from recsys.config.schema import HybridConfig
from recsys.types import Factors, FloatMatrix, IndexVector


class TripletLoss(NamedTuple):
    """The loss of some triplets and what it is made of, all sums; tensors of no dimension but ``margin``."""

    total: Tensor
    cf: Tensor
    content: Tensor
    margin: Tensor  # (triplets,): difference of the served scores, positive - negative


def triplet_loss(
    users: Tensor, items: Tensor, contents: Tensor, user: Tensor, item: Tensor, config: HybridConfig
) -> TripletLoss:
    """Return cf_weight * cf + content_weight * content + regularization / 2 * the rows' squared lengths.

    With u, v, c the rows of ``users``, ``items`` and ``contents`` (the projected embeddings):
    cf = sum of -log sigmoid(u . (v_i - v_j)), content = sum of -log sigmoid(u . (c_i - c_j)), and every triplet
    adds |u|^2 + |v_i|^2 + |v_j|^2 + |c_i|^2 + |c_j|^2, as in BPR. Differentiable in the three matrices.

    Args:
        users, items, contents: rows that the triplets name, (rows, factors).
        user: row of each triplet's user, int64 (triplets,).
        item: rows of the positives, then of the negatives, int64 (2, triplets).
    """
    u = embedding(user, users).unsqueeze(1)
    both = torch.cat([items, contents], dim=1)
    positive, negative = embedding(item, both)
    difference = (positive - negative).view(len(u), 2, -1)
    cf_margin, content_margin = (u * difference).sum(2).unbind(1)
    cf, content = -logsigmoid(cf_margin).sum(), -logsigmoid(content_margin).sum()
    lengths = _visits(user, users) @ users.square().sum(1) + _visits(item, items) @ both.square().sum(1)
    total = config.cf_weight * cf + config.content_weight * content + 0.5 * config.regularization * lengths
    margin = config.cf_weight * cf_margin + config.content_weight * content_margin
    return TripletLoss(total, cf.detach(), content.detach(), margin.detach())


def _visits(indices: Tensor, rows: Tensor) -> Tensor:
    """Return how often each of the rows is named, as numbers of their kind."""
    return torch.bincount(indices.flatten(), minlength=len(rows)).to(rows.dtype)


class HybridModel:
    """The state of a fit on one device: what is learned and its optimizers.

    A step moves only the rows that its triplets name, so it costs the same at any number of users and items.
    """

    def __init__(
        self, start: Mapping[str, NDArray[Any]], content: FloatMatrix, config: HybridConfig, device: str
    ) -> None:
        """Take over arrays as ``start_arrays`` or ``arrays`` gives them; ``content`` (n_items, d) is read only."""
        self.config = config
        self.device = torch.device("cuda" if device == "gpu" else "cpu")
        self.content = self._tensor(content)
        rates = learning_rates(config, content.shape[1])
        self.steps = int(start["steps"])
        self.tables = {
            name: RowAdam([self._tensor(start[f"{part}{name}"]) for part in ("", *MOMENTS)], rates[name])
            for name in TABLES
        }

    def step(self, users: IndexVector, positives: IndexVector, negatives: IndexVector) -> list[float]:
        """Lower the loss of these triplets by one step of Adam; return sums over them as they were before.

        Sums: loss of the collaborative part, loss of the content part, triplets that the served score puts in
        order, sigmoid of that score's difference, negative - positive.
        """
        U, V, P = (self.tables[name] for name in TABLES)
        user_rows, user = self._distinct(users)
        item_rows, item = self._distinct(np.concatenate([positives, negatives]))
        fetched = U.fetch(user_rows), V.fetch(item_rows)
        vectors = self.content.index_select(0, item_rows)
        u, v = (rows.values.clone().requires_grad_() for rows in fetched)
        c = one_thread_product(vectors, P.parts[0]).requires_grad_()
        loss = triplet_loss(u, v, c, user, item.view(2, -1), self.config)
        # the sum, not the mean: Adam's epsilon must stay small beside the gradients
        u_gradient, v_gradient, c_gradient = torch.autograd.grad(loss.total, (u, v, c))
        self.steps += 1
        U.store(fetched[0], u_gradient, self.steps)
        V.store(fetched[1], v_gradient, self.steps)
        P.move_all(one_thread_product(vectors.T, c_gradient), self.steps)
        margin = loss.margin
        told = torch.stack([loss.cf, loss.content, (margin > 0).sum(), torch.sigmoid(-margin).sum()])
        sums: list[float] = told.tolist()
        return sums

    def folded(self) -> Factors:
        """Return U and V' = cf_weight V + content_weight E P: u . v' is the served score of both parts."""
        U, V, P = (self.tables[name].parts[0] for name in TABLES)
        items = self.config.cf_weight * V + self.config.content_weight * one_thread_product(self.content, P)
        return Factors(_array(U), _array(items))

    def largest_factor(self) -> float:
        """Return the largest absolute value of a table or the projection, NaN if there is one."""
        return float(torch.stack([table.parts[0].abs().max() for table in self.tables.values()]).max())

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything a checkpoint needs: values, both moments of each, and the number of steps."""
        arrays: dict[str, NDArray[Any]] = {"steps": np.array(self.steps, dtype=np.int64)}
        for name, table in self.tables.items():
            parts = zip(("", *MOMENTS), table.parts, strict=True)
            arrays |= {f"{part}{name}": _array(tensor) for part, tensor in parts}
        return arrays

    def _distinct(self, indices: IndexVector) -> tuple[Tensor, Tensor]:
        """Return the distinct indices, ascending, and the place of each index among them."""
        rows, places = np.unique(indices, return_inverse=True)
        return self._tensor(rows.astype(np.int64)), self._tensor(places.astype(np.int64))

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.array(array)).to(self.device)


def one_thread_product(a: Tensor, b: Tensor) -> Tensor:
    """Return a @ b by one thread: sums that several threads share have other last bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return a @ b
    finally:
        torch.set_num_threads(threads)


def _array(tensor: Tensor) -> FloatMatrix:
    return np.ascontiguousarray(tensor.detach().cpu().numpy().copy())
