"""How far tonight's data moved: for the report, and as a gate before anything is trained."""

import logging

from recsys.cf.data.drift import compare_versions
from recsys.cf.data.version import list_versions
from recsys.errors import DataError
from recsys.pipeline.fit import finished_fit
from recsys.pipeline.run import RunReference
from recsys.types import Json

logger = logging.getLogger(__name__)


def drift_since_last(run: RunReference) -> Json | None:
    """Return how the run's data version differs from the one made before it, None for the first version.

    It is for the report: a version before that is damaged or was collected is a warning, not the end of a night.
    """
    store = run.open_store()
    versions = [summary.version for summary in list_versions(store)]
    if run.data_version not in versions:
        return None
    place = versions.index(run.data_version)
    if not place:
        return None
    try:
        return compare_versions(store, versions[place - 1], run.data_version)
    except DataError as error:
        logger.warning("the change of the data is not told: %s", error)
        return None


def unchanged_since_champion(run: RunReference) -> str | None:
    """Return why there is nothing to train, or None when there is.

    The champion's data version is the one to compare with: many small changes, each below the threshold,
    add up. Without ``runtime.min_data_change``, a champion, or its data version, there is always something. A run
    that has trained a model goes on to its end: the champion may be its own.
    """
    threshold, state = run.config.runtime.min_data_change, run.registry().state()
    if threshold is None or state.champion is None:
        return None
    if any(finished_fit(run, model) for model in run.config.runtime.models):
        return None
    trained_on = state.models[state.champion].data_version
    try:
        drift = compare_versions(run.open_store(), trained_on, run.data_version)
    except DataError as error:  # a damaged version of tonight ends the night when it is loaded
        logger.warning(
            "data version %s of the champion cannot be compared with: training; %s", trained_on, error
        )
        return None
    largest = drift["largest"]
    logger.info(
        "data change since champion: largest=%s change=%.4f threshold=%.4f",
        largest["name"],
        largest["change"],
        threshold,
    )
    if largest["change"] >= threshold:
        return None
    return (
        f"nothing trained: the data moved by {largest['change']:.3f} at most ({largest['name']}) since {trained_on}, "
        f"on which {state.champion} was trained; runtime.min_data_change is {threshold:g}"
    )
