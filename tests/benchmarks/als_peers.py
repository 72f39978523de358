"""ALS solvers side by side behind one function each: same matrix, same objective, same start, one BLAS thread."""

import time

import numpy as np
from scipy.sparse import csr_matrix

from recsys.cf.models.als_native import fit_als_native
from recsys.cf.models.als_start import als_start_factors
from recsys.cf.models.base import FitControl
from recsys.config.schema import AlsConfig
from recsys.types import Factors


def native(user_items, *, factors, regularization, iterations, threads, seed):
    """Return (seconds of each iteration, its own loss included; last factors)."""
    config = AlsConfig(solver="native", factors=factors, regularization=regularization, iterations=iterations)
    fit = fit_als_native(user_items, config, seed=seed, control=FitControl(threads=lambda: threads))
    return [row["seconds"] for row in fit.history], fit.factors


def implicit_by(use_cg):
    """Return the same for `implicit`: three steps of conjugate gradient, or Cholesky."""

    def train(user_items, *, factors, regularization, iterations, threads, seed):
        from implicit.cpu.als import AlternatingLeastSquares

        model = AlternatingLeastSquares(
            factors=factors,
            regularization=regularization,
            alpha=1.0,
            iterations=iterations,
            use_cg=use_cg,
            num_threads=threads,
        )
        start = als_start_factors(*user_items.shape, factors, seed)
        model.user_factors, model.item_factors = start.user_factors.copy(), start.item_factors.copy()
        seconds = []
        model.fit(user_items, show_progress=False, callback=lambda _i, taken, _loss: seconds.append(taken))
        return seconds, Factors(np.asarray(model.user_factors), np.asarray(model.item_factors))

    return train


def irspack_by(solver):
    """Return the same for irspack; its matrix holds what an observed pair weighs more than an unseen one."""

    def train(user_items, *, factors, regularization, iterations, threads, seed):
        from irspack.recommenders.ials import IALSTrainer, str_to_loss_type, str_to_solver_type

        more = csr_matrix(user_items, copy=True)
        more.data = more.data - 1
        trainer = IALSTrainer(
            more, factors, 1.0, regularization, 0.0, 0.1, str_to_solver_type(solver), 3, 16,
            str_to_loss_type("ORIGINAL"), seed, threads, 5, 1,
        )  # fmt: skip
        start = als_start_factors(*user_items.shape, factors, seed)
        trainer.core_trainer.user = start.user_factors
        trainer.core_trainer.item = start.item_factors
        seconds = []
        for _ in range(iterations):
            started = time.perf_counter()
            trainer.run_epoch()
            seconds.append(time.perf_counter() - started)
        core = trainer.core_trainer
        return seconds, Factors(
            np.ascontiguousarray(core.user, np.float32), np.ascontiguousarray(core.item, np.float32)
        )

    return train


SOLVERS = {
    "train-cf": native,
    "implicit-cg": implicit_by(use_cg=True),
    "implicit-cholesky": implicit_by(use_cg=False),
    "irspack-cg": irspack_by("CG"),
    "irspack-cholesky": irspack_by("CHOLESKY"),
    "irspack-ials++": irspack_by("IALSPP"),
}
