"""What a data version looks like in numbers, and what about it deserves a warning."""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.cf.data.build import summary_counts
from recsys.cf.data.dataset import InteractionDataset
from recsys.cf.data.funnel import Funnel
from recsys.cf.data.split import TRAIN, multi_row_event_share
from recsys.types import Json

# Above this share of rows in multi-row events a split by rows would measure leakage.
MULTI_ROW_EVENT_WARNING = 0.20
UNREADABLE_SHARE_WARNING = 0.05
FLAT_QUALITY_STD = 0.01


def data_stats(
    dataset: InteractionDataset, interactions: pl.DataFrame, funnel: Funnel, split_unit: str
) -> Json:
    """Return data_stats.json: funnel, sizes, density, rating shares, distributions and warnings.

    Shares and densities are fractions (0-1). Distributions of rating, comment_quality and confidence are over
    train rows, that of popularity (log1p of train counts) over items; rating shares are over all cleaned rows.
    """
    share = multi_row_event_share(interactions)
    train = interactions.filter(pl.col("split") == TRAIN)
    return {
        "funnel": [step.to_json() for step in funnel.steps],
        "rows_in": funnel.rows_in,
        "rows_out": funnel.rows_out,
        "sizes": _sizes(dataset, interactions),
        "density": dataset.X_train_confidence.nnz / (dataset.n_users * dataset.n_items),
        "split_unit": split_unit,
        "multi_row_event_share": share,
        "rating_shares": _rating_shares(interactions["rating"]),
        "distributions": {
            "rating": _distribution(train["rating"].to_numpy()),
            "comment_quality": _distribution(train["comment_quality"].to_numpy()),
            "confidence": _distribution(train["confidence"].to_numpy()),
            "popularity": _distribution(dataset.item_popularity),
        },
        "warnings": _warnings(dataset, interactions, funnel, share, split_unit),
    }


def _sizes(dataset: InteractionDataset, interactions: pl.DataFrame) -> Json:
    return {
        **summary_counts(dataset),
        "validation_users": dataset.val_interactions["user_idx"].n_unique(),
        "train_positives": int(dataset.X_train_binary.nnz),
        "explicit_hard_negatives": len(dataset.user_hard_neg_train.explicit.indices),
        "implicit_hard_negatives": len(dataset.user_hard_neg_train.implicit.indices),
        "items_without_train_rows": int((dataset.item_train_counts == 0).sum()),
        "cleaned_rows": interactions.height,
        "cleaned_users": dataset.user_metadata.height,
        "cleaned_items": interactions["item_id"].n_unique(),
    }


def _rating_shares(ratings: pl.Series) -> dict[str, float]:
    stars, counts = np.unique(np.floor(ratings.to_numpy() + 0.5).astype(int), return_counts=True)
    return {str(star): float(count / len(ratings)) for star, count in zip(stars, counts, strict=True)}


def _distribution(values: NDArray[np.floating[Any]]) -> dict[str, float]:
    exact = values.astype(np.float64)
    p01, p50, p99 = np.percentile(exact, [1, 50, 99])
    return {
        "min": float(exact.min()), "max": float(exact.max()), "mean": float(exact.mean()),
        "std": float(exact.std()), "p01": float(p01), "p50": float(p50), "p99": float(p99),
    }  # fmt: skip


def _warnings(
    dataset: InteractionDataset, interactions: pl.DataFrame, funnel: Funnel, share: float, split_unit: str
) -> list[str]:
    warnings = []
    for step in funnel.steps:
        if step.step == "parse" and step.rows > UNREADABLE_SHARE_WARNING * funnel.rows_in:
            warnings.append(
                f"{step.rows / funnel.rows_in:.1%} of the raw rows were dropped for {step.reason}: "
                "check the column's format"
            )
    if share > MULTI_ROW_EVENT_WARNING:
        warnings.append(
            f"{share:.1%} of the rows share user and time with another row (one review under several items)"
            + ("; data.split_unit row cuts such events, so its test leaks" if split_unit == "row" else "")
        )
    quality = interactions["comment_quality"].to_numpy().astype(np.float64)
    if quality.std() < FLAT_QUALITY_STD:
        warnings.append(
            f"comment_quality does not discriminate (about {quality.mean():.2f} for every row): "
            "confidence is the rating plus a constant"
        )
    if dataset.val_interactions.is_empty():
        warnings.append("no user has positives at three different times, so there is no validation split")
    return warnings
