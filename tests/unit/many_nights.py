"""A history of many made-up nights, seeded: what the pipeline hands to the history page."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

from report_example import example_result

from recsys.reporting.night import night_record

LAST_NIGHT = datetime(2026, 11, 25, 1, 2, 3, tzinfo=UTC)


def many_nights(n: int, *, share_promoted: float = 0.3) -> dict[str, Any]:
    """Return n nights up to LAST_NIGHT, some of which promoted a model of their own."""
    draw = random.Random(11)
    nights: list[dict[str, Any]] = []
    events: list[dict[str, Any]] = []
    for place in range(n):
        when = LAST_NIGHT - timedelta(days=n - 1 - place)
        record = _night(place, when, draw, promote=place == 0 or draw.random() < share_promoted)
        nights.append(record)
        if record["outcome"] == "promoted":
            events.append(_event(len(events) + 1, record))
        record["champion"] = events[-1]["arguments"]["model_id"]
    return {
        "created_at": nights[-1]["created_at"],
        "store": "s3://shop/cf",
        "champion": nights[-1]["champion"],
        "nights": nights,
        "events": events,
    }


def _night(place: int, when: datetime, draw: random.Random, *, promote: bool) -> dict[str, Any]:
    result = example_result(promote=promote)
    result |= {"created_at": when.isoformat(), "run_id": f"r_{place:012x}_0011aabb"}
    record = night_record(result)
    for model in record["models"].values():
        factor = 1 + draw.gauss(0, 0.02)
        model["model_id"] = f"{model['model_id'].split('_')[0]}_{when:%Y%m%dT%H%M%SZ}_{place:08x}"
        model["metrics"] = {name: value * factor for name, value in model["metrics"].items()}
        model["improvement"] = {name: value * factor for name, value in model["improvement"].items()}
        model["improvement_ci"] = {
            name: [bound * factor for bound in bounds] for name, bounds in model["improvement_ci"].items()
        }
    record["champion"] = record["models"]["bpr"]["model_id"]
    return record


def _event(number: int, record: dict[str, Any]) -> dict[str, Any]:
    return {
        "number": number,
        "time": record["created_at"],
        "actor": record["run_id"],
        "action": "promote",
        "arguments": {"model_id": record["champion"], "from": None},
        "reasons": record["reasons"],
    }
