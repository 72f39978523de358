"""The funnel: how many rows came in, and how many each step dropped and why."""

import logging
from dataclasses import dataclass, field

from recsys.types import Json

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FunnelStep:
    """Rows that one step dropped for one reason; zero is recorded too."""

    step: str
    reason: str
    rows: int

    def to_json(self) -> Json:
        """Return the step as a JSON object."""
        return {"step": self.step, "reason": self.reason, "rows": self.rows}

    @classmethod
    def from_json(cls, document: Json) -> "FunnelStep":
        """Return the step that ``to_json`` wrote."""
        return cls(str(document["step"]), str(document["reason"]), int(document["rows"]))


@dataclass
class Funnel:
    """Counts the rows of one preparation. Invariant: rows_in = rows_out + the sum of all drops."""

    rows_in: int
    steps: list[FunnelStep] = field(default_factory=list)

    @property
    def rows_out(self) -> int:
        """Number of rows that no step has dropped so far."""
        return self.rows_in - sum(step.rows for step in self.steps)

    def drop(self, step: str, reason: str, rows: int) -> None:
        """Record that ``step`` dropped ``rows`` rows for ``reason``."""
        self.steps.append(FunnelStep(step, reason, int(rows)))
        logger.info("prepare step=%s reason=%s dropped=%d left=%d", step, reason, rows, self.rows_out)
