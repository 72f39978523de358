"""The ways to use product embeddings that a comparison trains: one fit each, settings chosen for each by itself."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from recsys.cf.data.dataset import InteractionDataset
from recsys.cf.embeddings.align import AlignedEmbeddings
from recsys.cf.embeddings.map import ItemMap, fit_item_map
from recsys.cf.models.base import FitResult
from recsys.cf.models.threads import ThreadShares
from recsys.cf.tuning.auto import choose_settings, search_space
from recsys.config.schema import TrainingConfig
from recsys.pipeline.fit import fit_settings
from recsys.pipeline.run import RunReference
from recsys.types import Factors, Json

RANDOM, BERT_INIT, ANCHORED, MAP = "random", "bert_init", "anchored", "map"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """One variant of one model, trained."""

    factors: Factors
    facts: Json  # settings, trials, seconds, what it knows of the embeddings


def variant_names(model: str) -> tuple[str, ...]:
    """Return the variants of a model, the random start first; only ALS can be anchored."""
    return (RANDOM, BERT_INIT, ANCHORED, MAP) if model == "als" else (RANDOM, BERT_INIT, MAP)


def variant_config(config: TrainingConfig, variant: str) -> TrainingConfig:
    """Return the configuration in which a variant trains; all ALS fits by the native solver, side by side.

    Anchoring needs that solver, and a difference between solvers must not be taken for one between variants.
    """
    bert = config.bert.model_copy(
        update={
            "init": "both" if variant == BERT_INIT else "none",
            "anchored": variant == ANCHORED,
            "freeze_first_iter": config.bert.freeze_first_iter and variant in (BERT_INIT, ANCHORED),
        }
    )
    als = config.als.model_copy(update={"solver": "native", "use_gpu": "false"})
    bpr = config.bpr.model_copy(update={"warm_start": False})
    engine = config.runtime.engine.model_copy(update={"als": "local"})
    runtime = config.runtime.model_copy(update={"engine": engine})
    return config.model_copy(update={"bert": bert, "als": als, "bpr": bpr, "runtime": runtime})


def train_variants(
    run: RunReference,
    model: str,
    data: InteractionDataset,
    embeddings: AlignedEmbeddings,
    shares: ThreadShares,
) -> dict[str, Trained]:
    """Return every variant of a model trained on ``data``, by name.

    Under ``preset: auto`` each has its own search on the validation split, so that none suffers from settings that
    were chosen for another. The map is learned from the random start's factors and gives those of the items that
    nobody bought in train, as serving uses it.
    """
    trained: dict[str, Trained] = {}
    for variant in variant_names(model):
        if variant == MAP:
            trained[MAP] = _mapped(trained[RANDOM], data, embeddings)
            continue
        variant_run = run.model_copy(update={"config": variant_config(run.config, variant)})
        trained[variant] = _trained(variant_run, model, data, shares)
        logger.info("%s %s trained: %s", model, variant, trained[variant].facts["settings"])
    return trained


def _trained(run: RunReference, model: str, data: InteractionDataset, shares: ThreadShares) -> Trained:
    def fit(settings: Mapping[str, Any]) -> FitResult:
        section = run.section(model).model_copy(update=dict(settings))
        configured = run.config.model_copy(update={model: section})
        return fit_settings(run.model_copy(update={"config": configured}), model, data, shares)

    n_validated = int(np.count_nonzero(data.held_out("validation").counts()))
    choice = choose_settings(search_space(model), run.searched[model], None, n_validated, fit)
    result = fit(choice.settings)
    facts = {
        "settings": dict(choice.settings),
        "trials": len(choice.trials),
        "note": choice.note,
        "best_iteration": result.best_iteration,
        "seconds": result.seconds,
    }
    return Trained(result.factors, facts)


def _mapped(start: Trained, data: InteractionDataset, embeddings: AlignedEmbeddings) -> Trained:
    item_map = fit_item_map(embeddings, start.factors.item_factors, data.item_train_counts)
    factors = replaced_items(start.factors, item_map, embeddings, data.item_train_counts == 0)
    return Trained(factors, {**start.facts, "item_map": item_map.facts()})


def replaced_items(
    factors: Factors, item_map: ItemMap, embeddings: AlignedEmbeddings, items: np.ndarray[Any, Any]
) -> Factors:
    """Return the factors with the map's rows for the marked items that have an embedding; the rest as it was."""
    rows = items & embeddings.known
    V = factors.item_factors.copy()
    V[rows] = item_map.factors(embeddings.vectors[rows])
    return Factors(factors.user_factors, V)
