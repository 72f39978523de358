"""Progress bars of trainings that run side by side."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from recsys.pipeline.progress import describe_step
from recsys.types import HistoryRow


class TrainingProgress:
    """A bar for each model, fed by the trainers' history rows; silent where stderr is no terminal."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._trials: dict[str, int] = {}

    def __enter__(self) -> "TrainingProgress":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, model: str, trial: bool, row: HistoryRow) -> None:
        """Show one iteration or epoch; ``trial`` tells that it belongs to the search for settings."""
        if model not in self._tasks:
            self._tasks[model] = self._progress.add_task(model.upper(), total=None, state="")
        step = row.get("epoch") or row.get("iteration")
        if step == 1 and trial:
            self._trials[model] = self._trials.get(model, 0) + 1
        state = describe_step(self._trials.get(model, 0) if trial else None, row)
        self._progress.update(self._tasks[model], state=state)
