"""What product embeddings are worth on one data version: random start, BERT start, anchored and map, measured."""

import logging
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from recsys.cf.data.dataset import InteractionDataset, UserItemSets
from recsys.cf.data.load import load_processed_data
from recsys.cf.embeddings.align import AlignedEmbeddings
from recsys.cf.embeddings.load import aligned_embeddings
from recsys.cf.evaluation.baselines import popularity_scorer, random_scorer, similarity_scorer
from recsys.cf.evaluation.cold_start import COLD_ITEM_INTERACTIONS, hits_per_user
from recsys.cf.evaluation.evaluate import Evaluation, evaluate
from recsys.cf.evaluation.lists import unit_rows
from recsys.cf.evaluation.significance import paired_bootstrap
from recsys.cf.evaluation.unseen_items import COLUMNS, hide_items
from recsys.cf.models.threads import ThreadShares, use_compiled_threads
from recsys.cf.scoring.blocks import FactorScorer, PartialScorer, Scorer
from recsys.config.schema import TrainingConfig
from recsys.config.settings import available_threads
from recsys.errors import ConfigError
from recsys.pipeline.cleaned_rows import load_cleaned_rows
from recsys.pipeline.init_variants import RANDOM, Trained, train_variants
from recsys.pipeline.run import RunReference, open_run
from recsys.types import Json

CHANCE = "chance"
_MODELS = ("als", "bpr")
OnStep = Callable[[str], None]
logger = logging.getLogger(__name__)


def compare_initialisations(
    store_uri: str,
    config: TrainingConfig,
    *,
    data_version: str = "latest",
    hidden_share: float = 0.2,
    on_step: OnStep = lambda _step: None,
) -> Json:
    """Return every way to use product embeddings beside the random start, on two protocols.

    test: the test split of the data version; cold items are those with fewer than 5 train interactions. unseen:
    all interactions of a random ``hidden_share`` of the items, and the rest of the events they are in, are taken
    out of the data, the models are trained anew, and the hidden items' buyers are asked for them, among all items
    ("rows") and among the hidden ones alone ("hidden_only"). Nothing is registered or written.

    Returns:
        {"data_version", "embeddings", "seed", "protocols": {"test": ..., "unseen": ...}}; each protocol has
        "n_users", "cold_items", "cold_pairs" or "hidden_items", and "rows": model, variant, metrics,
        "cold_recall@k", the variant's settings, under "versus_random" the paired intervals of each metric, and
        "improvement_vs_random", of cold items or of all. "hidden_only" has "versus_chance" instead: to a random
        start all items that nobody bought are alike, and ties go by item_idx.

    Raises:
        DataError: The data version has no embeddings, or too few. EmptyDataError: nothing to ask.
        ConfigError: ``runtime.models`` names neither als nor bpr.
    """
    if not set(_MODELS) & set(config.runtime.models):
        raise ConfigError(
            f"runtime.models {list(config.runtime.models)} has none that starts from embeddings: add als or bpr"
        )
    run = open_run(store_uri, config, data_version=data_version)
    threads = config.runtime.threads or available_threads()
    use_compiled_threads(threads)
    data = load_processed_data(run.open_store(), run.data_version)
    embeddings = aligned_embeddings(run.open_store(), data, config.bert)
    bench = _Bench(run, embeddings, ThreadShares(threads), on_step)
    with bench.shares.join():
        protocols = {"test": bench.test(data), "unseen": bench.unseen(data, hidden_share)}
    return {
        "data_version": run.data_version,
        "embeddings": {"name": embeddings.name, "version": embeddings.version, **embeddings.report()},
        "seed": config.runtime.seed,
        "protocols": protocols,
    }


