"""The objective of ALS written slowly, with dense float64 matrices: what the native solver is tested against."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from shops import random_positives


def interactions(n_users=50, n_items=30, per_user=8, seed=1, *, silent=True):
    """Return a CSR of confidences, every fifth of them negative (disliked); a user and an item without entries."""
    observed = random_positives(n_users, n_items, per_user, seed)
    random = np.random.default_rng(seed)
    values = random.uniform(1, 11, observed.nnz).astype(np.float32)
    values[::5] *= -1
    dense = csr_matrix((values, observed.indices, observed.indptr), observed.shape).toarray()
    if silent:
        dense[3] = 0
        dense[:, 5] = 0
    return csr_matrix(dense)


def means(rows, factors, seed=7):
    """Return random prior means."""
    return np.random.default_rng(seed).normal(0, 0.5, (rows, factors)).astype(np.float32)


@dataclass(frozen=True)
class Dense:
    """Everything as dense float64: C, P, and what each user and item is pulled to with which weight."""

    C: np.ndarray
    P: np.ndarray
    users: np.ndarray
    items: np.ndarray
    user_means: np.ndarray
    item_means: np.ndarray

    def loss(self, factors):
        """Return the objective."""
        U, V = factors.user_factors.astype(float), factors.item_factors.astype(float)
        pulls = (self.users * ((U - self.user_means) ** 2).sum(1)).sum()
        pulls += (self.items * ((V - self.item_means) ** 2).sum(1)).sum()
        return (self.C * (self.P - U @ V.T) ** 2).sum() + pulls

    def gradients(self, factors):
        """Return half the derivatives by U and by V."""
        U, V = factors.user_factors.astype(float), factors.item_factors.astype(float)
        wrong = self.C * (U @ V.T - self.P)
        by_user = wrong @ V + self.users[:, None] * (U - self.user_means)
        return by_user, wrong.T @ U + self.items[:, None] * (V - self.item_means)

    def best_users(self, V):
        """Return the exact users for these items, row by row."""
        V = V.astype(float)
        rows = []
        for c, p, pull, mean in zip(self.C, self.P, self.users, self.user_means, strict=True):
            system = (V.T * c) @ V + pull * np.eye(V.shape[1])
            rows.append(np.linalg.solve(system, V.T @ (c * p) + pull * mean))
        return np.array(rows)


def dense_of(user_items, config, preferences=None, prior=None):
    """Return the objective of these interactions, see ``recsys.cf.models.als_objective``."""
    values = user_items.toarray().astype(float)
    observed = values != 0
    P = (values > 0).astype(float)
    if preferences is not None:
        P[observed] = preferences
    C = np.where(observed, np.abs(values), config.unobserved_weight)
    users, items = observed.any(1), observed.any(0)
    C[~users], C[:, ~items] = 0, 0
    sizes = [
        (observed.sum(axis) + config.unobserved_weight * others.sum()) ** config.regularization_exponent
        for axis, others in ((1, items), (0, users))
    ]
    counted = [users, items]
    if config.regularization_counts == "positives":
        liked = [(values > 0).sum(axis) for axis in (1, 0)]
        sizes = [np.maximum(one, 1.0) ** config.regularization_exponent for one in liked]
        counted = [one > 0 for one in liked]
    chosen = np.concatenate([size[rows] for size, rows in zip(sizes, counted, strict=True)])
    mean = chosen.mean() if len(chosen) else 1.0
    zeros = [np.zeros((n, config.factors)) for n in values.shape]
    priors = (prior.user_means, prior.item_means) if prior else (None, None)
    pulled = [zero if one is None else one.astype(float) for zero, one in zip(zeros, priors, strict=True)]
    if not users.any():
        sizes = [np.ones(n) for n in values.shape]
    return Dense(C, P, *(config.regularization * size / mean for size in sizes), *pulled)


def rated_matrices(n_users=200, n_items=60):
    """Return (confidence in 1..6, positives): some liked pairs have confidence 1, one user and item have none."""
    pattern = interactions(n_users, n_items, 9)
    random = np.random.default_rng(5)
    confidence = csr_matrix(
        (random.integers(1, 7, pattern.nnz).astype(np.float32), pattern.indices, pattern.indptr),
        pattern.shape,
    )
    liked = random.random(pattern.nnz) < 0.8
    positives = csr_matrix(
        (liked.astype(np.float32), pattern.indices, pattern.indptr), pattern.shape, copy=True
    )
    positives.eliminate_zeros()
    return confidence, positives
