"""How far two data versions lie apart, in effect sizes: what changed for the models, not whether it is significant.

At these sizes every difference is significant; what matters is how large it is. ``changes`` are all on the scale
0 (the same) to 1 (nothing in common), so that one threshold can ask whether training again is worth it.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from recsys.cf.data.files import STATS_FILE, read_file
from recsys.cf.data.load import fetch_files, local_directory
from recsys.cf.data.manifest import read_manifest
from recsys.cf.data.mappings import MAPPINGS_FILE
from recsys.cf.data.version import resolve_version
from recsys.storage.base import Store
from recsys.types import Json

TOP_ITEMS = 20
_SIZES = {"rows": "cleaned_rows", "train_rows": "train", "users": "cleaned_users", "items": "items"}
_FILES = (STATS_FILE, MAPPINGS_FILE, "user_metadata.parquet", "item_train_counts.npy")
# Interactions per user, as people read them: 1, 2, 3-5, 6-10, 11 and more.
_ACTIVITY_BOUNDS = (1, 2, 3, 6, 11)
_ACTIVITY_NAMES = ("1", "2", "3-5", "6-10", "11+")
_MIN_RANKED = 3  # common items below which a rank correlation says nothing


@dataclass(frozen=True)
class _Facts:
    stats: Json
    users: pl.Series  # ids of all cleaned users
    stars: dict[str, float]  # share of the cleaned rows
    activity: dict[str, float]  # share of the users by interactions
    items: dict[str, int]  # train interactions of each kept item

    def top_items(self) -> set[str]:
        return set(sorted(self.items, key=lambda item_id: (-self.items[item_id], item_id))[:TOP_ITEMS])


def compare_versions(store: Store, before: str, after: str, *, cache_dir: Path | None = None) -> Json:
    """Return how ``after`` differs from ``before``; reads their small files, never the interactions.

    Returns:
        {before, after: ids; rows, train_rows, users, items: {before, after, change} where change is relative;
        items_kept, users_kept: share (0-1) of the earlier ones that are still there; star_shares, activity:
        {before, after} by star and by interactions per user; comment_quality: {before, after, effect} with
        Cohen's d; popularity: {spearman (None below 3 common items), top_20_overlap}; changes: {name: 0..1};
        largest: {name, change}}. Comparing a version with itself gives 0 everywhere.

    Raises DataVersionNotFound, and DataValidationError for a damaged version.
    """
    before, after = resolve_version(store, before), resolve_version(store, after)
    old, new = (_read(store, version, cache_dir) for version in (before, after))
    common_users = int(old.users.is_in(new.users.implode()).sum())
    common_items = len(old.items.keys() & new.items.keys())
    sizes = {name: _size(old.stats, new.stats, key) for name, key in _SIZES.items()}
    popularity = _popularity(old, new)
    changes = {
        "rows": _growth(sizes["rows"]),
        "users": _turnover(len(old.users), len(new.users), common_users),
        "items": _turnover(len(old.items), len(new.items), common_items),
        "stars": _total_variation(old.stars, new.stars),
        "activity": _total_variation(old.activity, new.activity),
        "popularity": 0.0 if popularity["spearman"] is None else 1.0 - max(0.0, popularity["spearman"]),
        "top_items": 1.0 - popularity["top_20_overlap"],
    }
    largest = max(changes, key=lambda name: changes[name])
    return {
        "before": before,
        "after": after,
        **sizes,
        "users_kept": common_users / len(old.users),
        "items_kept": common_items / len(old.items),
        "star_shares": {
            side: {star: facts.stars.get(star, 0.0) for star in sorted({*old.stars, *new.stars}, key=int)}
            for side, facts in (("before", old), ("after", new))
        },
        "activity": {"before": old.activity, "after": new.activity},
        "comment_quality": _quality(old.stats, new.stats),
        "popularity": popularity,
        "changes": changes,
        "largest": {"name": largest, "change": changes[largest]},
    }


def _read(store: Store, version: str, cache_dir: Path | None) -> _Facts:
    manifest = read_manifest(store, version)
    with local_directory(cache_dir, version) as directory:
        fetch_files(store, manifest, _FILES, directory)
        stats, mappings, metadata, counts = (read_file(directory / name) for name in _FILES)
    bins = np.searchsorted(_ACTIVITY_BOUNDS, metadata["interactions"].to_numpy(), side="right") - 1
    shares = np.bincount(bins, minlength=len(_ACTIVITY_NAMES)) / max(1, len(bins))
    return _Facts(
        stats,
        metadata["user_id"],
        stats["rating_shares"],
        dict(zip(_ACTIVITY_NAMES, shares.tolist(), strict=True)),
        dict(zip(mappings.item_ids, counts.tolist(), strict=True)),
    )


def _size(old: Json, new: Json, key: str) -> Json:
    before, after = old["sizes"][key], new["sizes"][key]
    return {"before": before, "after": after, "change": (after - before) / before}


def _growth(size: Json) -> float:
    """Return 1 - smaller / larger: doubling and halving are equally far, 0.5."""
    return float(1.0 - min(size["before"], size["after"]) / max(size["before"], size["after"]))


def _turnover(n_before: int, n_after: int, n_common: int) -> float:
    """Return 1 - how many are in both / how many are in either."""
    return 1.0 - n_common / (n_before + n_after - n_common)


def _total_variation(left: dict[str, float], right: dict[str, float]) -> float:
    """Return half the sum of the absolute differences: the share of rows that would have to move."""
    names = sorted({*left, *right})
    return sum(abs(left.get(name, 0.0) - right.get(name, 0.0)) for name in names) / 2


def _popularity(old: _Facts, new: _Facts) -> Json:
    common = sorted(old.items.keys() & new.items.keys())
    ranks = [[facts.items[item_id] for item_id in common] for facts in (old, new)]
    constant = any(len(set(counts)) < 2 for counts in ranks)
    known = len(common) >= _MIN_RANKED and not constant
    top_old, top_new = old.top_items(), new.top_items()
    return {
        "common_items": len(common),
        "spearman": _rank_correlation(*ranks) if known else None,
        "top_20_overlap": len(top_old & top_new) / max(len(top_old), len(top_new)),
    }


def _rank_correlation(left: list[int], right: list[int]) -> float:
    frame = pl.DataFrame({"left": left, "right": right})
    return float(frame.select(pl.corr("left", "right", method="spearman")).item())


def _quality(old: Json, new: Json) -> Json:
    """Return Cohen's d of the comment quality of train rows: difference of means over the pooled deviation."""
    before, after = (stats["distributions"]["comment_quality"] for stats in (old, new))
    pooled = np.sqrt((before["std"] ** 2 + after["std"] ** 2) / 2)
    difference = after["mean"] - before["mean"]
    return {
        "before": before["mean"],
        "after": after["mean"],
        "effect": float(difference / pooled) if pooled > 0 else None,
    }
