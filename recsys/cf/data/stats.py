"""What a data version looks like in numbers, and what about it deserves a warning."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.cf.data.build import summary_counts
from recsys.cf.data.dataset import InteractionDataset
from recsys.cf.data.funnel import Funnel
from recsys.cf.data.split import TRAIN, multi_row_event_rows
from recsys.types import Json

# Above this share of rows in multi-row events a split by rows would measure leakage.
MULTI_ROW_EVENT_WARNING = 0.20
UNREADABLE_SHARE_WARNING = 0.05
FLAT_QUALITY_STD = 0.01
SATURATED_QUALITY_MEDIAN = 0.99  # at least half of the reviews get the full score


@dataclass
class RowFacts:
    """What the statistics need of the interactions, collected part by part."""

    cleaned_rows: int = 0
    cleaned_items: set[str] = field(default_factory=set)
    stars: Counter[int] = field(default_factory=Counter)
    event_rows: int = 0  # in events of two or more rows
    split_rows: int = 0  # with both indices and a time
    _train: list[pl.DataFrame] = field(default_factory=list)

    def add(self, part: pl.DataFrame) -> None:
        """Take the next part of the interactions in; each user is in one part."""
        self.cleaned_rows += part.height
        self.cleaned_items.update(part["item_id"].unique())
        stars, counts = np.unique(np.floor(part["rating"].to_numpy() + 0.5).astype(int), return_counts=True)
        self.stars.update(dict(zip(stars.tolist(), counts.tolist(), strict=True)))
        event_rows, split_rows = multi_row_event_rows(part)
        self.event_rows += event_rows
        self.split_rows += split_rows
        self._train.append(part.filter(pl.col("split") == TRAIN).select("rating", "comment_quality"))

    def multi_row_event_share(self) -> float:
        """Return the share (0-1) of rows that share user and time with another row."""
        return self.event_rows / self.split_rows if self.split_rows else 0.0

    def train_values(self, name: str) -> NDArray[np.float32]:
        """Return rating or comment_quality of all train rows."""
        return np.concatenate([part[name].to_numpy() for part in self._train])


def data_stats(dataset: InteractionDataset, facts: RowFacts, funnel: Funnel, split_unit: str) -> Json:
    """Return data_stats.json: funnel, sizes, density, rating shares, distributions and warnings.

    Shares and densities are fractions (0-1). Distributions of rating, comment_quality and confidence are over
    train rows, that of popularity (log1p of train counts) over items; rating shares are over all cleaned rows.
    """
    distributions = {
        "rating": _distribution(facts.train_values("rating")),
        "comment_quality": _distribution(facts.train_values("comment_quality")),
        "confidence": _distribution(dataset.X_train_confidence.data),
        "popularity": _distribution(dataset.item_popularity),
    }
    return {
        "funnel": [step.to_json() for step in funnel.steps],
        "rows_in": funnel.rows_in,
        "rows_out": funnel.rows_out,
        "sizes": _sizes(dataset, facts),
        "density": dataset.X_train_confidence.nnz / (dataset.n_users * dataset.n_items),
        "split_unit": split_unit,
        "multi_row_event_share": facts.multi_row_event_share(),
        "rating_shares": {str(star): facts.stars[star] / facts.cleaned_rows for star in sorted(facts.stars)},
        "distributions": distributions,
        "warnings": _warnings(dataset, facts, funnel, distributions["comment_quality"], split_unit),
    }


def _sizes(dataset: InteractionDataset, facts: RowFacts) -> Json:
    return {
        **summary_counts(dataset),
        "validation_users": dataset.val_interactions["user_idx"].n_unique(),
        "train_positives": int(dataset.X_train_binary.nnz),
        "explicit_hard_negatives": len(dataset.user_hard_neg_train.explicit.indices),
        "implicit_hard_negatives": len(dataset.user_hard_neg_train.implicit.indices),
        "items_without_train_rows": int((dataset.item_train_counts == 0).sum()),
        "cleaned_rows": facts.cleaned_rows,
        "cleaned_users": dataset.user_metadata.height,
        "cleaned_items": len(facts.cleaned_items),
    }


def _distribution(values: NDArray[np.floating[Any]]) -> dict[str, float]:
    exact = values.astype(np.float64)
    p01, p50, p99 = np.percentile(exact, [1, 50, 99])
    return {
        "min": float(exact.min()), "max": float(exact.max()), "mean": float(exact.mean()),
        "std": float(exact.std()), "p01": float(p01), "p50": float(p50), "p99": float(p99),
    }  # fmt: skip


def _warnings(
    dataset: InteractionDataset, facts: RowFacts, funnel: Funnel, quality: Json, split_unit: str
) -> list[str]:
    warnings = []
    for step in funnel.steps:
        unreadable = step.step == "read" and step.rows
        if unreadable or (step.step == "parse" and step.rows > UNREADABLE_SHARE_WARNING * funnel.rows_in):
            warnings.append(
                f"{step.rows / funnel.rows_in:.1%} of the raw rows were dropped for {step.reason}: "
                + ("see the sample rows in the funnel" if unreadable else "check the column's format")
            )
    share = facts.multi_row_event_share()
    if share > MULTI_ROW_EVENT_WARNING:
        warnings.append(
            f"{share:.1%} of the rows share user and time with another row (one review under several items)"
            + ("; data.split_unit row cuts such events, so its test leaks" if split_unit == "row" else "")
        )
    if quality["std"] < FLAT_QUALITY_STD or quality["p50"] >= SATURATED_QUALITY_MEDIAN:
        warnings.append(
            f"comment_quality does not discriminate (mean {quality['mean']:.2f}, median {quality['p50']:.2f}, "
            f"standard deviation {quality['std']:.3f}): confidence is hardly more than the rating plus a constant"
        )
    if dataset.val_interactions.is_empty():
        warnings.append("no user has positives at three different times, so there is no validation split")
    return warnings
