"""Where the files of one size lie, and the memory of a process, for `scale_stages.py`."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SAMPLE_USERS = 20_000
ALS_ITERATIONS, BPR_EPOCHS = 3, 2


@dataclass(frozen=True)
class Place:
    """Where the files of one size lie."""

    folder: Path
    size: str

    @property
    def reviews(self) -> Path:
        return self.folder / self.size / "reviews.parquet"

    @property
    def store_uri(self) -> str:
        return str(self.folder / self.size / "store")

    @property
    def evaluation(self) -> Path:
        return self.folder / self.size / "evaluation.json"

    def run(self, **als):
        """Return the run of the night; its settings are the defaults but for the number of steps."""
        from recsys.config.schema import TrainingConfig
        from recsys.pipeline.run import open_run

        config = TrainingConfig.model_validate(
            {
                "als": {"preset": "default", "iterations": ALS_ITERATIONS, "checkpoint_every": 2, **als},
                "bpr": {
                    "preset": "original",
                    "epochs": BPR_EPOCHS,
                    "checkpoint_every": 2,
                    "validate_every": 1,
                },
                "evaluation": {"max_users": SAMPLE_USERS},
            }
        )
        return open_run(self.store_uri, config)


def memory_now() -> int:
    """Return the resident bytes of this process."""
    return _status("VmRSS")


def peak_memory() -> int:
    """Return the largest resident size since the last ``forget_peak``, bytes."""
    return _status("VmHWM")


def forget_peak() -> None:
    """Let the peak begin again at what is resident now (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def _status(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024 if found else 0


def begin() -> int:
    """Import what a night imports and return the resident bytes before the work."""
    import recsys.pipeline.nightly  # noqa: F401 - for its memory

    forget_peak()
    return memory_now()


def loaded(run):
    """Load the data and return (resident bytes before that, facts); the peak begins again after it."""
    from recsys.pipeline.run import load_dataset

    before = begin()
    data = load_dataset(run)
    facts = {"load_peak": peak_memory() - before, "held": memory_now() - before, **counts(data)}
    forget_peak()
    return before, facts


def counts(data):
    return {
        "n_users": data.n_users,
        "n_items": data.n_items,
        "n_interactions": int(data.X_train_confidence.nnz),
        "n_positives": int(data.X_train_binary.nnz),
        "n_held_out": data.val_interactions.height + data.test_interactions.height,
        "n_test_users": int(np.count_nonzero(data.held_out("test").counts())),
    }


def measured(before: int, seconds: float, **more):
    return {"seconds": seconds, "peak_bytes": peak_memory() - before, "before_bytes": before, **more}