class _Bench:
    """Trains and measures the variants; holds what both protocols share."""

    def __init__(
        self, run: RunReference, embeddings: AlignedEmbeddings, shares: ThreadShares, on_step: OnStep
    ) -> None:
        self.run, self.embeddings, self.shares, self.on_step = run, embeddings, shares, on_step
        self.config = run.config
        self.k_values = run.config.evaluation.k_values

    def test(self, data: InteractionDataset) -> Json:
        """Return the protocol on the test split."""
        trained = self._train("test", data)
        evaluations = self._evaluate(
            self._scorers(trained, data), data.held_out("test"), data.user_seen_train
        )
        cold = data.item_train_counts < COLD_ITEM_INTERACTIONS
        return {
            **_asked(next(iter(evaluations.values())), cold),
            "cold_items": int(cold.sum()),
            "cold_threshold": COLD_ITEM_INTERACTIONS,
            "rows": self._rows(trained, evaluations, cold),
        }

    def unseen(self, data: InteractionDataset, share: float) -> Json:
        """Return the protocol on items that nobody has bought yet."""
        rows = load_cleaned_rows(self.run.open_store(), data.version, COLUMNS)
        hidden = hide_items(data, rows, self.embeddings.known, share, self.config.runtime.seed)
        trained = self._train("unseen", hidden.data)
        scorers = self._scorers(trained, hidden.data)
        everyone = np.ones(data.n_users, dtype=np.bool_)
        nothing = np.zeros(data.n_items, dtype=np.float32)
        alone = {name: PartialScorer(one, everyone, hidden.hidden, nothing) for name, one in scorers.items()}
        among_all = self._evaluate(scorers, hidden.held_out, hidden.seen)
        among_hidden = self._evaluate(alone, hidden.held_out, hidden.seen)
        return {
            **_asked(next(iter(among_all.values())), hidden.hidden),
            "hidden_items": int(hidden.hidden.sum()),
            "hidden_share": share,
            "rows": self._rows(trained, among_all, None),
            "hidden_only": self._rows(trained, among_hidden, None, versus_chance=True),
        }

    def _train(self, protocol: str, data: InteractionDataset) -> dict[str, dict[str, Trained]]:
        trained: dict[str, dict[str, Trained]] = {}
        for model in (name for name in _MODELS if name in self.config.runtime.models):
            self.on_step(f"{protocol}: training {model}")
            trained[model] = train_variants(self.run, model, data, self.embeddings, self.shares)
        return trained

    def _scorers(
        self, trained: Mapping[str, Mapping[str, Trained]], data: InteractionDataset
    ) -> dict[str, Scorer]:
        popularity = popularity_scorer(data, "train_counts")
        vectors = unit_rows(self.embeddings.vectors)
        scorers: dict[str, Scorer] = {
            f"{model}/{variant}": FactorScorer(one.factors)
            for model, variants in trained.items()
            for variant, one in variants.items()
        }
        return scorers | {
            "popularity": popularity,
            "similarity": similarity_scorer(vectors, data.user_pos_train, popularity),
            CHANCE: random_scorer(data, self.config.runtime.seed),
        }

    def _evaluate(
        self, scorers: Mapping[str, Scorer], held_out: UserItemSets, seen: UserItemSets
    ) -> dict[str, Evaluation]:
        use_compiled_threads(self.shares.share())
        return evaluate(
            scorers,
            held_out,
            seen,
            k_values=self.k_values,
            block_users=self.config.evaluation.block_users,
        )

    def _rows(
        self,
        trained: Mapping[str, Mapping[str, Trained]],
        evaluations: Mapping[str, Evaluation],
        cold: NDArray[np.bool_] | None,
        *,
        versus_chance: bool = False,
    ) -> list[Json]:
        """Return a row per scorer; models beside their own random start or, where asked, beside chance."""
        rows = []
        for name, evaluation in evaluations.items():
            model, _, variant = name.partition("/")
            row: Json = {"model": model, "variant": variant, "metrics": evaluation.metrics}
            if cold is not None:
                row |= {f"cold_recall@{k}": _mean(hits_per_user(evaluation, cold, k)) for k in self.k_values}
            if variant:
                row |= trained[model][variant].facts
            if versus_chance and name != CHANCE:
                row["versus_chance"] = self._versus(evaluation, evaluations[CHANCE], cold)
            elif variant and variant != RANDOM:
                row["versus_random"] = self._versus(evaluation, evaluations[f"{model}/{RANDOM}"], cold)
                headline = row["versus_random"].get(self._headline(cold))
                row["improvement_vs_random"] = headline and headline["relative"]
            rows.append(row)
        return rows

    def _headline(self, cold: NDArray[np.bool_] | None) -> str:
        return f"{'recall' if cold is None else 'cold_recall'}@{self.k_values[0]}"

    def _versus(self, one: Evaluation, start: Evaluation, cold: NDArray[np.bool_] | None) -> Json:
        """Return metric -> interval of the difference to another evaluation of the same users."""
        pairs = {
            f"{name}@{k}": (one.per_user[f"{name}@{k}"], start.per_user[f"{name}@{k}"])
            for name in ("recall", "ndcg")
            for k in self.k_values
        }
        if cold is not None:
            pairs |= {
                f"cold_recall@{k}": (hits_per_user(one, cold, k), hits_per_user(start, cold, k))
                for k in self.k_values
            }
        settings = self.config.evaluation
        found: Json = {}
        for name, (ours, theirs) in pairs.items():
            if not len(ours):  # no cold pair was held out
                continue
            interval = paired_bootstrap(
                ours,
                theirs,
                resamples=settings.bootstrap_resamples,
                level=settings.confidence_level,
                seed=self.config.runtime.seed,
            )
            found[name] = interval.to_json()
        return found


def _asked(evaluation: Evaluation, items: NDArray[np.bool_]) -> Json:
    """Return how many users are asked, and how many pairs of users and marked items there are."""
    pairs = items[evaluation.held_out_items]
    owner = np.repeat(evaluation.users, np.diff(evaluation.indptr))
    return {
        "n_users": evaluation.n_users,
        "cold_pairs": int(pairs.sum()),
        "cold_users": len(np.unique(owner[pairs])),
    }


def _mean(values: NDArray[np.float64]) -> float | None:
    return float(values.mean()) if len(values) else None
