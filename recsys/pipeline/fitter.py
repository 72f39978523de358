"""The fits of one model in one run: the trials that choose its settings, and the final fit, on the same data."""

import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from recsys.cf.data.dataset import InteractionDataset
from recsys.cf.embeddings.align import AlignedEmbeddings
from recsys.cf.embeddings.load import aligned_embeddings
from recsys.cf.evaluation.evaluate import validate as validate_factors
from recsys.cf.models.als_train import train_als
from recsys.cf.models.base import FitControl, FitResult, Validate
from recsys.cf.models.bpr import fit_bpr
from recsys.cf.models.checkpoint import StoreCheckpoints
from recsys.cf.models.hybrid import fit_hybrid
from recsys.cf.models.threads import ThreadShares, use_compiled_threads
from recsys.cf.models.torchrec_fit import fit_bpr_torchrec
from recsys.cf.models.torchrec_hybrid_fit import fit_hybrid_torchrec
from recsys.cf.sampling.pools import build_pools
from recsys.cf.scoring.user_sample import sample_sets, users_within
from recsys.cf.tuning.auto import Choice, choose_settings, search_space
from recsys.errors import DivergedError, NotEnoughMemory, TrainingTimeout
from recsys.pipeline.content import content_facts
from recsys.pipeline.embedding_start import EmbeddingStart, without_embeddings
from recsys.pipeline.lineage import last_settings
from recsys.pipeline.memory_check import require_memory_of_run
from recsys.pipeline.run import RunReference
from recsys.pipeline.spark_fit import spark_arguments
from recsys.pipeline.warm import load_warm_start, newest_model
from recsys.rng import derive_name
from recsys.storage.documents import read_document, write_once
from recsys.types import Factors, HistoryRow

# Called with the model, whether this is a trial of the search, and the row.
FitProgress = Callable[[str, bool, HistoryRow], None]
_TRIAL_EPOCHS = 20  # ranks settings of BPR; ALS trials are whole fits
_VALIDATION_CUTOFF = 10  # of the metric that early stopping and the search watch
logger = logging.getLogger(__name__)


class Fitter:
    """Runs trials and the final fit of one model on the same data with the same thread share."""

    def __init__(
        self,
        run: RunReference,
        model: str,
        data: InteractionDataset,
        cancelled: Callable[[], bool],
        shares: ThreadShares,
        on_progress: FitProgress | None,
    ) -> None:
        self.run, self.model, self.data = run, model, data
        self.config = run.section(model)
        self.cancelled, self.shares, self.on_progress = cancelled, shares, on_progress
        self.warm_from: str | None = None
        self.deadline = time.monotonic() + run.config.runtime.timeout_minutes * 60
        most = users_within(data.n_items, run.config.evaluation.max_scores)
        held_out = sample_sets(data.held_out("validation"), most, run.config.runtime.seed)
        self.validation_users = int(np.count_nonzero(held_out.counts()))
        self.validate: Validate | None = None
        if self.validation_users:
            seen = data.user_seen_train
            self.validate = lambda factors: validate_factors(factors, held_out, seen, _VALIDATION_CUTOFF)
        if model in ("bpr", "hybrid"):
            self.pools = build_pools(
                data.X_train_binary, data.user_seen_train, data.user_hard_neg_train, data.item_popularity
            )
        self.content: AlignedEmbeddings | None = None
        if model == "hybrid":
            self.content = aligned_embeddings(run.open_store(), data, run.config.bert)
        self.starts = EmbeddingStart(run, model, data)
        require_memory_of_run(run, data, self.content.dimensions if self.content else 0)

    def choose(self) -> Choice:
        """Return the settings of the night, from an earlier attempt of this run if there was one."""
        store, key = self.run.open_store(), f"{self.run.prefix}/{self.model}/settings.json"
        kept = read_document(store, key, required=("settings", "trials", "note", "warm_from"))
        if kept is None:
            use_compiled_threads(self.shares.share())
            choice = choose_settings(
                search_space(self.model),
                self.run.searched[self.model],
                last_settings(store, self.model),
                self.validation_users,
                lambda settings: self.fit(settings, trial=True),
            )
            kept = write_once(
                store,
                key,
                {
                    "settings": dict(choice.settings),
                    "trials": list(choice.trials),
                    "note": choice.note,
                    "warm_from": self._warm_from(),
                },
            )
        self.warm_from = kept["warm_from"]
        return Choice(kept["settings"], tuple(kept["trials"]), kept["note"])

    def _warm_from(self) -> str | None:
        warm = self.model == "bpr" and self.config.warm_start
        return newest_model(self.run, self.model) if warm else None

    def identity(self, choice: Choice) -> str:
        """Return a name of everything the final fit depends on."""
        config = self.config.model_copy(update=dict(choice.settings)).model_dump_json()
        shape = (self.data.content_hash, self.data.n_users, self.data.n_items)
        content = [facts["sha256"]] if (facts := content_facts(self.content)) else []
        seed, start = self.run.config.runtime.seed, self.starts.identity()
        return derive_name(config, seed, self.warm_from, *shape, *content, *start)

    def fit(
        self, settings: Mapping[str, Any], *, trial: bool, checkpoints: StoreCheckpoints | None = None
    ) -> FitResult:
        """Return a fit with these settings on top of the configuration, shorter for a trial."""
        seed = self.run.config.runtime.seed
        watch = self.on_progress
        control = FitControl(
            on_progress=(lambda row: watch(self.model, trial, row)) if watch else None,
            cancelled=self.cancelled,
            threads=self.shares.share,
            deadline=self.deadline,
            checkpoints=checkpoints,
        )
        config = self.config.model_copy(update=dict(settings))
        items = self.starts.items(config.factors)
        if self.model == "als":
            return train_als(
                self.data.X_train_confidence,
                self.data.X_train_binary,
                config,
                seed=seed,
                items=items,
                anchored=self.run.config.bert.anchored,
                freeze_first_iter=self.run.config.bert.freeze_first_iter,
                validate=self.validate,
                control=control,
                **spark_arguments(self.run, self.data),
            )
        if self.content:
            sharded = self.run.config.runtime.engine.hybrid == "torchrec"
            fit_it = (
                partial(fit_hybrid_torchrec, settings=self.run.config.torchrec) if sharded else fit_hybrid
            )
            return fit_it(
                self.pools, self.content, config, seed=seed, validate=self.validate, control=control
            )
        if trial:
            config = config.model_copy(update={"epochs": min(config.epochs, _TRIAL_EPOCHS)})
        warm = None if trial or not self.warm_from else load_warm_start(self.run, self.warm_from, self.data)
        sharded = self.run.config.runtime.engine.bpr == "torchrec"
        fit = partial(fit_bpr_torchrec, settings=self.run.config.torchrec) if sharded else fit_bpr
        return fit(
            self.pools, config, seed=seed, warm=warm, items=items, validate=self.validate, control=control
        )

    def fit_random_start(self, settings: Mapping[str, Any]) -> Factors | None:
        """Return the factors of the same settings from a random start, to tell what embeddings gained.

        None where no embeddings were used, ``bert.compare_random`` is off, or last night's factors counted too.
        """
        if not self.starts.to_compare or self.warm_from:
            return None
        run = without_embeddings(self.run, self.model, settings)
        try:
            plain = Fitter(run, self.model, self.data, self.cancelled, self.shares, None)
            plain.deadline = self.deadline
            return plain.fit({}, trial=False).factors
        except (DivergedError, NotEnoughMemory, TrainingTimeout) as error:  # nobody serves it: go on without
            logger.warning("%s from a random start, for comparison: %s", self.model, error)
            return None
