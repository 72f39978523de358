"""What every trainer does between two steps (iterations or epochs): validate, remember, keep, report."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Protocol

from numpy.typing import NDArray

from recsys.cf.models.base import (
    EARLY_STOP_METRIC,
    BestFactors,
    Checkpoint,
    FitControl,
    FitResult,
    Validate,
    utc_now,
)
from recsys.types import Factors, HistoryRow


class StepSettings(Protocol):
    """The settings of a trainer that are read between steps."""

    @property
    def patience(self) -> int:
        """Checks without improvement before an early stop."""

    @property
    def validate_every(self) -> int:
        """Steps between looks at the validation split."""

    @property
    def checkpoint_every(self) -> int:
        """Steps between checkpoints."""


class FitRecord:
    """The history, the best factors and the checkpoints of one fit; knows when it is over."""

    def __init__(
        self, n_steps: int, settings: StepSettings, validate: Validate | None, control: FitControl
    ) -> None:
        """Start a record, or go on with that of the newest checkpoint, see ``checkpoint``."""
        self._n_steps, self._settings, self._validate, self._control = n_steps, settings, validate, control
        self.started_at: datetime = utc_now()
        self.best = BestFactors(settings.patience)
        self.rows: list[HistoryRow] = []
        self.checkpoint: Checkpoint | None = control.checkpoints.load() if control.checkpoints else None
        if self.checkpoint is not None:
            self.rows = self.best.restore(self.checkpoint)

    @property
    def goes_on(self) -> bool:
        """Whether there are steps left and patience has not run out."""
        return len(self.rows) < self._n_steps and not self.best.exhausted

    def add(
        self,
        row: HistoryRow,
        served: Callable[[], Factors],
        arrays: Callable[[], Mapping[str, NDArray[Any]]],
    ) -> None:
        """Record a finished step: validate and keep a checkpoint where they are due, then report it.

        Args:
            row: what the step tells; metrics of a validation are added to it.
            served: returns the factors as they would be served now.
            arrays: returns what a checkpoint needs to go on.

        Raises TrainingCancelled, TrainingTimeout.
        """
        step = len(self.rows) + 1
        if self._validate and (step % self._settings.validate_every == 0 or step == self._n_steps):
            factors = served()
            row |= self._validate(factors)
            self.best.consider(step, float(row[EARLY_STOP_METRIC] or 0.0), factors)
        self.rows.append(row)
        if self._control.checkpoints and step % self._settings.checkpoint_every == 0:
            self._control.checkpoints.save(self.best.checkpoint(step, arrays(), self.rows))
        self._control.report(row)

    def result(self, served: Callable[[], Factors], device: str) -> FitResult:
        """Return the fit: the best factors on validation, those of ``served`` when nothing was validated."""
        return FitResult(
            factors=self.best.factors() or served(),
            history=tuple(self.rows),
            best_iteration=self.best.iteration or len(self.rows),
            stopped_early=len(self.rows) < self._n_steps,
            started_at=self.started_at,
            ended_at=utc_now(),
            device=device,
            resumed_from=self.checkpoint.iteration if self.checkpoint else None,
        )
