"""Events that automations can wait for."""

from collections.abc import Sequence

from prefect.events import emit_event

CHAMPION_CHANGED = "train-cf.champion.changed"


def emit_champion_changed(
    store_uri: str, champion: str, previous: str | None, reasons: Sequence[str]
) -> None:
    """Tell that another model serves now: who, instead of whom, and why."""
    emit_event(
        event=CHAMPION_CHANGED,
        resource={
            "prefect.resource.id": f"train-cf.registry.{store_uri}",
            "prefect.resource.name": f"registry in {store_uri}",
        },
        payload={"champion": champion, "previous": previous, "reasons": list(reasons), "store": store_uri},
    )
