"""Alternating least squares with exact solutions, by our own kernel: what `implicit` cannot be told.

Frequency-scaled regularization, a weight of unobserved pairs, continuous preferences, prior means; the
objective is written in ``als_objective``, the algebra in ``als_native_kernel``.
"""

import logging
import time

import numpy as np
from scipy.sparse import csr_matrix

from recsys.blas import one_blas_thread
from recsys.cf.models.als_iteration import normalized, refuse_divergence
from recsys.cf.models.als_native_sweep import HalfSweep, padded, solve_side
from recsys.cf.models.als_objective import Floats, Objective, Prior, Side, build_objective
from recsys.cf.models.als_start import als_start_factors
from recsys.cf.models.base import FitControl, FitResult, Validate
from recsys.cf.models.fit_record import FitRecord
from recsys.cf.models.item_start import ItemStart
from recsys.cf.models.memory import peak_memory_bytes
from recsys.cf.models.threads import use_compiled_threads
from recsys.config.schema import AlsConfig
from recsys.errors import ConfigError, TrainingError
from recsys.types import Factors, FloatMatrix, HistoryRow

_BLOCK_ROWS = 1 << 14
logger = logging.getLogger(__name__)


def fit_als_native(
    user_items: csr_matrix,
    config: AlsConfig,
    *,
    seed: int,
    preferences: Floats | None = None,
    items: ItemStart | None = None,
    start: Factors | None = None,
    prior: Prior | None = None,
    freeze_first_iter: bool = False,
    validate: Validate | None = None,
    control: FitControl | None = None,
) -> FitResult:
    """Return the factors of the best iteration on validation (of the last one without validation).

    Args:
        user_items: (n_users, n_items) CSR from ``scale_confidence``; never written to.
        config: hyperparameters; alpha is not read here, it is in the values already.
        seed: seeds the initial factors.
        preferences: float32, of each value of ``user_items``; None: 1 where it is positive, else 0.
        items: projected embeddings that V starts from; None: random.
        start: both matrices to start from, instead of ``seed`` and ``items``.
        prior: means that rows are pulled to, each with its regularization; None: zero.
        freeze_first_iter: the first iteration solves users only, V keeps its start.
        validate: measures factors every ``validate_every`` iterations and after the last.
        control: progress, cancellation, threads, checkpoints.

    A row without entries equals its prior mean, zero without one.
    Raises ConfigError, TrainingError, DivergedError, TrainingCancelled, TrainingTimeout. Same arguments, same
    bytes, at any number of threads and after a resume, on CPUs of one model (the eigenvectors of a small
    matrix come from LAPACK). Time: see `make bench-als`; memory: three times U and V, the larger of
    both once more, and 32 bytes an entry.
    """
    problem = config.solver_problem()
    if problem:
        raise ConfigError(f"als: {problem}")
    objective = build_objective(user_items, config, preferences)
    start = start or als_start_factors(*user_items.shape, config.factors, seed, items)
    _check_shapes(user_items, config, start, prior or Prior())
    sweeps = _Sweeps(objective, config, start, prior or Prior(), freeze_first_iter)
    del start  # the sweeps have copies of their own
    return _iterate(sweeps, config, validate, control or FitControl())


def _iterate(
    sweeps: "_Sweeps", config: AlsConfig, validate: Validate | None, control: FitControl
) -> FitResult:
    record = FitRecord(config.iterations, config, validate, control)
    if record.checkpoint is not None:
        arrays = record.checkpoint.arrays
        sweeps.restore(arrays["user_factors"], arrays["item_factors"])
        logger.info("ALS goes on after iteration %d", record.checkpoint.iteration)
    while record.goes_on:
        use_compiled_threads(control.threads())
        started, iteration = time.perf_counter(), len(record.rows) + 1
        with one_blas_thread():
            loss = sweeps.run(iteration)
        row: HistoryRow = {
            "iteration": iteration,
            "seconds": time.perf_counter() - started,
            "loss": loss,
            "peak_memory_bytes": peak_memory_bytes(),
        }
        refuse_divergence(record.rows, row, config, largest_term=sweeps.constant)
        record.add(row, sweeps.served, sweeps.state)
    return record.result(sweeps.served, device="cpu")


