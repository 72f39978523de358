"""Alternating least squares for implicit feedback (Hu, Koren and Volinsky 2008) through `implicit`.

Confidence is scaled by ``als_confidence`` and alpha = 1 is passed: the library's GPU solver ignores alpha and
its CPU solver does not, so only this way do both mean the same model.
"""

import logging
import time
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from recsys.blas import one_blas_thread
from recsys.cf.models.als_iteration import normalized, refuse_divergence
from recsys.cf.models.als_loss import als_loss
from recsys.cf.models.als_start import als_start_factors
from recsys.cf.models.base import FitControl, FitResult, Validate
from recsys.cf.models.device import choose_device
from recsys.cf.models.fit_record import FitRecord
from recsys.cf.models.item_start import ItemStart
from recsys.cf.models.memory import peak_memory_bytes
from recsys.cf.models.threads import use_compiled_threads
from recsys.config.schema import AlsConfig
from recsys.errors import ConfigError, TrainingError
from recsys.types import MAX_INT32_ENTRIES, Factors, FloatMatrix, HistoryRow

logger = logging.getLogger(__name__)


def refuse_wide_indices(n_interactions: int) -> None:
    """Raise ConfigError when there are more interactions than the library's 32-bit positions can count.

    It takes 64-bit indices, but is reported to hang with them (its issue 380).
    """
    if n_interactions > MAX_INT32_ENTRIES:
        raise ConfigError(
            f"als: {n_interactions} interactions are more than `implicit` is known to handle "
            f"({MAX_INT32_ENTRIES}); set als.solver native, runtime.engine.als spark, or data.max_users"
        )


class _EnoughIterations(Exception):
    """Raised inside the callback when patience has run out; the library has no other way to stop."""


def fit_als(
    user_items: csr_matrix,
    config: AlsConfig,
    *,
    seed: int,
    items: ItemStart | None = None,
    freeze_first_iter: bool = False,
    validate: Validate | None = None,
    control: FitControl | None = None,
) -> FitResult:
    """Return the factors of the best iteration on validation (of the last one without validation).

    Args:
        user_items: (n_users, n_items) CSR from ``scale_confidence``; never written to.
        config: hyperparameters; alpha is not read here, it is in the values already.
        seed: seeds the initial factors.
        items: projected embeddings that V starts from; None: random.
        freeze_first_iter: keep the start of V through the first iteration, which then solves users only;
            trains on the CPU, since the library's GPU solver cannot be interrupted there.
        validate: measures factors every ``validate_every`` iterations and after the last.
        control: progress, cancellation, threads, checkpoints.

    Raises DivergedError, DeviceUnavailable, TrainingCancelled. Deterministic at any number of CPU threads,
    also after a resume; bits differ between CPU models (BLAS kernels) and on a GPU. Time: about 0.1 s an
    iteration at 26,000 x 2,244 with 369,000 interactions on 2 threads; memory: three times U and V.
    """
    control = control or FitControl()
    return _AlsFit(user_items, config, seed, items, freeze_first_iter, validate, control).run()


class _AlsFit:
    """One fit: what the library's callback needs to know between iterations."""

    def __init__(
        self,
        user_items: csr_matrix,
        config: AlsConfig,
        seed: int,
        items: ItemStart | None,
        freeze_first_iter: bool,
        validate: Validate | None,
        control: FitControl,
    ) -> None:
        refuse_wide_indices(user_items.nnz)
        self.user_items, self.config, self.control = user_items, config, control
        self.record = FitRecord(config.iterations, config, validate, control)
        self.device = choose_device("false" if freeze_first_iter else config.use_gpu)
        self.start = als_start_factors(*user_items.shape, config.factors, seed, items)
        self.frozen_items = self.start.item_factors.copy() if freeze_first_iter else None

    def run(self) -> FitResult:
        checkpoint = self.record.checkpoint
        if checkpoint is not None:
            self.start = Factors(*(checkpoint.arrays[name] for name in ("user_factors", "item_factors")))
            logger.info("ALS goes on after iteration %d", checkpoint.iteration)
            self.frozen_items = None  # past the first iteration
        latest = self._iterate()
        return self.record.result(lambda: self._served(latest), self.device)

    def _iterate(self) -> Factors:
        if not self.record.goes_on:
            return self.start
        with one_blas_thread():
            self.model = self._library_model(self.config.iterations - len(self.record.rows))
            self.clock = time.perf_counter()
            try:
                self.model.fit(self.user_items, show_progress=False, callback=self._after_iteration)
            except _EnoughIterations:
                logger.info("ALS stopped early after iteration %d", len(self.record.rows))
        return self._latest()

    def _library_model(self, iterations: int) -> Any:
        from implicit.als import AlternatingLeastSquares

        model = AlternatingLeastSquares(
            factors=self.config.factors,
            regularization=self.config.regularization,
            alpha=1.0,
            iterations=iterations,
            use_gpu=self.device == "gpu",
            **({} if self.device == "gpu" else {"num_threads": self.control.threads()}),
        )
        U, V = (
            np.require(matrix, requirements="W")  # the library writes into them; a checkpoint's are read-only
            for matrix in (self.start.user_factors, self.start.item_factors)
        )
        # the library checks no shapes: a wrong one reads out of bounds
        if (len(U), len(V)) != self.user_items.shape:
            raise TrainingError(f"factors {len(U)} x {len(V)} do not fit a matrix of {self.user_items.shape}")
        if self.device == "gpu":
            import implicit.gpu

            model.user_factors, model.item_factors = implicit.gpu.Matrix(U), implicit.gpu.Matrix(V)
        else:
            model.user_factors, model.item_factors = U, V
        return model

    def _latest(self) -> Factors:
        return Factors(_as_numpy(self.model.user_factors), _as_numpy(self.model.item_factors))

    def _served(self, factors: Factors) -> Factors:
        """Return the factors as they will be used: with rows of length 1 if so configured."""
        return normalized(factors) if self.config.normalize else factors

    def _after_iteration(self, _iteration: int, _seconds: float, _loss: float | None) -> None:
        threads = self.control.threads()
        use_compiled_threads(threads)
        iteration = len(self.record.rows) + 1
        if self.frozen_items is not None:  # the library has no way to solve users alone
            self.model.item_factors[:] = self.frozen_items
            self.frozen_items = None
        latest = self._latest()
        row: HistoryRow = {
            "iteration": iteration,
            "seconds": time.perf_counter() - self.clock,
            "loss": als_loss(self.user_items, latest, self.config.regularization),
            "peak_memory_bytes": peak_memory_bytes(),
        }
        refuse_divergence(self.record.rows, row, self.config)
        arrays = {"user_factors": latest.user_factors, "item_factors": latest.item_factors}
        self.record.add(row, lambda: self._served(latest), lambda: arrays)
        if self.record.best.exhausted:
            raise _EnoughIterations
        if self.device != "gpu":
            self.model.num_threads = threads  # read anew in each iteration
        self.clock = time.perf_counter()


def _as_numpy(matrix: Any) -> FloatMatrix:
    return matrix if isinstance(matrix, np.ndarray) else np.asarray(matrix.to_numpy(), dtype=np.float32)
