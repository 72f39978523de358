"""The metrics of the last run in the file that RECSYS_METRICS_FILE names, for monitoring."""

import logging
from datetime import UTC, datetime

from recsys.config.settings import metrics_file
from recsys.errors import RecsysError
from recsys.pipeline.run import RunReference
from recsys.reporting.metrics_export import render_metrics, write_metrics
from recsys.types import Json

logger = logging.getLogger(__name__)


def export_metrics(run: RunReference, result: Json) -> None:
    """Write the metrics of ``result``, which this attempt made or found, if RECSYS_METRICS_FILE is set.

    The time and the champion are those of now: a result that is found again is old, and may name a champion
    that was rolled back since.

    A failure is a warning: the night has ended, and monitoring sees that the file grows old.
    """
    path = metrics_file()
    if path is None:
        return
    try:
        state = run.registry().state()
        champion = state.models.get(state.champion or "")
        ended_at = datetime.now(UTC).isoformat()
        metrics = render_metrics(result, champion.to_json() if champion else None, ended_at=ended_at)
        write_metrics(path, metrics)
    except (OSError, RecsysError) as error:
        logger.warning("metrics could not be written to %s (RECSYS_METRICS_FILE): %s", path, error)
