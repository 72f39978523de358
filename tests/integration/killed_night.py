"""A night whose process dies in one of its stages, in this process or in one of its own."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recsys.config.load import load_config
from recsys.pipeline import nightly
from recsys.registry.catalogue import Registry
from recsys.storage.open import open_store
from recsys.types import Json

SMALL = [
    *("als.regularization=50", "als.alpha=10", "als.factors=16", "als.iterations=10"),
    *("bpr.preset=original", "bpr.negative_sampling=uniform", "bpr.regularization=0.03", "bpr.epochs=30"),
    *("runtime.threads=1", "evaluation.bootstrap_resamples=1000"),
    "promotion.tolerance=0.2",  # so that BPR would pass against its sister
]
# A process that takes the arguments of the command and dies where the report and the result would be written.
DIES_AFTER_PROMOTION = """
import os, signal, sys
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[1] == "flow":
    from flows.embedded import use_embedded_server
    use_embedded_server()
    import flows.tasks
    from flows.command import main
    from flows.train_cf import train_cf
    flows.tasks.finish_run = die
    del sys.argv[1]
    main(train_cf)
else:
    from recsys.cli.main import run
    from recsys.pipeline import nightly
    nightly.finish_run = die
    run()
"""


class Died(BaseException):
    """What a stage raises in place of a signal, so that nothing catches it."""


def night(store: Path, *settings: str) -> Json:
    """Return the result of a whole night."""
    return nightly.run_nightly(str(store), load_config(None, [*SMALL, *settings]))


def killed_night(store: Path, *settings: str, stage: str = "finish_run") -> None:
    """Run a night up to ``stage``, in which it dies."""

    def die(*_: Any) -> None:
        raise Died

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nightly, stage, die)
        with pytest.raises(Died):
            night(store, *settings)


def failing(error: Exception) -> Callable[..., Any]:
    """Return a function that raises ``error`` whatever it is asked."""

    def fail(*_: Any, **__: Any) -> None:
        raise error

    return fail


def registry_of(store: Path, actor: str = "somebody@shop") -> Registry:
    """Return the registry of a store, as a person sees it."""
    return Registry(open_store(str(store)), actor=actor)


def dying_command(*arguments: str) -> list[str]:
    """Return a command line of ``DIES_AFTER_PROMOTION``; the first argument is "flow" or a command of recsys."""
    return [sys.executable, "-c", DIES_AFTER_PROMOTION, *arguments]
