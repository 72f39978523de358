"""What every trainer takes and returns."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from recsys.errors import TrainingCancelled, TrainingTimeout
from recsys.types import Factors, HistoryRow, ProgressCallback

# Measures factors on the validation split: returns at least {"recall@10": ..., "ndcg@10": ...}.
Validate = Callable[[Factors], Mapping[str, float]]
EARLY_STOP_METRIC = "ndcg@10"


@dataclass(frozen=True)
class FitResult:
    """A finished fit. ``history`` has a row per iteration or epoch (Spark: of the last alone); ``factors`` are
    those of ``best_iteration``.
    """

    factors: Factors
    history: tuple[HistoryRow, ...]
    best_iteration: int  # 1-based, of the factors returned
    stopped_early: bool
    started_at: datetime  # UTC
    ended_at: datetime
    device: str  # "cpu", "gpu" or "spark"
    resumed_from: int | None  # iteration of the checkpoint, None for an undisturbed fit

    @property
    def n_steps(self) -> int:
        """Number of iterations or epochs done, before a resume too."""
        last = self.history[-1]
        return int(last.get("epoch") or last.get("iteration") or len(self.history))

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of this fit, without what happened before a resume."""
        return (self.ended_at - self.started_at).total_seconds()


@dataclass(frozen=True)
class Checkpoint:
    """Everything a fit needs to go on after ``iteration`` as if it had never stopped."""

    iteration: int
    arrays: Mapping[str, NDArray[Any]]
    state: Mapping[str, Any]  # JSON


class Checkpoints(Protocol):
    """Where checkpoints go; see ``recsys.cf.models.checkpoint``."""

    def load(self) -> Checkpoint | None:
        """Return the newest readable checkpoint, or None."""

    def save(self, checkpoint: Checkpoint) -> None:
        """Keep the checkpoint; older ones may go."""


@dataclass(frozen=True)
class FitControl:
    """How the world outside watches and steers a fit; the defaults leave it alone."""

    on_progress: ProgressCallback | None = None
    cancelled: Callable[[], bool] = lambda: False
    threads: Callable[[], int] = lambda: 1
    checkpoints: Checkpoints | None = None
    deadline: float = math.inf  # time.monotonic() seconds

    def report(self, row: HistoryRow) -> None:
        """Tell the progress callback, then stop the fit if somebody asked for it or its time is over.

        Raises TrainingCancelled, TrainingTimeout. Checked here, between two compiled calls, because nothing
        can interrupt one of them.
        """
        if self.on_progress is not None:
            self.on_progress(row)
        self.stop_if_asked(row.get("epoch") or row.get("iteration"))

    def stop_if_asked(self, step: float | None) -> None:
        """Raise TrainingCancelled or TrainingTimeout when it is time; ``step`` is the last whole one."""
        if self.cancelled():
            raise TrainingCancelled(f"training was cancelled after step {step}")
        if time.monotonic() > self.deadline:
            raise TrainingTimeout(
                f"training passed its time limit after step {step}; raise runtime.timeout_minutes (a rerun "
                "goes on from the last checkpoint), or train fewer factors or epochs"
            )


@dataclass
class BestFactors:
    """The best factors seen on validation, and how long ago that was. Without validation: the latest."""

    patience: int
    iteration: int = 0
    score: float = -1.0
    checks_without_gain: int = 0
    user_factors: NDArray[np.float32] | None = field(default=None, repr=False)
    item_factors: NDArray[np.float32] | None = field(default=None, repr=False)

    def consider(self, iteration: int, score: float, factors: Factors) -> None:
        """Copy the factors if their score is the best so far, else count a check without gain."""
        if score > self.score:
            self.iteration, self.score, self.checks_without_gain = iteration, score, 0
            self.user_factors = _kept(self.user_factors, factors.user_factors)
            self.item_factors = _kept(self.item_factors, factors.item_factors)
        else:
            self.checks_without_gain += 1

    @property
    def exhausted(self) -> bool:
        """Whether patience has run out."""
        return self.checks_without_gain >= self.patience

    def factors(self) -> Factors | None:
        """Return the best factors, or None when nothing was ever validated."""
        if self.user_factors is None or self.item_factors is None:
            return None
        return Factors(self.user_factors, self.item_factors)

    def checkpoint(
        self, iteration: int, latest: Mapping[str, NDArray[Any]], history: list[HistoryRow]
    ) -> Checkpoint:
        """Return a checkpoint of the latest factors, the best ones and the history."""
        arrays = dict(latest)
        if self.user_factors is not None and self.item_factors is not None:
            arrays |= {"best_user_factors": self.user_factors, "best_item_factors": self.item_factors}
        state = {
            "history": history,
            "best_iteration": self.iteration,
            "best_score": self.score,
            "checks_without_gain": self.checks_without_gain,
        }
        return Checkpoint(iteration, arrays, state)

    def restore(self, checkpoint: Checkpoint) -> list[HistoryRow]:
        """Take the state of a checkpoint over and return its history."""
        self.iteration = checkpoint.state["best_iteration"]
        self.score = checkpoint.state["best_score"]
        self.checks_without_gain = checkpoint.state["checks_without_gain"]
        self.user_factors = checkpoint.arrays.get("best_user_factors")
        self.item_factors = checkpoint.arrays.get("best_item_factors")
        return list(checkpoint.state["history"])


def _kept(memory: NDArray[np.float32] | None, latest: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a copy of ``latest``, in the memory of the copy before it where there is one."""
    if memory is None or memory.shape != latest.shape or not memory.flags.writeable:
        return latest.copy()
    np.copyto(memory, latest)
    return memory


def utc_now() -> datetime:
    """Return the time in UTC."""
    return datetime.now(UTC)
