"""Search spaces: which settings a study tries, named by configuration path ("als.factors"), in stages."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal, TypeAlias

from pydantic import Field, model_validator

from recsys.config.schema import Section

Value: TypeAlias = bool | int | float | str | None
Settings: TypeAlias = Mapping[str, Value]


class Range(Section):
    """Numbers from ``low`` to ``high``, both included, for the samplers random and tpe."""

    low: float
    high: float
    log: bool = Field(False, description="Equal ratios are equally likely instead of equal differences.")
    whole: bool = Field(False, description="Whole numbers only.")

    @model_validator(mode="after")
    def _ordered(self) -> "Range":
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError("low < high must hold, and 0 < low with log")
        return self


Domain: TypeAlias = tuple[Value, ...] | Range
# "midpoints": the best value and the points half-way to its neighbours; numbers: steps away from the best value
Refinement: TypeAlias = Literal["midpoints"] | tuple[float, ...]


class Stage(Section):
    """A part of a study: everything before it has ended when it starts."""

    name: str = Field(min_length=1)
    sampler: Literal["grid", "random", "tpe"] = Field(
        "grid", description="grid: all combinations; random; tpe: through Optuna (extra tune)."
    )
    trials: int | None = Field(None, ge=1, description="How many; needed by random and tpe, not by grid.")
    fixed: dict[str, Value] = Field(default_factory=dict, description="Settings that all its trials have.")
    search: dict[str, Domain] = Field(default_factory=dict, description="Choices or ranges, by path.")
    refine: dict[str, Refinement] = Field(
        default_factory=dict, description="Paths searched around the best trial of the stages before."
    )

    @model_validator(mode="after")
    def _samplable(self) -> "Stage":
        if not self.search and not self.refine:
            raise ValueError("a stage searches or refines at least one setting")
        if self.sampler == "grid":
            ranged = [path for path, domain in self.search.items() if isinstance(domain, Range)]
            if ranged:
                raise ValueError(f"a grid needs choices, not ranges: {', '.join(ranged)}")
        elif self.trials is None:
            raise ValueError(f"sampler {self.sampler} needs trials, the number of them")
        if any(isinstance(domain, tuple) and not domain for domain in self.search.values()):
            raise ValueError("a setting with no choice")
        return self


class Space(Section):
    """What a study searches."""

    name: str = Field(min_length=1)
    model: str = Field(description="The model that is trained: als, bpr, ...")
    stages: tuple[Stage, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _first_stage_stands_alone(self) -> "Space":
        if self.stages[0].refine:
            raise ValueError("the first stage has nothing to refine")
        if len({stage.name for stage in self.stages}) < len(self.stages):
            raise ValueError("two stages have one name")
        return self

    def paths(self) -> list[str]:
        """Return every path that some stage sets, in the order of their first appearance."""
        named = (path for stage in self.stages for path in (*stage.search, *stage.refine, *stage.fixed))
        return list(dict.fromkeys(named))


@dataclass(frozen=True)
class TrialPoint:
    """A finished trial as samplers and stages see it."""

    number: int
    stage: str
    settings: Settings
    value: float  # the objective, higher is better
    complete: bool  # False: pruned or diverged


@dataclass(frozen=True)
class OpenStage:
    """A stage whose values are known: settings that stay, and a domain for each that is searched."""

    name: str
    sampler: str
    n_trials: int | None  # None: as many as the grid has
    fixed: Settings
    domains: Mapping[str, Domain]

    def grid(self) -> Iterator[Settings]:
        """Yield every combination of the choices, the last path varying fastest."""
        choices = [domain if isinstance(domain, tuple) else () for domain in self.domains.values()]
        for values in product(*choices):
            yield {**self.fixed, **dict(zip(self.domains, values, strict=True))}


def best_trial(trials: Sequence[TrialPoint]) -> TrialPoint | None:
    """Return the complete trial with the highest value, the earlier one of equals; None without any."""
    complete = [trial for trial in trials if trial.complete]
    return max(complete, key=lambda trial: (trial.value, -trial.number)) if complete else None


def open_stage(space: Space, number: int, before: Sequence[TrialPoint]) -> OpenStage:
    """Return stage ``number`` of the space with its values, given all trials of the stages before.

    A later stage keeps every setting of the best trial so far, but for what it fixes or searches itself.

    Raises:
        ValueError: it refines, and no earlier trial is complete.
    """
    stage = space.stages[number]
    if number == 0:
        return OpenStage(stage.name, stage.sampler, stage.trials, dict(stage.fixed), dict(stage.search))
    best = best_trial(before)
    if best is None:
        raise ValueError(f"stage {stage.name} refines the best trial, and none of {len(before)} is complete")
    domains: dict[str, Domain] = dict(stage.search)
    for path, how in stage.refine.items():
        centre = best.settings.get(path)
        if isinstance(centre, bool) or not isinstance(centre, int | float):
            raise ValueError(f"{path} is {centre!r} in the best trial; only numbers can be refined")
        tried = [trial.settings.get(path) for trial in before]
        domains[path] = _around(centre, how, [one for one in tried if isinstance(one, int | float)])
    fixed = {path: value for path, value in best.settings.items() if path not in domains} | dict(stage.fixed)
    return OpenStage(stage.name, stage.sampler, stage.trials, fixed, domains)


def _around(centre: float, how: Refinement, tried: Sequence[float]) -> tuple[Value, ...]:
    """Return the values to try around ``centre``, ascending, all positive, whole where all tried ones are."""
    if isinstance(how, tuple):
        found = {centre + step for step in how} | {centre}
    else:
        ladder = sorted(set(tried) | {centre})
        place = ladder.index(centre)
        below = ladder[place - 1] if place > 0 else None
        above = ladder[place + 1] if place + 1 < len(ladder) else None
        # at an end of the ladder: as far beyond as the midpoint on the other side is near
        if below is None and above is not None and above > 0:
            below = centre * centre / above
        if above is None and below is not None and below > 0:
            above = centre * centre / below
        found = {centre} | {_middle(centre, other) for other in (below, above) if other is not None}
    whole = all(isinstance(one, int) for one in (centre, *tried))
    values = {
        max(1, round(one)) if whole else float(f"{one:.6g}") for one in found if one > 0 or one == centre
    }
    return tuple(sorted(values))


def _middle(a: float, b: float) -> float:
    return math.sqrt(a * b) if a > 0 and b > 0 else (a + b) / 2


def setting_label(settings: Settings, varied: Sequence[str] | None = None) -> str:
    """Return settings in one line: factors=64, regularization=0.01 (of ``varied`` alone, where given)."""
    kept = settings if varied is None else {path: settings[path] for path in varied if path in settings}
    return ", ".join(f"{path.rpartition('.')[2]}={_short(value)}" for path, value in kept.items())


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
