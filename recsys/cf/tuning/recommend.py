"""A first configuration for a shop, from its size and its confidences, with the reason for each setting.

Rules of thumb from what was measured on the sets of README's tables; `auto` or `recsys tune` then measure on the
shop itself, and win where they disagree.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from recsys.cf.tuning.auto import ALS_SPACE
from recsys.config.schema import AlsConfig, BprConfig
from recsys.config.settings import available_threads
from recsys.errors import ConfigError
from recsys.planning.memory import als_bytes, bpr_bytes
from recsys.types import Json

_FACTORS = ((50_000, 32), (5_000_000, 64))  # interactions up to which that many factors are enough
_MOST_FACTORS = 128
_SPARSE_USER, _DENSE_USER = 3.0, 50.0  # mean interactions of a user
_TYPICAL_WEIGHT = 10.0  # of an observed pair, in unobserved ones
_FEW_STARS_STD = 0.8  # confidences spread less: nearly everybody gives the same stars
_SEARCHED_INTERACTIONS = 5_000_000  # up to here a night's trials take minutes
_MIN_VALIDATION_USERS = 50
# at 4,131 test users the smallest difference that shows is 6.5 %; it falls with the root of their number
_VISIBLE_AT, _VISIBLE = 4131, 0.065


@dataclass(frozen=True)
class Shop:
    """What the rules look at; None where it is not known."""

    users: int
    items: int
    interactions: int  # train rows
    confidence_mean: float | None = None  # in [1, 6]
    confidence_std: float | None = None
    disliked_share: float | None = None  # of the train rows, 0-1
    validation_users: int | None = None
    test_users: int | None = None


@dataclass(frozen=True)
class Setting:
    """One recommended setting."""

    path: str  # such as als.factors
    value: Any
    reason: str


def shop_of(stats: Json) -> Shop:
    """Return the shop of a data version's data_stats.json."""
    sizes, confidence = stats["sizes"], stats["distributions"]["confidence"]
    return Shop(
        users=sizes["users"],
        items=sizes["items"],
        interactions=sizes["train"],
        confidence_mean=confidence["mean"],
        confidence_std=confidence["std"],
        disliked_share=1 - sizes["train_positives"] / max(sizes["train"], 1),
        validation_users=sizes["validation_users"],
        test_users=sizes["test_users"],
    )


def recommend_settings(shop: Shop) -> tuple[Setting, ...]:
    """Return recommended settings, in the order of the configuration file. Raises ConfigError for an empty shop."""
    if min(shop.users, shop.items, shop.interactions) < 1:
        raise ConfigError("users, items and interactions must be at least 1")
    if shop.interactions > shop.users * shop.items:
        raise ConfigError(
            f"{shop.interactions:,} interactions do not fit {shop.users:,} users x {shop.items:,} items"
        )
    return (*_als(shop), *_bpr(shop), *_promotion(shop))


def as_yaml(shop: Shop, settings: tuple[Setting, ...]) -> str:
    """Return the settings as a YAML fragment that `--config` takes, each below its reason."""
    lines = [
        f"# for {shop.users:,} users x {shop.items:,} items, {shop.interactions:,} train interactions "
        f"({shop.interactions / shop.users:.2f} per user)",
        f"# training needs about {needed_bytes(shop, settings) / 1e6:,.0f} MB beside the data",
    ]
    section = ""
    for one in settings:
        name, field = one.path.split(".")
        if name != section:
            lines.append(f"{name}:")
            section = name
        value = yaml.safe_dump(one.value, default_flow_style=True).strip().removesuffix("...").strip()
        lines += [f"  # {one.reason}", f"  {field}: {value}"]
    return "\n".join(lines) + "\n"


def needed_bytes(shop: Shop, settings: tuple[Setting, ...]) -> int:
    """Return the predicted bytes of both trainings side by side, with the most factors that trials may choose."""
    chosen: dict[str, dict[str, Any]] = {"als": {}, "bpr": {}}
    if _is_searched(shop):
        chosen["als"]["factors"] = max(ALS_SPACE.ladders["factors"])
    for one in settings:
        section, field = one.path.split(".")
        if section in chosen:
            chosen[section][field] = one.value
    size, threads = (shop.users, shop.items, shop.interactions), available_threads()
    als, bpr = AlsConfig(**chosen["als"]), BprConfig(**chosen["bpr"])
    return als_bytes(*size, als, threads) + bpr_bytes(*size, bpr, threads)


