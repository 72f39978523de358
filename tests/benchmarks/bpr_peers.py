"""BPR trainers side by side: ours, `implicit` and cornac behind one function each, fed the same matrix."""

import time
from collections import OrderedDict

import numpy as np
from scipy.sparse import csr_matrix

from recsys.cf.data.dataset import HardNegatives, UserItemSets
from recsys.cf.models.base import FitControl
from recsys.cf.models.bpr import fit_bpr
from recsys.cf.sampling.pools import build_pools
from recsys.config.schema import BprConfig
from recsys.types import Factors


def item_sets(matrix: csr_matrix) -> UserItemSets:
    """Return the rows of a CSR matrix as item sets."""
    return UserItemSets(matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32))


def pools_of(train: csr_matrix, top: int = 50):
    """Return pools whose implicit hard negatives are the ``top`` popular items a user has not seen."""
    counts = np.bincount(train.indices, minlength=train.shape[1])
    popular = np.argsort(-counts, kind="stable")[:top]
    seen = item_sets(train)
    rows = [np.setdiff1d(popular, seen.row(user)) for user in range(len(seen))]
    implicit = UserItemSets(
        np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64),
        np.concatenate(rows).astype(np.int32),
    )
    nothing = UserItemSets(np.zeros(len(seen) + 1, np.int64), np.zeros(0, np.int32))
    return build_pools(train, seen, HardNegatives(nothing, implicit), np.log1p(counts).astype(np.float32))


def ours(train, *, epochs, threads, seed, validate=None, checks=10, pools=None, **settings):
    """Return (seconds of training up to each check, metric at each check, last factors, triplets).

    ``validate`` is called ``checks`` times; without it there is one check, at the end.
    """
    settings = {"samples_per_epoch": 1, "learning_rate_schedule": "constant", **settings}
    epochs //= settings["samples_per_epoch"]  # the same number of triplets as of a peer
    every = max(1, epochs // checks) if validate else epochs
    config = BprConfig(epochs=epochs, validate_every=every, patience=epochs + 1, **settings)
    metrics = []

    def watch(factors):
        metrics.append(validate(factors) if validate else 0.0)
        return {"recall@10": metrics[-1], "ndcg@10": 0.0}  # constant: the factors of the end are wanted

    control = FitControl(threads=lambda: threads)
    fit = fit_bpr(
        pools or pools_of(train), config, seed=seed, validate=watch if validate else None, control=control
    )
    elapsed = np.cumsum([row["seconds"] for row in fit.history])
    checked = list(range(every, epochs + 1, every))
    if checked[-1] != epochs:
        checked.append(epochs)
    triplets = fit.history[0]["triplets"] * epochs
    return [float(elapsed[at - 1]) for at in checked], metrics, fit.factors, triplets


def with_implicit(train, *, epochs, threads, seed, validate=None, checks=10, **settings):
    """The same for implicit.bpr."""
    from implicit.cpu.bpr import BayesianPersonalizedRanking

    every = max(1, epochs // checks) if validate else epochs
    model = BayesianPersonalizedRanking(
        factors=settings.get("factors", 64),
        learning_rate=settings.get("learning_rate", 0.05),
        regularization=settings.get("regularization", 0.01),
        iterations=every,
        num_threads=threads,
        random_state=seed,
    )

    def go_on(check):
        model.random_state = seed + check
        model.fit(train, show_progress=False)  # a second fit goes on where the first ended
        return _implicit_factors(model)

    return *_checked(go_on, epochs // every, validate), train.nnz * (epochs // every) * every


def _checked(go_on, n_checks, validate):
    seconds, metrics, factors = [], [], None
    for check in range(n_checks):
        started = time.perf_counter()
        factors = go_on(check)
        seconds.append(time.perf_counter() - started)
        if validate:
            metrics.append(validate(factors))
    return [float(one) for one in np.cumsum(seconds)], metrics, factors


def _implicit_factors(model):
    return Factors(np.array(model.user_factors, np.float32), np.array(model.item_factors, np.float32))


def with_cornac(train, *, epochs, threads, seed, validate=None, checks=10, **settings):
    """The same for cornac's BPR. A seed would force it to one thread, so only its start is seeded."""
    from cornac.data import Dataset
    from cornac.models import BPR

    every = max(1, epochs // checks) if validate else epochs
    coo = train.tocoo()
    ids = [OrderedDict((index, index) for index in range(size)) for size in train.shape]
    rows = list(zip(coo.row.tolist(), coo.col.tolist(), np.ones(train.nnz).tolist(), strict=True))
    data = Dataset.build(rows, global_uid_map=ids[0], global_iid_map=ids[1])
    k = settings.get("factors", 64)
    random = np.random.default_rng(seed)
    start = {
        "U": ((random.random((train.shape[0], k)) - 0.5) / k).astype(np.float32),
        "V": ((random.random((train.shape[1], k)) - 0.5) / k).astype(np.float32),
        "Bi": np.zeros(train.shape[1], np.float32),
    }

    def go_on(_check):
        model = BPR(
            k=k,
            max_iter=every,
            learning_rate=settings.get("learning_rate", 0.05),
            lambda_reg=settings.get("regularization", 0.01),
            num_threads=threads,
            init_params=start,
        )
        model.fit(data)
        start.update({"U": model.u_factors, "V": model.i_factors, "Bi": model.i_biases})
        return _cornac_factors(start)

    return *_checked(go_on, epochs // every, validate), train.nnz * (epochs // every) * every


def _cornac_factors(parts):
    ones = np.ones((len(parts["U"]), 1), np.float32)
    U = np.hstack([parts["U"], ones]).astype(np.float32)
    V = np.hstack([parts["V"], parts["Bi"][:, None]]).astype(np.float32)
    return Factors(np.ascontiguousarray(U), np.ascontiguousarray(V))


TRAINERS = {"train-cf": ours, "implicit": with_implicit, "cornac": with_cornac}
