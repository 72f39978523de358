"""How much of the objective each setting explains, in a measure that a person can follow."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from recsys.cf.tuning.space import TrialPoint

_BINS = 4


def importance(trials: Sequence[TrialPoint]) -> dict[str, float]:
    """Return for each setting the share of the objective's variance that lies between its values, 0 to 1.

    The correlation ratio: sum of n_v (mean_v - mean)^2 over the values v of a setting, divided by the total
    sum of squares (Pearson 1905; the main effect of an analysis of variance). On a full grid the shares of
    all settings add up to at most 1, the rest are interactions; elsewhere settings that were varied together
    share what they explain. Numbers with more than eight values are put into four bins of equal size.

    Only complete trials count; settings with one value are left out; nothing is returned for fewer than
    three trials or equal objectives. Most important first.
    """
    complete = [trial for trial in trials if trial.complete]
    values = np.array([trial.value for trial in complete])
    total = float(((values - values.mean()) ** 2).sum()) if len(values) > 2 else 0.0
    if total == 0:
        return {}
    shares = {}
    for path in dict.fromkeys(path for trial in complete for path in trial.settings):
        groups = _groups([trial.settings.get(path) for trial in complete])
        if len(set(groups)) > 1:
            between = 0.0
            for group in set(groups):
                inside = values[[one == group for one in groups]]
                between += len(inside) * float(inside.mean() - values.mean()) ** 2
            shares[path] = min(1.0, between / total)
    return dict(sorted(shares.items(), key=lambda pair: -pair[1]))


def _groups(values: Sequence[Any]) -> list[Any]:
    """Return the group of each value: itself, or its bin where there are many numbers."""
    numbers = [one for one in values if isinstance(one, int | float) and not isinstance(one, bool)]
    if len(numbers) < len(values) or len(set(numbers)) <= 2 * _BINS:
        return [repr(one) for one in values]
    ranks = np.argsort(np.argsort(numbers, kind="stable"), kind="stable")
    return [int(rank * _BINS // len(numbers)) for rank in ranks]
