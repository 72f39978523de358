"""Whether the trainings of a run fit into the memory there is, asked before one begins."""

from recsys.cf.data.dataset import InteractionDataset
from recsys.cf.models.memory import require_memory
from recsys.cf.tuning.auto import search_space
from recsys.config.settings import available_threads
from recsys.pipeline.run import RunReference
from recsys.planning.memory import als_bytes, bpr_bytes, hybrid_bytes


def require_memory_of_run(run: RunReference, data: InteractionDataset, dimensions: int) -> None:
    """Refuse to start when the trainings of the run, at once and with the largest searched model, cannot fit.

    ``dimensions`` of the embeddings, where they are loaded.
    """
    n_bytes, threads = 0, run.config.runtime.threads or available_threads()
    for model in run.config.runtime.models:
        config = run.section(model)
        ladder = search_space(model).ladders.get("factors", ())
        if "factors" in run.searched[model] and ladder:
            config = config.model_copy(update={"factors": max(ladder)})
        if model == "als":
            n_bytes += als_bytes(data.n_users, data.n_items, data.X_train_confidence.nnz, config, threads)
        elif model == "hybrid":
            n_positives = data.X_train_binary.nnz
            n_bytes += hybrid_bytes(data.n_users, data.n_items, n_positives, dimensions, config)
        else:
            n_bytes += bpr_bytes(data.n_users, data.n_items, data.X_train_binary.nnz, config, threads)
    require_memory(
        f"training {' and '.join(run.config.runtime.models)}",
        n_bytes,
        "set fewer factors, fewer bpr.samples_per_epoch or data.max_users, or train one "
        "model at a time with runtime.models",
    )
