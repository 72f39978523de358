"""The metrics of the last run in the file that RECSYS_METRICS_FILE names, for monitoring."""

import logging

from recsys.config.settings import metrics_file
from recsys.errors import RecsysError
from recsys.pipeline.run import RunReference
from recsys.reporting.metrics_export import render_metrics, write_metrics
from recsys.types import Json

logger = logging.getLogger(__name__)


def export_metrics(run: RunReference, result: Json) -> None:
    """Write the metrics of ``result`` and the champion's age, if RECSYS_METRICS_FILE is set.

    A failure is a warning: the night has ended, and monitoring sees that the file grows old.
    """
    path = metrics_file()
    if path is None:
        return
    try:
        state = run.registry().state()
        champion = state.models.get(state.champion or "")
        metrics = render_metrics(result, champion.registered_at if champion else None)
        write_metrics(path, metrics)
    except (OSError, RecsysError) as error:
        logger.warning("metrics could not be written to %s (RECSYS_METRICS_FILE): %s", path, error)
