"""Optuna (extra ``tune``) behind our own words: its samplers, its pruners, its databases.

The truth of a study are the trial documents in the store. Whatever needs Optuna builds an Optuna study from
them, in memory; so a study goes on wherever the store can be reached, and no database is shared by workers.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from recsys.cf.tuning.space import Domain, OpenStage, Range, Settings, TrialPoint
from recsys.errors import ConfigError
from recsys.rng import derive_seed
from recsys.types import Json

_STARTUP_TRIALS = 10  # of tpe, drawn at random
_SEEDS = 2**32


def optuna() -> Any:
    """Return the module, quiet. Raises ConfigError when the extra is not installed."""
    try:
        import optuna as module
    except ImportError as error:
        raise ConfigError(
            "this sampler, pruner or export needs Optuna: pip install 'train-cf[tune]', or take a grid "
            "without tuning.pruner"
        ) from error
    module.logging.set_verbosity(module.logging.WARNING)
    return module


def ask_tpe(
    stage: OpenStage, trials: Sequence[TrialPoint], *, count: int, seed: int, number: int
) -> list[Settings]:
    """Return ``count`` settings proposed by the tree-structured Parzen estimator (Bergstra et al. 2011).

    Args:
        stage: domains to search.
        trials: finished trials of the same stage.
        seed, number: seed of the study and first number of the batch; with the trials they decide all.

    Proposals of one batch repel each other (the "constant liar"), so that a batch is no single point.
    """
    module = optuna()
    # Optuna's generator wants 32 bits; a sampler per batch, so that a resumed study draws what it would have
    sampler = module.samplers.TPESampler(
        seed=derive_seed(seed, "tpe", stage.name, number) % _SEEDS,
        n_startup_trials=_STARTUP_TRIALS,
        multivariate=False,
        constant_liar=True,
    )
    study = module.create_study(direction="maximize", sampler=sampler)
    distributions = _distributions(stage.domains)
    for trial in trials:
        params = {path: trial.settings[path] for path in distributions}
        study.add_trial(
            module.trial.create_trial(params=params, distributions=distributions, value=trial.value)
        )
    asked = [study.ask(distributions) for _ in range(count)]
    return [{**stage.fixed, **{path: _rounded(one.params[path]) for path in distributions}} for one in asked]


def _rounded(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _distributions(domains: Mapping[str, Domain]) -> dict[str, Any]:
    module = optuna().distributions
    found: dict[str, Any] = {}
    for path, domain in domains.items():
        if not isinstance(domain, Range):
            found[path] = module.CategoricalDistribution(domain)
        elif domain.whole:
            found[path] = module.IntDistribution(round(domain.low), round(domain.high), log=domain.log)
        else:
            found[path] = module.FloatDistribution(domain.low, domain.high, log=domain.log)
    return found


def to_optuna(name: str, trials: Sequence[Json], *, objective: str, storage: str | None = None) -> Any:
    """Return an Optuna study with these trials and their curves, for its plots and its dashboard.

    Args:
        name: of the study.
        trials: trial documents with number, settings, state, value and history.
        objective: the metric in their history.
        storage: URL of a database, such as sqlite:///study.db, where the study is written; None: in memory.

    Raises:
        ConfigError: the extra is missing, or the database has a study of that name.
    """
    module = optuna()
    try:
        study = module.create_study(direction="maximize", study_name=name, storage=storage)
    except module.exceptions.DuplicatedStudyError as error:
        raise ConfigError(f"{storage} has a study {name} already; name another database") from error
    choices = _choices([trial["settings"] for trial in trials])
    states = module.trial.TrialState
    known = {"complete": states.COMPLETE, "pruned": states.PRUNED}
    for trial in trials:
        state = known.get(trial["state"], states.FAIL)
        study.add_trial(
            module.trial.create_trial(
                state=state,
                value=None if state == states.FAIL else trial["value"],
                params={path: trial["settings"][path] for path in choices if path in trial["settings"]},
                distributions={
                    path: module.distributions.CategoricalDistribution(values)
                    for path, values in choices.items()
                    if path in trial["settings"]
                },
                user_attrs={"stage": trial["stage"], "number": trial["number"], "seconds": trial["seconds"]},
                intermediate_values=curve(trial["history"], objective),
            )
        )
    return study


def curve(history: Sequence[Json], objective: str) -> dict[int, float]:
    """Return the objective by epoch or iteration, where it was measured."""
    return {
        int(row.get("epoch") or row.get("iteration") or 0): float(row[objective])
        for row in history
        if row.get(objective) is not None
    }


def _choices(settings: Sequence[Settings]) -> dict[str, list[Any]]:
    """Return the distinct values of every setting, in the order of their appearance."""
    found: dict[str, list[Any]] = {}
    for one in settings:
        for path, value in one.items():
            values = found.setdefault(path, [])
            if value not in values:
                values.append(value)
    return found
