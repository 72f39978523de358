"""The progress of trainings and of batch recommendations in the Prefect UI."""

import contextvars
import logging
import threading
from types import TracebackType
from typing import Self
from uuid import UUID

import httpx
from prefect.artifacts import create_progress_artifact, update_progress_artifact

from recsys.pipeline.progress import Progress, ProgressCount
from recsys.pipeline.run import RunReference
from recsys.types import HistoryRow

_EVERY_SECONDS = 2.0
_PATIENCE_SECONDS = 10.0  # for the last word, at the end of the training
logger = logging.getLogger(__name__)


class ProgressArtifact:
    """A progress artifact of the current task, written from a thread of its own at most every two seconds.

    So a slow server does not slow the work down, and an absent one does not end it.
    """

    def __init__(self, key: str, name: str) -> None:
        """Use the artifact ``key``; ``name`` begins what it says."""
        self._key = key
        self._name = name
        self._latest: Progress | None = None
        self._artifact: UUID | None = None
        self._ended = threading.Event()
        # the artifact belongs to the task run that the context names
        inherited = contextvars.copy_context()
        self._thread = threading.Thread(target=inherited.run, args=(self._write_now_and_then,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._latest is not None:
            self._latest = Progress(100.0, f"done: {self._latest.text}")
        self._ended.set()
        self._thread.join(_PATIENCE_SECONDS)

    def tell(self, progress: Progress) -> None:
        """Take note of how far the work is."""
        self._latest = progress

    def _write_now_and_then(self) -> None:
        written: Progress | None = None
        ended = False
        while not ended:
            ended = self._ended.wait(_EVERY_SECONDS)
            progress = self._latest
            if progress is not None and progress != written:
                try:
                    self._write(progress)
                except httpx.HTTPError as error:
                    logger.warning("progress of %s is not shown: %s", self._name, error)
                written = progress

    def _write(self, progress: Progress) -> None:
        description = f"{self._name}: {progress.text}"
        if self._artifact is None:
            created = create_progress_artifact(progress.percent, key=self._key, description=description)
            self._artifact = created if isinstance(created, UUID) else None
        else:
            update_progress_artifact(self._artifact, progress.percent, description=description)


class TrainingProgress(ProgressArtifact):
    """The progress of a training, fed by the trainer's history rows."""

    def __init__(self, run: RunReference, model: str) -> None:
        super().__init__(f"train-cf-progress-{model}", model.upper())
        self._count = ProgressCount(run, model)

    def __call__(self, _model: str, trial: bool, row: HistoryRow) -> None:
        """Take note of one iteration or epoch."""
        self.tell(self._count(trial, row))


class ListsProgress(ProgressArtifact):
    """The progress of batch recommendations, fed by numbers of users done."""

    def __init__(self, n_users: int) -> None:
        super().__init__("recommend-all-progress", "Lists")
        self._n_users = n_users
        self._done = 0

    def __call__(self, n_users: int) -> None:
        """Take note of so many users more."""
        self._done += n_users
        share = 100.0 if self._n_users == 0 else min(100.0, 100 * self._done / self._n_users)
        self.tell(Progress(share, f"{self._done:,} of {self._n_users:,} users"))
