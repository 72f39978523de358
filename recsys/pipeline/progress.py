"""How far a training is, as a share and in words, from the history rows it reports."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from recsys.types import HistoryRow

if TYPE_CHECKING:
    from recsys.pipeline.run import RunReference  # takes half a second, and the command line starts with us

_SHOWN_METRIC = "ndcg@10"


@dataclass(frozen=True)
class Progress:
    """Percent of the final fit that is done, 0 to 100, and what is going on in words."""

    percent: float
    text: str


class ProgressCount:
    """Turns the rows of one model's trials and fit into progress; cheap enough for every row."""

    def __init__(self, run: "RunReference", model: str) -> None:
        section = run.section(model)
        self._n_steps: int = section.iterations if model == "als" else section.epochs
        self._trials = 0

    def __call__(self, trial: bool, row: HistoryRow) -> Progress:
        """Return the progress after ``row``; while settings are searched nothing of the final fit is done."""
        unit = "epoch" if "epoch" in row else "iteration"
        step = int(row[unit] or 0)
        if trial and step == 1:
            self._trials += 1
        text = describe_step(self._trials if trial else None, row)
        return Progress(0.0 if trial else min(100.0, 100 * step / self._n_steps), text)


def describe_step(trial: int | None, row: HistoryRow) -> str:
    """Return one iteration or epoch in words; ``trial`` numbers the trial of the search it belongs to."""
    unit = "epoch" if "epoch" in row else "iteration"
    phase = "training" if trial is None else f"trial {trial}"
    metric = f", {_SHOWN_METRIC} {row[_SHOWN_METRIC]:.4f}" if row.get(_SHOWN_METRIC) else ""
    return f"{phase}, {unit} {row[unit]}, loss {row['loss']:.4g}{metric}"