def _als(shop: Shop) -> Iterator[Setting]:
    per_user = shop.interactions / shop.users
    searched = _is_searched(shop)
    if searched:
        yield Setting("als.preset", "auto", "trials on validation choose the fields that are not set here")
    else:
        yield Setting("als.preset", "sparse_data" if per_user < _SPARSE_USER else "default", _why_fixed(shop))
    yield Setting(
        "als.solver",
        "native",
        "exact, the same bytes at any number of threads; take implicit for a GPU",
    )
    if not searched:
        yield from _fixed_als(shop, per_user)
    yield _preference(shop)


def _fixed_als(shop: Shop, per_user: float) -> Iterator[Setting]:
    factors = next((n for limit, n in _FACTORS if shop.interactions <= limit), _MOST_FACTORS)
    yield Setting("als.factors", factors, f"{shop.interactions:,} interactions do not feed more")
    mean = shop.confidence_mean or 5.5
    alpha = min(max((_TYPICAL_WEIGHT - 1) * 5 / max(mean - 1, 0.1), 1.0), 100.0)
    yield Setting(
        "als.alpha",
        float(f"{alpha:.2g}"),
        f"a typical pair (confidence {mean:.2f}) weighs as {_TYPICAL_WEIGHT:.0f} unobserved ones",
    )
    if per_user < _SPARSE_USER:
        yield Setting(
            "als.regularization", 50.0, f"{per_user:.2f} interactions a user say little: 50 to 200 won"
        )
    elif per_user < _DENSE_USER:
        yield Setting("als.regularization", 100.0, f"{per_user:.1f} interactions a user: 50 to 500 won")
    else:
        yield Setting("als.regularization", 40.0, f"{per_user:.0f} interactions a user: 40 won on MovieLens")


def _preference(shop: Shop) -> Setting:
    if shop.disliked_share is None:
        return Setting("als.preference", "threshold", "a low rating is no liking (stars are not known here)")
    spread = shop.confidence_std or 0.0
    if shop.disliked_share == 0:
        return Setting("als.preference", "binary", "no disliked row is in train")
    return Setting(
        "als.preference",
        "threshold",
        f"{shop.disliked_share:.1%} of the rows are dislikes; confidences spread by {spread:.2f}, "
        + ("too little for continuous" if spread < _FEW_STARS_STD else "so continuous is worth a trial"),
    )


def _bpr(shop: Shop) -> Iterator[Setting]:
    if _is_searched(shop):
        yield Setting(
            "bpr.preset", "auto", "negatives, regularization and learning rate by trials on validation"
        )
        return
    yield Setting("bpr.preset", "original", _why_fixed(shop))
    yield Setting("bpr.negative_sampling", "uniform", "never far behind on any set")
    yield Setting("bpr.regularization", 0.03 if shop.interactions < 10 * shop.users else 0.003, "by density")
    if shop.interactions > _SEARCHED_INTERACTIONS:
        yield Setting("bpr.warm_start", True, "last night's factors save most epochs where they take minutes")


def _promotion(shop: Shop) -> Iterator[Setting]:
    if shop.test_users:
        visible = _VISIBLE * (_VISIBLE_AT / shop.test_users) ** 0.5
        yield Setting(
            "promotion.tolerance",
            min(max(round(1.5 * visible, 2), 0.02), 0.5),
            f"{shop.test_users:,} test users show differences above about {visible:.1%}",
        )


def _is_searched(shop: Shop) -> bool:
    enough = shop.validation_users is None or shop.validation_users >= _MIN_VALIDATION_USERS
    return enough and shop.interactions <= _SEARCHED_INTERACTIONS


def _why_fixed(shop: Shop) -> str:
    if shop.interactions > _SEARCHED_INTERACTIONS:
        return (
            f"{shop.interactions:,} interactions: trials every night take long, use recsys tune now and then"
        )
    return f"{shop.validation_users} validation users are too few for trials"
