"""The ``auto`` presets: hyperparameters chosen each night by short trials on the validation split.

A coordinate search over small ladders: cheap (seconds), deterministic, and warm from the last night's choice.
Fields that the configuration sets are not searched.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from recsys.cf.models.base import EARLY_STOP_METRIC, FitResult
from recsys.errors import DivergedError
from recsys.types import HistoryRow, Json

MIN_VALIDATION_USERS = 50  # with fewer, differences between trials are noise: the first guess is kept
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SearchSpace:
    """Ladders to climb, in this order, and what a first night tries before: every combination of ``coarse``."""

    ladders: Mapping[str, tuple[Any, ...]]
    coarse: Mapping[str, tuple[Any, ...]]
    start: Mapping[str, Any]


# First guesses: what did well on sparse reviews (hasaki, amazon_magazine, demo shop; see DECISIONS.md).
ALS_SPACE = SearchSpace(
    ladders={
        "regularization": (0.01, 0.1, 1.0, 3.0, 10.0, 25.0, 50.0, 100.0, 200.0, 400.0),
        "alpha": (1.0, 3.0, 10.0, 30.0, 100.0),
        "factors": (16, 32, 64, 128),
    },
    coarse={"regularization": (1.0, 10.0, 50.0, 200.0), "alpha": (1.0, 10.0)},
    start={"regularization": 50.0, "alpha": 10.0, "factors": 64},
)
BPR_SPACE = SearchSpace(
    ladders={
        "negative_sampling": ("uniform", "adaptive", "popularity", "hard_merged", "hard_mixed"),
        "regularization": (0.0001, 0.001, 0.003, 0.01, 0.03, 0.1),
        "learning_rate": (0.01, 0.02, 0.05, 0.1, 0.2),
        "item_bias": (False, True),
    },
    coarse={
        "negative_sampling": ("uniform", "adaptive", "popularity", "hard_merged", "hard_mixed"),
        "regularization": (0.001, 0.01, 0.03),
    },
    start={
        "negative_sampling": "uniform",
        "regularization": 0.03,
        "learning_rate": 0.05,
        "item_bias": False,
    },
)


NO_SPACE = SearchSpace(ladders={}, coarse={}, start={})


def search_space(model: str) -> SearchSpace:
    """Return the space of "als" or "bpr"; "hybrid" has no trials each night: its space is empty."""
    return {"als": ALS_SPACE, "bpr": BPR_SPACE, "hybrid": NO_SPACE}[model]


@dataclass(frozen=True)
class Choice:
    """The settings chosen and every trial behind them; no trial when the search was skipped."""

    settings: Mapping[str, Any]
    trials: tuple[Json, ...]
    note: str


def choose_settings(
    space: SearchSpace,
    free: frozenset[str],
    last_choice: Mapping[str, Any] | None,
    validation_users: int,
    fit: Callable[[Mapping[str, Any]], FitResult],
) -> Choice:
    """Return the settings of ``free`` fields whose trial fit ranks best on validation.

    Args:
        space: ladders and first guess.
        free: fields that the configuration leaves to the search.
        last_choice: settings of the last night; where given, only their neighbourhood is tried.
        validation_users: users the validation metric is a mean over.
        fit: trains with these settings, validating; its history carries the metric.
    """
    ladders = {name: values for name, values in space.ladders.items() if name in free}
    warm = last_choice is not None and all(
        last_choice.get(name) in values for name, values in ladders.items()
    )
    start = {name: (last_choice if warm and last_choice else space.start)[name] for name in ladders}
    if not ladders:
        return Choice({}, (), "every searched setting is fixed by the configuration")
    if validation_users < MIN_VALIDATION_USERS:
        return Choice(start, (), f"{validation_users} validation users are too few to compare settings")
    search = _Search(fit)
    best = start if warm else max(_combinations(space.coarse, start), key=search.score)
    for name, values in ladders.items():
        best = _climb(best, name, values, search)
    trials = tuple({**trial, "chosen": trial["settings"] == best} for trial in search.trials)
    return Choice(
        best, trials, f"best of {len(trials)} trials" + (", warm from the last night" if warm else "")
    )


def _combinations(coarse: Mapping[str, tuple[Any, ...]], start: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return ``start`` with every combination of the coarse values of the fields it has."""
    names = [name for name in coarse if name in start]
    return [
        {**start, **dict(zip(names, values, strict=True))}
        for values in product(*(coarse[name] for name in names))
    ]


class _Search:
    def __init__(self, fit: Callable[[Mapping[str, Any]], FitResult]) -> None:
        self._fit = fit
        self.trials: list[Json] = []

    def score(self, settings: Mapping[str, Any]) -> float:
        """Return the best validation metric of a trial; equal settings are tried once."""
        for trial in self.trials:
            if trial["settings"] == settings:
                return float(trial[EARLY_STOP_METRIC])
        started = time.perf_counter()
        try:
            metrics = _best_metrics(self._fit(settings).history)
        except DivergedError as error:  # a setting that diverges is a bad one, not a failed night
            logger.info("trial %s: %s", dict(settings), error)
            metrics = {EARLY_STOP_METRIC: 0.0}
        self.trials.append({"settings": dict(settings), **metrics, "seconds": time.perf_counter() - started})
        logger.info("trial %s: %s", dict(settings), metrics)
        return metrics[EARLY_STOP_METRIC]


def _best_metrics(history: Sequence[HistoryRow]) -> dict[str, float]:
    validated = [row for row in history if EARLY_STOP_METRIC in row]
    top = max(validated, key=lambda row: float(row[EARLY_STOP_METRIC] or 0.0))
    return {name: float(value or 0.0) for name, value in top.items() if "@" in name}


def _climb(best: Mapping[str, Any], name: str, values: Sequence[Any], search: _Search) -> Mapping[str, Any]:
    """Return the best settings reached by walking up or down one ladder while the metric rises."""
    for step in (1, -1):
        at = values.index(best[name]) + step
        while 0 <= at < len(values):
            candidate = {**best, name: values[at]}
            if search.score(candidate) <= search.score(best):
                break
            best, at = candidate, at + step
    return best
