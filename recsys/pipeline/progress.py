"""How far a training is, as a share and in words, from the history rows it reports."""

from dataclasses import dataclass

from recsys.pipeline.run import RunReference
from recsys.types import HistoryRow

_SHOWN_METRIC = "ndcg@10"


@dataclass(frozen=True)
class Progress:
    """Percent of the final fit that is done, 0 to 100, and what is going on in words."""

    percent: float
    text: str


class ProgressCount:
    """Turns the rows of one model's trials and fit into progress; cheap enough for every row."""

    def __init__(self, run: RunReference, model: str) -> None:
        section = run.section(model)
        self._n_steps: int = section.iterations if model == "als" else section.epochs
        self._trials = 0

    def __call__(self, trial: bool, row: HistoryRow) -> Progress:
        """Return the progress after ``row``; while settings are searched nothing of the final fit is done."""
        unit = "epoch" if "epoch" in row else "iteration"
        step = int(row[unit] or 0)
        if trial and step == 1:
            self._trials += 1
        phase = f"trial {self._trials}" if trial else "training"
        metric = f", {_SHOWN_METRIC} {row[_SHOWN_METRIC]:.4f}" if row.get(_SHOWN_METRIC) else ""
        text = f"{phase}, {unit} {step}, loss {row['loss']:.4g}{metric}"
        return Progress(0.0 if trial else min(100.0, 100 * step / self._n_steps), text)
