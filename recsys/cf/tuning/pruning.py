"""Ending trials that fall behind, by their validation curve and Optuna's pruners (extra ``tune``)."""

from collections.abc import Sequence
from typing import Any, Literal

from recsys.cf.tuning.optuna_study import curve, optuna
from recsys.types import HistoryRow, Json

PrunerName = Literal["none", "median", "halving"]
_STARTUP_TRIALS = 5  # of the median pruner: that many curves before one is compared
_REDUCTION = 3  # of successive halving: the best third of those that came so far goes on


class TrialPruned(Exception):
    """Raised inside a fit's progress callback when the trial has fallen behind; the fit ends with it."""


class Watch:
    """The progress callback of one trial: compares its curve with those of the trials before its batch.

    median: the best value so far is below the median of the others at the same step (Golovin et al. 2017).
    halving: not among the best third of those that reached a rung, 3, 9, 27, ... times ``warmup`` steps
    (asynchronous successive halving, Li et al. 2020). Nothing is pruned before ``warmup`` steps.

    Raises ConfigError when the extra is not installed.
    """

    def __init__(self, pruner: PrunerName, peers: Sequence[Json], *, objective: str, warmup: int) -> None:
        self._objective = objective
        self._trial: Any = None
        if pruner == "none":
            return
        module = optuna()
        study = module.create_study(direction="maximize", pruner=_pruner(module, pruner, warmup))
        states = {"complete": module.trial.TrialState.COMPLETE, "pruned": module.trial.TrialState.PRUNED}
        for peer in peers:
            if peer["state"] in states:
                study.add_trial(
                    module.trial.create_trial(
                        state=states[peer["state"]],
                        value=peer["value"],
                        intermediate_values=curve(peer["history"], objective),
                        system_attrs=peer["rungs"],
                    )
                )
        self._study, self._trial = study, study.ask()

    def __call__(self, row: HistoryRow) -> None:
        """Take note of one epoch or iteration. Raises TrialPruned."""
        value = row.get(self._objective)
        if self._trial is None or value is None:
            return
        step = int(row.get("epoch") or row.get("iteration") or 0)
        self._trial.report(float(value), step)
        if self._trial.should_prune():
            raise TrialPruned(f"{self._objective} {value:.4f} at step {step} is behind")

    @property
    def rungs(self) -> dict[str, float]:
        """Return the values at the rungs of halving that this trial reached, for the trials after it."""
        if self._trial is None:
            return {}
        reached = self._study.get_trials(deepcopy=False)[-1].system_attrs
        return {name: float(value) for name, value in reached.items() if name.startswith("completed_rung_")}


def _pruner(module: Any, name: PrunerName, warmup: int) -> Any:
    if name == "median":
        return module.pruners.MedianPruner(n_startup_trials=_STARTUP_TRIALS, n_warmup_steps=warmup)
    return module.pruners.SuccessiveHalvingPruner(min_resource=warmup, reduction_factor=_REDUCTION)
