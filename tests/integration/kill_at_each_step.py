"""A publish killed by SIGKILL before and after each of its steps on the disk; run as a script by the kill test.

usage: kill_at_each_step.py TEMPLATE_STORE MODEL_DIR VERSION OUT_DIR
"""

import os
import shutil
import signal
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from recsys.registry.artifact import stage_model
from recsys.registry.catalogue import Registry
from recsys.storage.local import LocalStore

# Everything by which the local store changes the disk in a way that others can see.
STEPS = [(os, "fsync"), (os, "link"), (Path, "mkdir"), (Path, "replace"), (Path, "unlink")]


def publish(store: LocalStore, model_dir: Path, version: str) -> str:
    """Stage, register and promote one model."""
    model_id = stage_model(store, "als", version, model_dir, facts={})
    registry = Registry(store, actor="nightly")
    registry.register(model_id, "als", data_version="v_2", run_id="night-2", metrics={"recall@10": 0.3})
    registry.promote(model_id, reasons=["better"])
    return model_id


def die_at(position: int, after: bool) -> None:
    """Arrange that this process kills itself before, or after, its step number ``position``."""
    steps = count()

    def lethal(step: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            hit = next(steps) == position
            if hit and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = step(*args, **kwargs)
            if hit:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return wrapped

    for owner, name in STEPS:
        setattr(owner, name, lethal(getattr(owner, name)))


def main(template: Path, model_dir: Path, version: str, out: Path) -> None:
    """Leave one damaged store per position in ``out``, named "{position}-0-before" or "-1-after"."""
    for position in count():
        for moment in ("0-before", "1-after"):
            root = out / f"{position:03d}-{moment}"
            shutil.copytree(template, root)
            child = os.fork()
            if child == 0:
                die_at(position, moment == "1-after")
                publish(LocalStore(root), model_dir, version)
                os._exit(0)
            _, status = os.waitpid(child, 0)
            if not os.WIFSIGNALED(status):
                assert os.WEXITSTATUS(status) == 0, f"the publish failed in {root}"
                shutil.rmtree(root)
                return


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
