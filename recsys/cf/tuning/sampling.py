"""Which settings the next trials have: a function of space, seed and finished trials, so that a study resumes.

Trials come in batches. The settings of a batch depend on the trials before it alone, never on which of its
own ended first: the same study has the same table on one thread, on a cluster, and after a kill.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from recsys.cf.tuning.optuna_study import ask_tpe
from recsys.cf.tuning.space import Domain, OpenStage, Range, Settings, Space, TrialPoint, Value, open_stage
from recsys.rng import generator


@dataclass(frozen=True)
class PlannedTrial:
    """A trial to run: what it sets, and the first number of its batch, before which all trials have ended."""

    number: int
    stage: str
    settings: Settings
    batch_start: int


def next_batch(space: Space, trials: Sequence[TrialPoint], *, batch: int, seed: int) -> list[PlannedTrial]:
    """Return the trials of the current batch that have not ended; an empty list when the study is complete.

    Args:
        space: what to search.
        trials: every finished trial, in any order.
        batch: trials of a batch.
        seed: seeds random and tpe.

    Raises:
        ValueError: a stage cannot start, see ``open_stage``. MissingExtra: tpe without Optuna.
    """
    done = {trial.number: trial for trial in trials}
    start = 0
    for number in range(len(space.stages)):
        stage = open_stage(space, number, _before(done, start))
        for planned in _batches(stage, done, start, batch, seed):
            missing = [trial for trial in planned if trial.number not in done]
            if missing:
                return missing
            start = planned[-1].number + 1
    return []


def planned_trials(space: Space, trials: Sequence[TrialPoint]) -> int | None:
    """Return how many trials the study has in all; None while that depends on trials that have not ended."""
    total, done = 0, {trial.number: trial for trial in trials}
    for number in range(len(space.stages)):
        before = _before(done, total)
        if len(before) < total:
            return None
        stage = open_stage(space, number, before)
        total += len(_grid(stage, before)) if stage.n_trials is None else stage.n_trials
    return total


def _before(done: dict[int, TrialPoint], number: int) -> list[TrialPoint]:
    return [done[one] for one in sorted(done) if one < number]


def _batches(
    stage: OpenStage, done: dict[int, TrialPoint], first: int, batch: int, seed: int
) -> Iterator[list[PlannedTrial]]:
    grid = _grid(stage, _before(done, first)) if stage.n_trials is None else None
    total = len(grid) if grid is not None else stage.n_trials or 0
    for start in range(first, first + total, batch):
        numbers = range(start, min(start + batch, first + total))
        if grid is not None:
            settings = [grid[one - first] for one in numbers]
        elif stage.sampler == "random":
            settings = [draw_random(stage, seed, one) for one in numbers]
        else:
            same = [trial for trial in _before(done, start) if trial.stage == stage.name]
            settings = ask_tpe(stage, same, count=len(numbers), seed=seed, number=start)
        yield [
            PlannedTrial(number, stage.name, chosen, start)
            for number, chosen in zip(numbers, settings, strict=True)
        ]


def _grid(stage: OpenStage, before: Sequence[TrialPoint]) -> list[Settings]:
    """Return the grid without what an earlier stage has tried."""
    tried = [dict(trial.settings) for trial in before]
    return [settings for settings in stage.grid() if dict(settings) not in tried]


def draw_random(stage: OpenStage, seed: int, number: int) -> Settings:
    """Return the settings of one trial drawn at random; a function of stage, seed and number."""
    random = generator(seed, "tuning", stage.name, number)
    return {**stage.fixed, **{path: _draw(domain, random) for path, domain in stage.domains.items()}}


def _draw(domain: Domain, random: np.random.Generator) -> Value:
    if not isinstance(domain, Range):
        return domain[int(random.integers(len(domain)))]
    if domain.log:
        value = math.exp(random.uniform(math.log(domain.low), math.log(domain.high)))
    else:
        value = float(random.uniform(domain.low, domain.high))
    value = min(max(value, domain.low), domain.high)
    return round(value) if domain.whole else float(f"{value:.6g}")
