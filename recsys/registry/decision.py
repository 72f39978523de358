"""A decision and everything it rests on: the numbers of the candidates, the gates, the outcome with reasons."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from recsys.config.schema import PromotionConfig
from recsys.types import Json


@dataclass(frozen=True)
class VersusChampion:
    """Candidate minus champion on the promotion metric, relative to the champion, on the same users.

    Users with a test pair that the champion was trained on are left out: it knows the answer.
    """

    relative: (
        float | None
    )  # None where the champion scored 0, so that nothing can be worse, or nobody is left
    relative_low: float | None
    relative_high: float | None  # None: unbounded
    n_users: int  # of the comparison, without those left out
    smallest_relative: float | None = None  # the smallest difference that so many users show in 80 % of cases
    n_users_left_out: int = 0  # test users with a test pair in the champion's training data


@dataclass(frozen=True)
class CandidateNumbers:
    """What is known of one model of the night; what could not be measured is missing, None or NaN."""

    model_id: str
    model_type: str
    finite: bool  # all factors are finite
    metrics: Mapping[str, float]
    baseline: Mapping[str, float]  # popularity on the same users
    improvement: float | None  # relative gain on the promotion metric; None where the baseline is 0
    improvement_ci: tuple[float, float] | None  # of the difference to the baseline on the promotion metric
    coverage: float | None  # share of items in somebody's top list, at the cutoff of the promotion metric
    score_range_ok: bool
    artifacts_ok: bool  # read back from the store and hashed again
    versus_champion: VersusChampion | None = None  # None: there is no champion, or it could not be compared
    versus_champion_common: VersusChampion | None = None  # over the users the champion knows; for the record
    factors_sha256: Mapping[str, str] | None = None


@dataclass(frozen=True)
class ChampionNumbers:
    """What is known of the model that serves now."""

    model_id: str
    factors_sha256: Mapping[str, str] | None = None
    data_are_older: bool = False  # the data version it was trained on was made before tonight's


@dataclass(frozen=True)
class Gate:
    """One condition, what was found, what was asked, and the verdict in a sentence."""

    name: str
    passed: bool
    value: float | None
    threshold: float | None
    reason: str


@dataclass(frozen=True)
class Decision:
    """The outcome: whether the alias moves, to which model, and why."""

    promote: bool
    champion: str | None  # model_id of the champion afterwards
    model_id: str | None  # the candidate chosen, also when promotion is switched off
    gates: Mapping[str, tuple[Gate, ...]]  # by model_id
    reasons: tuple[str, ...]
    candidates: tuple[CandidateNumbers, ...]  # everything that was looked at
    config: PromotionConfig  # every threshold

    def refusals(self) -> dict[str, tuple[str, ...]]:
        """Return the reasons of the gates that said no, by model_id; models that passed all are left out."""
        refused = {
            model_id: tuple(gate.reason for gate in gates if not gate.passed)
            for model_id, gates in self.gates.items()
        }
        return {model_id: reasons for model_id, reasons in refused.items() if reasons}

    def to_json(self) -> Json:
        """Return the decision as a JSON object."""
        return {
            "promote": self.promote,
            "champion": self.champion,
            "model_id": self.model_id,
            "reasons": list(self.reasons),
            "gates": {
                model_id: [_without_nan(asdict(gate)) for gate in gates]
                for model_id, gates in self.gates.items()
            },
            "candidates": [_without_nan(asdict(candidate)) for candidate in self.candidates],
            "config": self.config.model_dump(mode="json"),
        }


def finite(value: float | None) -> float | None:
    """Return the number, None for one that is missing, NaN or infinite."""
    return value if value is not None and math.isfinite(value) else None


def _without_nan(value: Any) -> Any:
    """Return the value with None for every number that is not finite, as JSON has none."""
    if isinstance(value, Mapping):
        return {key: _without_nan(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(one) for one in value]
    return finite(value) if isinstance(value, float) else value
