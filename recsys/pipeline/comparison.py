"""Evaluations side by side: differences with their intervals, tests, and what the test set can see at all."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from recsys.cf.evaluation.baselines import improvement
from recsys.cf.evaluation.evaluate import Evaluation
from recsys.cf.evaluation.significance import (
    POWER,
    Interval,
    Vector,
    holm,
    paired_bootstrap,
    permutation_test,
    smallest_detectable,
)
from recsys.config.schema import TrainingConfig
from recsys.types import Json


class Comparison:
    """Compares evaluations of the same users, with the resamples, level and seed of one configuration."""

    def __init__(self, config: TrainingConfig) -> None:
        self._config = config.evaluation
        self._seed = config.runtime.seed
        self.headline = config.promotion.metric
        ranked = [f"{name}@{k}" for k in config.evaluation.k_values for name in ("recall", "ndcg")]
        gated = [self.headline, config.promotion.choose_by]
        self.tested_metrics = list(dict.fromkeys([*ranked, *gated]))  # those that get intervals

    def interval(
        self, a: Evaluation, b: Evaluation, metric: str, users: NDArray[np.bool_] | None = None
    ) -> Interval:
        """Return the interval of a - b, over all users or the marked ones, of which there must be some."""
        ours, theirs = _of_users(a, b, metric, users)
        return paired_bootstrap(
            ours,
            theirs,
            resamples=self._config.bootstrap_resamples,
            level=self._config.confidence_level,
            seed=self._seed,
        )

    def against(self, model: Evaluation, baseline: Evaluation) -> Json:
        """Return metrics, baseline, improvement, improvement_ci, difference, power and n_users of a model."""
        intervals = {metric: self.interval(model, baseline, metric) for metric in self.tested_metrics}
        gains = {name: improvement(model.metrics[name], baseline.metrics[name]) for name in intervals}
        documents = {name: one.to_json() for name, one in intervals.items()}
        return {
            "metrics": model.metrics,
            "baseline": baseline.metrics,
            "improvement": gains,
            "improvement_ci": {
                name: [one["relative_low"], one["relative_high"]] for name, one in documents.items()
            },
            "difference": documents,
            "power": self.power(model, baseline),
            "n_users": model.n_users,
        }

    def power(self, a: Evaluation, b: Evaluation, users: NDArray[np.bool_] | None = None) -> Json:
        """Return the smallest difference in the headline metric that these users would show, and its chance.

        Over all users or the marked ones, of which there must be some.
        """
        ours, theirs = _of_users(a, b, self.headline, users)
        smallest = smallest_detectable(ours, theirs, level=self._config.confidence_level)
        mean = b.metrics[self.headline] if users is None else float(theirs.mean())
        return {
            "metric": self.headline,
            "power": POWER,
            "smallest_difference": smallest,
            "smallest_relative": smallest / mean if mean else None,
        }

    def table(
        self,
        evaluations: Mapping[str, Evaluation],
        pairs: Sequence[tuple[str, str]],
        users: Mapping[str, NDArray[np.bool_]] | None = None,
    ) -> list[Json]:
        """Return a row per pair on the headline metric, p-values adjusted together after Holm.

        ``users`` marks those on whom the second of a pair may be compared, all where it is not named; a pair
        for which nobody is left has no row.
        """
        rows = []
        for a, b in pairs:
            marked = (users or {}).get(b)
            if marked is not None and not marked.any():
                continue
            p_value = permutation_test(
                *_of_users(evaluations[a], evaluations[b], self.headline, marked),
                permutations=self._config.bootstrap_resamples,
                seed=self._seed,
            )
            interval = self.interval(evaluations[a], evaluations[b], self.headline, marked)
            rows.append({"a": a, "b": b, "metric": self.headline, **interval.to_json(), "p_value": p_value})
        adjusted = holm([row["p_value"] for row in rows])
        return [{**row, "p_adjusted": p} for row, p in zip(rows, adjusted, strict=True)]


def _of_users(
    a: Evaluation, b: Evaluation, metric: str, users: NDArray[np.bool_] | None
) -> tuple[Vector, Vector]:
    """Return the metric of both by user, of all users or the marked ones."""
    ours, theirs = a.per_user[metric], b.per_user[metric]
    return (ours, theirs) if users is None else (ours[users], theirs[users])
