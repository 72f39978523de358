"""What a fit by TorchRec leaves in files for its ranks, and they for it: the only way the two sides talk.

The side that asks for the fit (the driver) needs no torch; its ranks may run in another environment. Everything is
.npy or JSON below one directory, mapped by each rank, so that no process holds a copy of the data.
"""

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from recsys.cf.data.dataset import UserItemSets
from recsys.cf.sampling.pools import NegativePools
from recsys.types import FloatMatrix, Json

GO, STOP = "go", "stop"
# What a rank raises when a neighbour, the network or a GPU is gone. Gloo raises plain RuntimeErrors: words tell them.
_LOSS_KINDS = {"DistError", "AcceleratorError"}
_LOSS_WORDS = (
    *("gloo", "nccl", "cuda", "connection", "timed out", "timeout", "socket", "broken pipe", "rendezvous"),
    *("process group", "store", "peer", "rank"),
)
_POOL_SETS = ("seen", "explicit", "implicit")
_POOL_ARRAYS = ("positive_indptr", "positive_users", "positive_items", "alias_threshold", "alias_item")


@dataclass(frozen=True)
class Process:
    """A process, so that it can be told from a later one of the same number."""

    host: str
    pid: int
    started: float

    @classmethod
    def this(cls) -> "Process":
        """Return the one that asks."""
        return cls(platform.node(), os.getpid(), psutil.Process().create_time())

    def is_gone(self) -> bool:
        """Return whether it has ended; only a process of this host can be seen to have."""
        if self.host != platform.node():
            return False
        try:
            return psutil.Process(self.pid).create_time() != self.started
        except psutil.NoSuchProcess:
            return True


def is_defect(error: Exception) -> bool:
    """Return whether a rerun would surely meet the error again, so that it must not count as a lost rank.

    Doubt is no: a fit that is run again in vain costs less than a night that is given up for a lost neighbour.
    """
    if isinstance(error, OSError) or _LOSS_KINDS & {kind.__name__ for kind in type(error).__mro__}:
        return False
    if isinstance(error, RuntimeError | ValueError) and not isinstance(error, NotImplementedError):
        return not any(word in str(error).lower() for word in _LOSS_WORDS)
    return True


@dataclass(frozen=True)
class Job:
    """One fit: what each rank has to know beside the arrays."""

    model: str
    settings: Json  # of the model's section
    seed: int
    batch_size: int  # triplets of a step, of all ranks together
    n_users: int
    n_items: int
    first_epoch: int  # 0-based
    exports: list[int]  # 1-based epochs after which the tables are written out and a word is waited for
    kept: list[int]  # those of them after which a checkpoint is taken: it needs all that the ranks hold
    driver: Process = field(default_factory=Process.this)


class JobFiles:
    """The directory of one fit."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log = directory / "torchrun.log"
        self._progress = directory / "progress.jsonl"

    def write(
        self,
        job: Job,
        pools: NegativePools,
        tables: Mapping[str, FloatMatrix],
        given: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        """Write everything the ranks read, and the empty matrices that they write ``tables`` out to.

        Args:
            job: what to do.
            pools: positives and pools of negatives.
            tables: what the ranks start from and change.
            given: what they read besides, under these names.
        """
        for name, array in (given or {}).items():
            self._save(name, array)
        for name in _POOL_ARRAYS:
            self._save(f"pools_{name}", getattr(pools, name))
        for name in _POOL_SETS:
            sets: UserItemSets = getattr(pools, name)
            self._save(f"pools_{name}_indptr", sets.indptr)
            self._save(f"pools_{name}_indices", sets.indices)
        for name, table in tables.items():
            self._save(f"start_{name}", table)
            self.make_out(name, table.shape)
        self._progress.touch()
        (self.directory / "job.json").write_text(json.dumps(asdict(job)))  # last: the rest is there

    def read_job(self) -> Job:
        """Return the job."""
        document = json.loads((self.directory / "job.json").read_text())
        return Job(**{**document, "driver": Process(**document["driver"])})

    def read_pools(self, job: Job) -> NegativePools:
        """Return the pools, mapped. What only the local kernel needs (the weights of blocks) is left empty."""
        parts: dict[str, Any] = {
            name: UserItemSets(self.map(f"pools_{name}_indptr"), self.map(f"pools_{name}_indices"))
            for name in _POOL_SETS
        }
        parts |= {name: self.map(f"pools_{name}") for name in _POOL_ARRAYS}
        nothing = np.zeros(0)
        return NegativePools(
            n_users=job.n_users, n_items=job.n_items, user_weight=nothing, item_weight=nothing, **parts
        )

    def map(self, name: str) -> NDArray[Any]:
        """Return an array, mapped; what is written to it is seen by nobody."""
        # not "r": compiled code takes arrays that cannot be written for another type
        return np.asarray(np.load(self._path(name), mmap_mode="c", allow_pickle=False))

    def make_out(self, name: str, shape: tuple[int, ...]) -> None:
        """Make the matrix of zeros that ``out`` returns; takes no room until it is written to."""
        np.lib.format.open_memmap(self._path(f"out_{name}"), "w+", np.float32, shape)

    def out(self, name: str) -> "np.memmap[Any, np.dtype[np.float32]]":
        """Return the matrix that ranks write a table out to, mapped and shared."""
        return np.lib.format.open_memmap(self._path(f"out_{name}"), "r+")

    def tell(self, line: Json) -> None:
        """Append a line of progress (rank 0)."""
        with self._progress.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def lines(self, after: int) -> tuple[list[Json], int]:
        """Return the whole lines of progress that begin at byte ``after``, and where the next will begin."""
        with self._progress.open("rb") as file:
            file.seek(after)
            whole, newline, _ = file.read().rpartition(b"\n")
        return [json.loads(line) for line in whole.splitlines()], after + len(whole) + len(newline)

    def decide(self, epoch: int, word: str) -> None:
        """Say whether the fit goes on after a 1-based epoch (driver)."""
        draft = self.directory / f"word-{epoch:06d}.draft"
        draft.write_text(word)
        draft.replace(self.directory / f"word-{epoch:06d}")

    def word(self, epoch: int) -> str | None:
        """Return what was decided after an epoch, None while nothing was."""
        path = self.directory / f"word-{epoch:06d}"
        return path.read_text() if path.exists() else None

    def fail(self, rank: int, error: Exception) -> None:
        """Keep an error of a rank for the driver: one that a rerun would meet again."""
        text = json.dumps({"kind": type(error).__name__, "message": str(error)})
        (self.directory / f"error-{rank:05d}.json").write_text(text)

    def errors(self) -> list[Json]:
        """Return the errors that ranks kept, by rank."""
        return [json.loads(path.read_text()) for path in sorted(self.directory.glob("error-*.json"))]

    def _save(self, name: str, array: NDArray[Any]) -> None:
        np.save(self._path(name), array, allow_pickle=False)

    def _path(self, name: str) -> Path:
        return self.directory / f"{name}.npy"
