"""BPR past one machine's memory: tables cut by rows over processes, by TorchRec; the same fit as seen from outside."""

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.cf.models.base import FitControl, FitResult, Validate
from recsys.cf.models.bpr import refuse_divergence
from recsys.cf.models.bpr_start import WarmStart, start_factors
from recsys.cf.models.fit_record import FitRecord
from recsys.cf.models.item_start import ItemStart
from recsys.cf.models.torchrec_job import Job, JobFiles
from recsys.cf.models.torchrec_ranks import Ranks, require_torchrec, working_directory
from recsys.cf.sampling.pools import NegativePools
from recsys.config.schema import BprConfig, HybridConfig, TorchRecConfig
from recsys.types import Factors, Json

_TABLES = ("user_factors", "item_factors")
logger = logging.getLogger(__name__)


def fit_bpr_torchrec(
    pools: NegativePools,
    config: BprConfig,
    *,
    settings: TorchRecConfig,
    seed: int,
    warm: WarmStart | None = None,
    items: ItemStart | None = None,
    validate: Validate | None = None,
    control: FitControl | None = None,
) -> FitResult:
    """Return the factors of the best epoch on validation (of the last one without validation).

    The same start and the same triplets in each epoch as ``fit_bpr``, in a shuffled order and in batches: gradients
    of a batch are taken at one point and added up, those of a row too. So ``batch_size`` is part of the result; the
    number of ranks is only through the order in which float32 numbers are added.

    Args:
        pools: positives and pools of negatives of one data version.
        config: hyperparameters; ``blocks`` has no meaning here.
        settings: ranks, hosts, their environment, and the size of a batch.
        seed: seeds the initial factors, every draw and the order of triplets.
        warm: factors of an earlier model to start from, by tonight's indices.
        items: projected embeddings that V starts from, for items that ``warm`` does not know.
        validate: measures factors; called every ``validate_every`` epochs and after the last.
        control: progress, cancellation, threads, checkpoints.

    Raises ConfigError where the environment of the ranks lacks something, WorkerLost when a rank vanishes (a rerun
    goes on from the last checkpoint), NotEnoughMemory, DivergedError, TrainingCancelled, TrainingTimeout. Same
    arguments, same bytes on one kind of CPU. Starting takes about 6 s. Memory of this process: U and V and the best
    of them; of each rank: its rows of U and V, 0.4 GB of libraries, and its batch. Data are mapped from files.
    """
    require_torchrec(settings)
    control = control or FitControl()
    record = FitRecord(config.epochs, config, validate, control)
    if record.checkpoint is not None:
        start = {name: record.checkpoint.arrays[name] for name in _TABLES}
        logger.info("BPR by TorchRec goes on after epoch %d", record.checkpoint.iteration)
    else:
        factors = start_factors(pools.n_users, pools.n_items, config, seed, warm, items)
        start = {"user_factors": factors.user_factors, "item_factors": factors.item_factors}
    if not record.goes_on:  # killed after its last checkpoint
        done = Factors(*start.values())
        return record.result(lambda: done, "cpu")
    exports, kept = looks(config, bool(validate), bool(control.checkpoints))
    with working_directory(settings) as files:
        job = Job(
            model="bpr",
            settings=config.model_dump(mode="json"),
            seed=seed,
            batch_size=settings.batch_size or batch_size_of(pools),
            n_users=pools.n_users,
            n_items=pools.n_items,
            first_epoch=len(record.rows),
            exports=exports,
            kept=kept,
        )
        files.write(job, pools, start)

        def latest() -> Factors:
            return Factors(*(np.array(files.map(f"out_{name}")) for name in _TABLES))

        def arrays() -> dict[str, NDArray[Any]]:
            return {name: np.array(files.map(f"out_{name}")) for name in _TABLES}

        def look(line: Json) -> None:
            refuse_divergence(line["largest_factor"], line["row"], config)

        return follow(files, job, settings, record, control, look, latest, arrays)


def batch_size_of(pools: NegativePools) -> int:
    """Return the triplets of a step where none are configured."""
    return int(2 ** min(14, max(8, math.floor(math.log2(max(1, pools.n_items))))))


def follow(
    files: JobFiles,
    job: Job,
    settings: TorchRecConfig,
    record: FitRecord,
    control: FitControl,
    look: Callable[[Json], None],
    latest: Callable[[], Factors],
    arrays: Callable[[], Mapping[str, NDArray[Any]]],
) -> FitResult:
    """Start the ranks of a job whose files are written, follow them to the end, and return the fit.

    Args:
        files, job, settings: what the ranks do, and where.
        record: gets every epoch's row.
        control: progress, cancellation, threads.
        look: called with each line of an epoch first; may raise what ends the fit.
        latest: returns the factors as the files have them, called after epochs in ``job.exports``.
        arrays: returns what a checkpoint needs, likewise.
    """
    with Ranks(files, settings, control) as ranks:
        while record.goes_on:
            line = ranks.next_row()
            look(line)
            record.add(line["row"], latest, arrays)
            if len(record.rows) in job.exports:
                ranks.let_go(len(record.rows), record.goes_on)
    return record.result(latest, ranks.device)


def looks(config: BprConfig | HybridConfig, validates: bool, keeps: bool) -> tuple[list[int], list[int]]:
    """Return the 1-based epochs after which somebody looks at the factors, the last too, and those of checkpoints."""
    epochs = range(1, config.epochs + 1)
    kept = [epoch for epoch in epochs if keeps and epoch % config.checkpoint_every == 0]
    validated = [epoch for epoch in epochs if validates and epoch % config.validate_every == 0]
    return sorted({*kept, *validated, config.epochs}), kept
