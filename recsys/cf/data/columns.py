"""Which column of a shop's file means what: by the configuration, else by its usual names."""

from collections.abc import Sequence
from dataclasses import dataclass

from recsys.config.schema import InteractionColumns, ItemColumns
from recsys.errors import RawDataError


@dataclass(frozen=True)
class ColumnRule:
    """One column that preparation understands: its name here, its usual names, and what it holds."""

    name: str
    usual_names: tuple[str, ...]
    required: bool
    meaning: str


INTERACTION_RULES = (
    ColumnRule(
        "user_id", ("user_id", "userid", "customer_id", "reviewerID", "user"), True, "the shop's user id"
    ),
    ColumnRule(
        "item_id",
        ("item_id", "itemid", "product_id", "productid", "asin", "parent_asin", "item"),
        True,
        "the shop's item id",
    ),
    ColumnRule("rating", ("rating", "stars", "star", "overall", "score"), True, "stars, 1 to 5"),
    ColumnRule(
        "timestamp",
        ("timestamp", "cmt_date", "date", "unixReviewTime", "created_at", "time"),
        True,
        "time: ISO, DD/MM/YYYY, DD-MM-YYYY, unix seconds or milliseconds",
    ),
    ColumnRule(
        "comment", ("comment", "content", "reviewText", "review", "text", "cmt"), False, "review text"
    ),
    ColumnRule("comment_quality", ("comment_quality", "quality"), False, "ready quality score in [0, 1]"),
)
ITEM_RULES = (
    ColumnRule(
        "item_id", ("item_id", "itemid", "product_id", "productid", "asin", "id"), True, "the shop's item id"
    ),
    ColumnRule("title", ("title", "product_name", "name"), False, "the product's name"),
    ColumnRule("description", ("description",), False, "the product's text"),
    ColumnRule("num_sold_time", ("num_sold_time", "num_sold", "sold"), False, "number sold"),
)


def resolve_columns(
    name: str,
    found: Sequence[str],
    rules: Sequence[ColumnRule],
    configured: InteractionColumns | ItemColumns,
) -> dict[str, str]:
    """Return {our name: the file's column} for every column that exists.

    A configured name must exist. Otherwise the usual names are tried in order, exactly first and then
    ignoring case. Raises RawDataError naming every missing column at once.
    """
    resolved: dict[str, str] = {}
    missing: list[str] = []
    for rule in rules:
        wanted: str | None = getattr(configured, rule.name)
        column = _exact(wanted, found) if wanted is not None else _usual(rule.usual_names, found)
        if column is not None:
            resolved[rule.name] = column
        elif wanted is not None:
            missing.append(f"{rule.name} (configured as {wanted!r})")
        elif rule.required:
            missing.append(f"{rule.name} (looked for {', '.join(rule.usual_names)})")
    if missing:
        raise RawDataError(_missing_message(name, missing, found, rules))
    return resolved


def _exact(wanted: str, found: Sequence[str]) -> str | None:
    return wanted if wanted in found else None


def _usual(usual_names: Sequence[str], found: Sequence[str]) -> str | None:
    for name in usual_names:
        if name in found:
            return name
    by_folded = {name.strip().casefold(): name for name in reversed(found)}
    return next((by_folded[name.casefold()] for name in usual_names if name.casefold() in by_folded), None)


def _missing_message(
    name: str, missing: Sequence[str], found: Sequence[str], rules: Sequence[ColumnRule]
) -> str:
    schema = "; ".join(
        f"{rule.name}: {rule.meaning}" + ("" if rule.required else " (optional)") for rule in rules
    )
    example = missing[0].split(" ", 1)[0]
    option = "--item-column" if rules is ITEM_RULES else "--column"
    return (
        f"{name} has no column {' and no column '.join(missing)}. Columns found: {', '.join(found) or 'none'}. "
        f"Expected: {schema}. Map a column with {option} {example}=NAME."
    )
