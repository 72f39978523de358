"""The funnel: how many rows came in, how many each step dropped and why, and what a few of them looked like."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from recsys.types import Json

logger = logging.getLogger(__name__)

SAMPLE_ROWS = 3
SAMPLE_CHARACTERS = 80
_SAMPLED = ("user_id", "item_id", "rating", "timestamp")


@dataclass(frozen=True)
class FunnelStep:
    """Rows that one step dropped for one reason, and the first few of them; zero is recorded too."""

    step: str
    reason: str
    rows: int
    samples: tuple[Json, ...] = ()

    def to_json(self) -> Json:
        """Return the step as a JSON object."""
        return {"step": self.step, "reason": self.reason, "rows": self.rows, "samples": list(self.samples)}

    @classmethod
    def from_json(cls, document: Json) -> "FunnelStep":
        """Return the step that ``to_json`` wrote."""
        return cls(
            str(document["step"]),
            str(document["reason"]),
            int(document["rows"]),
            tuple(document.get("samples", ())),
        )


@dataclass
class Funnel:
    """Counts the rows of one preparation. Invariant: rows_in = rows_out + the sum of all drops."""

    rows_in: int = 0
    steps: list[FunnelStep] = field(default_factory=list)

    @property
    def rows_out(self) -> int:
        """Number of rows that no step has dropped so far."""
        return self.rows_in - sum(step.rows for step in self.steps)

    def drop(self, step: str, reason: str, rows: int, samples: Sequence[Json] = ()) -> None:
        """Record that ``step`` dropped ``rows`` (more) rows for ``reason``; the first few samples are kept."""
        for place, known in enumerate(self.steps):
            if (known.step, known.reason) == (step, reason):
                kept = (*known.samples, *samples)[:SAMPLE_ROWS]
                self.steps[place] = FunnelStep(step, reason, known.rows + int(rows), kept)
                return
        self.steps.append(FunnelStep(step, reason, int(rows), tuple(samples[:SAMPLE_ROWS])))

    def drop_rows(self, step: str, reason: str, dropped: pl.DataFrame) -> None:
        """Record the rows of a table as dropped."""
        self.drop(step, reason, dropped.height, sample_rows(dropped))

    def explain(self) -> str:
        """Return what was dropped so far as the end of a sentence, empty when nothing was."""
        dropped = sorted((step for step in self.steps if step.rows), key=lambda step: -step.rows)
        if not dropped:
            return ""
        reasons = ", ".join(f"{step.reason} {step.rows:,}" for step in dropped)
        return f"; before that, of {self.rows_in:,} rows {self.rows_in - self.rows_out:,} were dropped ({reasons})"

    def log(self, *steps: str) -> None:
        """Log one line for each reason of the given steps, once they are done."""
        left = self.rows_in
        for step in self.steps:
            left -= step.rows
            if step.step in steps:
                logger.info(
                    "prepare step=%s reason=%s dropped=%d left=%d", step.step, step.reason, step.rows, left
                )


def sample_rows(dropped: pl.DataFrame) -> list[Json]:
    """Return the first rows of a table as JSON: ids, rating and time, long texts cut."""
    columns = [name for name in _SAMPLED if name in dropped.columns]
    return [_printable(row) for row in dropped.select(columns).head(SAMPLE_ROWS).iter_rows(named=True)]


def add_steps(funnel: Funnel, rows_in: int, steps: Iterable[FunnelStep]) -> None:
    """Add what an earlier preparation counted."""
    funnel.rows_in += rows_in
    for step in steps:
        funnel.drop(step.step, step.reason, step.rows, step.samples)


def _printable(row: dict[str, Any]) -> Json:
    return {
        name: value
        if value is None or isinstance(value, int | float)
        else (value if isinstance(value, str) else value.isoformat())[:SAMPLE_CHARACTERS]
        for name, value in row.items()
    }
