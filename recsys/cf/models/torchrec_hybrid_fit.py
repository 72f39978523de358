"""HybridCFBERT past one machine's memory: tables cut by rows over processes, by TorchRec; the same fit from outside."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.cf.embeddings.align import AlignedEmbeddings
from recsys.cf.models.base import FitControl, FitResult, Validate
from recsys.cf.models.fit_record import FitRecord
from recsys.cf.models.hybrid import refuse_divergence
from recsys.cf.models.hybrid_fold import fold_items
from recsys.cf.models.hybrid_start import MOMENTS, TABLES, content_matrix, start_arrays
from recsys.cf.models.torchrec_fit import follow, looks
from recsys.cf.models.torchrec_job import Job, JobFiles
from recsys.cf.models.torchrec_ranks import require_torchrec, working_directory
from recsys.cf.sampling.pools import NegativePools
from recsys.config.schema import HybridConfig, TorchRecConfig
from recsys.types import Factors, FloatMatrix, Json

_PARTS = tuple(f"{part}{name}" for name in TABLES for part in ("", *MOMENTS))
_SERVED = "served_items"  # U's counterpart for adaptive draws, written by the ranks
logger = logging.getLogger(__name__)


def fit_hybrid_torchrec(
    pools: NegativePools,
    embeddings: AlignedEmbeddings,
    config: HybridConfig,
    *,
    settings: TorchRecConfig,
    seed: int,
    validate: Validate | None = None,
    control: FitControl | None = None,
) -> FitResult:
    """Return the factors of the best epoch on validation (of the last one without validation).

    The loss, the steps of Adam, the start and each epoch's triplets are those of ``fit_hybrid``; the order of the
    triplets is another, one that ranks compute without a list of it. The number of ranks changes only the order in
    which float32 numbers are added. A checkpoint has the arrays of ``fit_hybrid``.

    Args:
        pools: positives and pools of negatives of one data version.
        embeddings: of the same items; an item without one has no content part.
        config: hyperparameters; ``batch_size`` is of all ranks together; ``use_gpu`` has no meaning here.
        settings: ranks, hosts, their environment; ``batch_size`` is for BPR alone.
        seed: seeds the start, every draw and the order of the triplets.
        validate: measures factors; called every ``validate_every`` epochs and after the last.
        control: progress, cancellation, threads, checkpoints.

    Needs no torch where it is called. Raises ConfigError where the environment of the ranks lacks something,
    WorkerLost when a rank vanishes (a rerun goes on from the last checkpoint), NotEnoughMemory, DivergedError,
    TrainingCancelled, TrainingTimeout. Same arguments, same bytes on one kind of CPU, also after a resume. Memory of
    this process: U, V and the moments when a fit starts and for a checkpoint, else U, V and the best of them; of each
    rank: three times its rows, 0.4 GB of libraries, and its batch.
    """
    require_torchrec(settings)
    control = control or FitControl()
    record, content = FitRecord(config.epochs, config, validate, control), content_matrix(embeddings)
    if record.checkpoint is not None:
        logger.info("the hybrid model by TorchRec goes on after epoch %d", record.checkpoint.iteration)
        start = record.checkpoint.arrays
    else:
        start = start_arrays(pools, content.shape[1], config, seed)
    if not record.goes_on:  # killed after its last checkpoint
        done = _folded(start, content, config)
        return record.result(lambda: done, "cpu")
    exports, kept = looks(config, bool(validate), bool(control.checkpoints))
    with working_directory(settings) as files:
        job = Job(
            model="hybrid",
            settings=config.model_dump(mode="json"),
            seed=seed,
            batch_size=config.batch_size,
            n_users=pools.n_users,
            n_items=pools.n_items,
            first_epoch=len(record.rows),
            exports=exports,
            kept=kept,
        )
        files.make_out(_SERVED, (pools.n_items, config.factors))
        given = {"content": content, "steps": start["steps"]}
        files.write(job, pools, {name: start[name] for name in _PARTS}, given)
        del start, content, given  # they are in the files
        return _followed(files, job, config, settings, record, control)


def _followed(
    files: JobFiles,
    job: Job,
    config: HybridConfig,
    settings: TorchRecConfig,
    record: FitRecord,
    control: FitControl,
) -> FitResult:
    steps = np.zeros((), dtype=np.int64)

    def look(line: Json) -> None:
        refuse_divergence(line["largest_factor"], line["row"], config)
        steps[()] = line["steps"]

    def arrays() -> dict[str, NDArray[Any]]:
        return {name: np.array(files.map(f"out_{name}")) for name in _PARTS} | {"steps": steps.copy()}

    def latest() -> Factors:
        return _folded({name: files.map(f"out_{name}") for name in TABLES}, files.map("content"), config)

    return follow(files, job, settings, record, control, look, latest, arrays)


def _folded(tables: Mapping[str, NDArray[Any]], content: FloatMatrix, config: HybridConfig) -> Factors:
    U, V, P = (tables[name] for name in TABLES)
    return Factors(np.array(U), fold_items(V, content, np.ascontiguousarray(P), config))