class _Sweeps:
    """The factors between half-sweeps: padded, rows without entries zero whatever their prior."""

    def __init__(
        self, objective: Objective, config: AlsConfig, start: Factors, prior: Prior, frozen: bool
    ) -> None:
        self._objective, self._config, self._frozen = objective, config, frozen
        self._user_means, self._item_means = (
            None if means is None else padded(means) for means in (prior.user_means, prior.item_means)
        )
        self.restore(start.user_factors, start.item_factors)

    @property
    def constant(self) -> float:
        """The loss of zero factors without priors: what the rows lower."""
        return self._objective.constant

    def restore(self, user_factors: FloatMatrix, item_factors: FloatMatrix) -> None:
        """Take these factors as the latest."""
        self._U, self._V = padded(user_factors), padded(item_factors)
        self._U[~self._objective.users.has_entries] = 0.0
        self._V[~self._objective.items.has_entries] = 0.0

    def run(self, iteration: int) -> float:
        """Solve users, then items, and return the loss, at no cost; exact but for float32 rounding of terms as large as
        the loss of zero factors.

        An exact row lowers the loss by y . x' of the kernel, so only the other side's penalty is added.
        """
        users, items = self._objective.users, self._objective.items
        of_users = self._solve(users, self._V, self._U, self._user_means)
        if self._frozen and iteration == 1:
            others = _penalty(items, self._V, self._item_means)
            return self._objective.constant + _worth(users, self._user_means) - of_users.gain + others
        of_items = self._solve(items, self._U, self._V, self._item_means)
        return self._objective.constant + _worth(items, self._item_means) - of_items.gain + of_users.penalty

    def _solve(
        self, side: Side, other: FloatMatrix, out: FloatMatrix, means: FloatMatrix | None
    ) -> HalfSweep:
        return solve_side(
            side,
            other,
            out,
            factors=self._config.factors,
            unobserved_weight=self._config.unobserved_weight,
            means=means,
        )

    def state(self) -> dict[str, FloatMatrix]:
        """Return the latest factors for a checkpoint, perhaps views: to be written before the next sweep."""
        return {"user_factors": self._unpadded(self._U), "item_factors": self._unpadded(self._V)}

    def served(self) -> Factors:
        """Return the latest factors as they will be used: priors where nothing is known, normalised if so set.

        Perhaps views, which the next sweep changes.
        """
        U = self._with_priors(self._U, self._user_means, self._objective.users)
        V = self._with_priors(self._V, self._item_means, self._objective.items)
        return normalized(Factors(U, V)) if self._config.normalize else Factors(U, V)

    def _with_priors(self, factors: FloatMatrix, means: FloatMatrix | None, side: Side) -> FloatMatrix:
        if means is None:
            return self._unpadded(factors)
        filled = self._unpadded(factors).copy()
        np.copyto(filled, self._unpadded(means), where=~side.has_entries[:, np.newaxis])
        return filled

    def _unpadded(self, matrix: FloatMatrix) -> FloatMatrix:
        return np.ascontiguousarray(matrix[:, : self._config.factors])


def _penalty(side: Side, factors: FloatMatrix, means: FloatMatrix | None) -> float:
    """Return the sum of l_r |x - m_r|^2 over rows with entries, float64."""
    squares = np.zeros(side.n_rows)
    for start in range(0, side.n_rows, _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        distance = (factors[rows] if means is None else factors[rows] - means[rows]).astype(np.float64)
        squares[rows] = np.sum(distance**2, axis=1)
    return float(side.regularization[side.has_entries] @ squares[side.has_entries])


def _worth(side: Side, means: FloatMatrix | None) -> float:
    """Return the penalty of rows of zeros: what the kernel's gains are counted from."""
    return 0.0 if means is None else _penalty(side, np.zeros_like(means), means)


def _check_shapes(user_items: csr_matrix, config: AlsConfig, start: Factors, prior: Prior) -> None:
    for name, matrix, rows in (
        ("start user factors", start.user_factors, user_items.shape[0]),
        ("start item factors", start.item_factors, user_items.shape[1]),
        ("prior user means", prior.user_means, user_items.shape[0]),
        ("prior item means", prior.item_means, user_items.shape[1]),
    ):
        if matrix is not None and matrix.shape != (rows, config.factors):
            raise TrainingError(f"{name} are {matrix.shape}, needed are {(rows, config.factors)}")
