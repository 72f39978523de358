"""Whether the trainings of a run fit into the memory there is, asked before one begins."""

from typing import Any

from recsys.cf.data.dataset import InteractionDataset
from recsys.cf.models.memory import require_memory
from recsys.cf.tuning.auto import search_space
from recsys.config.settings import available_threads
from recsys.pipeline.run import RunReference
from recsys.planning.memory import als_bytes, als_spark_bytes, bpr_bytes, hybrid_bytes, torchrec_bytes


def require_memory_of_run(run: RunReference, data: InteractionDataset, dimensions: int) -> None:
    """Refuse to start when the trainings of the run, at once and with the largest searched model, cannot fit.

    ``dimensions`` of the embeddings, where they are loaded.
    """
    n_bytes = 0
    for model in run.config.runtime.models:
        config = run.section(model)
        ladder = search_space(model).ladders.get("factors", ())
        if "factors" in run.searched[model] and ladder:
            config = config.model_copy(update={"factors": max(ladder)})
        n_bytes += _fit_bytes(run, model, config, data, dimensions)
    require_memory(
        f"training {' and '.join(run.config.runtime.models)}",
        n_bytes,
        "set fewer factors, fewer bpr.samples_per_epoch or data.max_users, or train one "
        "model at a time with runtime.models",
    )


def _fit_bytes(run: RunReference, model: str, config: Any, data: InteractionDataset, dimensions: int) -> int:
    """Return the bytes that this machine needs for a fit, whichever engine does the work."""
    shape, threads = (data.n_users, data.n_items), run.config.runtime.threads or available_threads()
    n_interactions, n_positives = data.X_train_confidence.nnz, data.X_train_binary.nnz
    engine = getattr(run.config.runtime.engine, model)
    if engine == "torchrec":
        tables = 3 if model == "hybrid" else 1  # Adam's moments
        return torchrec_bytes(*shape, config.factors, tables, run.config.torchrec)
    if engine == "spark":
        return als_spark_bytes(*shape, n_interactions, config.factors, threads)
    if model == "als":
        return als_bytes(*shape, n_interactions, config, threads)
    if model == "hybrid":
        return hybrid_bytes(*shape, n_positives, dimensions, config)
    return bpr_bytes(*shape, n_positives, config, threads)
