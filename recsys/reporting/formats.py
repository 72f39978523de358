"""Numbers as people read them; a missing number is a dash."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

MISSING = "–"
_MINUS = "−"


def count(value: float | None) -> str:
    """Return a whole number with thousands separated: 369,099."""
    return MISSING if value is None else _typeset(f"{value:,.0f}")


def metric(value: float | None) -> str:
    """Return a metric with four decimals (0.1834), three above one (8.512)."""
    return MISSING if value is None else _typeset(f"{value:.4f}" if abs(value) <= 1 else f"{value:.3f}")


def signed(value: float | None) -> str:
    """Return a difference of metrics with its sign: +0.1283."""
    return MISSING if value is None else _typeset(f"{value:+.4f}")


def interval(difference: float | None, low: float | None, high: float | None) -> str:
    """Return a difference with its interval: +0.1283 [+0.1171, +0.1392]."""
    if difference is None or low is None or high is None:
        return signed(difference)
    return f"{signed(difference)} [{signed(low)}, {signed(high)}]"


def percent(share: float | None, *, sign: bool = False) -> str:
    """Return a share as a percentage: 0.2 gives 20 %, or +20 % with ``sign``; one decimal below ten."""
    if share is None:
        return MISSING
    decimals = 0 if abs(share) >= 0.0995 or share == 0 else 1
    return _typeset(f"{100 * share:{'+' if sign else ''},.{decimals}f} %")


def seconds(value: float | None) -> str:
    """Return a duration: 0.42 s, 12.3 s, 3 min 05 s, 2 h 04 min."""
    if value is None:
        return MISSING
    if value < 1:
        return f"{value:.2f} s"
    if value < 59.95:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def n_bytes(value: float | None) -> str:
    """Return a size in decimal units: 300 MB, 1.2 GB."""
    if value is None:
        return MISSING
    for unit in ("B", "kB", "MB"):
        if value < 999.5:
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def compact(value: float) -> str:
    """Return a number of any size in few characters, for axes and settings: 0.05, 1.2M, 1e-04."""
    size = abs(value)
    if size >= 1e9:
        return _typeset(f"{value:.1e}")
    if size >= 1e6:
        return _typeset(f"{value / 1e6:.3g}M")
    if size >= 1e4:
        return _typeset(f"{value / 1e3:.3g}k")
    return _typeset(f"{value:.4g}" if size >= 1e-3 or size == 0 else f"{value:.1e}")


def anything(value: Any) -> str:
    """Return a setting, a gate's number or the like as text, whatever its type."""
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return count(value)
    if isinstance(value, float):
        return compact(value) if math.isfinite(value) else MISSING
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(anything(entry) for entry in value)}]"
    return str(value)


def moment(value: str) -> str:
    """Return an ISO time as 25 November 2026, 01:02 UTC; a text that is no time is returned as it is."""
    parsed = instant(value)
    return value if parsed is None else f"{parsed.day} {parsed:%B %Y, %H:%M} UTC"


def minute(value: str) -> str:
    """Return an ISO time as 2026-11-25 01:02 (UTC), for tables; other text is returned as it is."""
    parsed = instant(value)
    return value if parsed is None else f"{parsed:%Y-%m-%d %H:%M}"


def instant(value: str) -> datetime | None:
    """Return an ISO time in UTC (one without a zone is UTC already); None for a text that is no time."""
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        return None
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)


def _typeset(formatted: str) -> str:
    return formatted.replace("-", _MINUS) if formatted.startswith("-") else formatted
