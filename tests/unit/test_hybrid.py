"""The hybrid trainer: what it learns, and that it reproduces, stops and resumes."""

import numpy as np
import pytest
from item_embeddings import embeddings_of, random_embeddings
from scipy.sparse import csr_matrix
from shops import pools_of, random_positives

from recsys.cf.models.base import FitControl
from recsys.cf.models.checkpoint import StoreCheckpoints
from recsys.cf.models.hybrid import fit_hybrid
from recsys.config.schema import HybridConfig
from recsys.errors import DivergedError, TrainingCancelled, TrainingTimeout
from recsys.storage.memory import MemoryStore

pytest.importorskip("torch", reason="the extra torch is not installed")


def planted_shop(n_users=120, n_items=60, n_tastes=4, seed=0):
    """Return (pools, embeddings, taste of user, taste of item, cold items): nobody bought a cold item."""
    random = np.random.default_rng(seed)
    taste_of_user, taste_of_item = np.arange(n_users) % n_tastes, np.arange(n_items) % n_tastes
    cold = np.arange(n_items) >= n_items - 2 * n_tastes
    bought = (taste_of_user[:, None] == taste_of_item) & ~cold & (random.random((n_users, n_items)) < 0.3)
    bought[np.arange(n_users), taste_of_user] = True
    positives = csr_matrix(bought.astype(np.float32))
    axes = random.normal(size=(n_tastes, 16))
    vectors = axes[taste_of_item] + random.normal(0, 0.3, (n_items, 16)) + 2.0
    return pools_of(positives), embeddings_of(vectors), taste_of_user, taste_of_item, cold


def own_taste_share(scores, taste_of_user, taste_of_item, among):
    """Return how often an item of the user's taste scores above one of another taste (the mean AUC)."""
    own = taste_of_user[:, None] == taste_of_item[among]
    scores = scores[:, among]
    ordered = [(row[mine][:, None] > row[~mine][None]).mean() for row, mine in zip(scores, own, strict=True)]
    return float(np.mean(ordered))


def test_learns_what_others_bought_and_carries_it_by_content_to_items_nobody_bought():
    pools, embeddings, taste_of_user, taste_of_item, cold = planted_shop()
    config = HybridConfig(factors=8, epochs=40, batch_size=256, learning_rate=0.02)
    shares = {}
    for name, weight in (("hybrid", 0.3), ("cf", 0.0)):
        fit = fit_hybrid(pools, embeddings, config.model_copy(update={"content_weight": weight}), seed=1)
        scores = fit.factors.user_factors @ fit.factors.item_factors.T
        shares[name] = [
            own_taste_share(scores, taste_of_user, taste_of_item, np.flatnonzero(among))
            for among in (~cold, cold)
        ]
    assert shares["hybrid"][0] > 0.95
    assert shares["hybrid"][1] > 0.95
    assert shares["cf"][0] > 0.95
    assert shares["cf"][1] < 0.7, "without content nothing is known of a cold item"
    assert fit.history[-1]["loss"] < fit.history[0]["loss"]


FIT = HybridConfig(
    factors=8, epochs=8, batch_size=64, checkpoint_every=2, validate_every=3, learning_rate=0.03
)


@pytest.fixture
def shop():
    return pools_of(random_positives(100, 41, 5, seed=1)), random_embeddings(41)


def validate(factors):
    return {"recall@10": 0.0, "ndcg@10": float(np.abs(factors.user_factors).mean())}


def test_same_seed_same_bytes_at_1_2_and_3_threads():
    pools, embeddings = pools_of(random_positives(900, 301, 6, seed=1)), random_embeddings(301, 96)
    # batches of several thousand triplets, so that torch does share its work out
    config = HybridConfig(factors=20, epochs=3, batch_size=5000)

    def sha(seed, threads):
        return fit_hybrid(pools, embeddings, config, seed=seed, control=FitControl(threads=lambda: threads))

    fits = [sha(3, threads).factors.sha256() for threads in (1, 2, 3, 1)]
    assert fits[0] == fits[1] == fits[2] == fits[3]
    assert sha(4, 1).factors.sha256() != fits[0]


@pytest.mark.parametrize("sampling", ["uniform", "adaptive"])
@pytest.mark.parametrize("stop_after", [1, 2, 5, 7])
def test_resumed_fit_ends_with_the_same_bytes_and_history(shop, stop_after, sampling):
    config = FIT.model_copy(update={"negative_sampling": sampling})
    whole = fit_hybrid(*shop, config, seed=1, validate=validate)
    checkpoints = StoreCheckpoints(MemoryStore(), "runs/r/hybrid/checkpoints")
    seen = []
    control = FitControl(
        on_progress=seen.append, cancelled=lambda: len(seen) == stop_after, checkpoints=checkpoints
    )
    with pytest.raises(TrainingCancelled):
        fit_hybrid(*shop, config, seed=1, validate=validate, control=control)
    control = FitControl(checkpoints=checkpoints)
    resumed = fit_hybrid(*shop, config, seed=1, validate=validate, control=control)
    assert resumed.resumed_from == (stop_after // 2 * 2 or None)
    assert resumed.factors.sha256() == whole.factors.sha256()
    timing = {"seconds", "peak_memory_bytes"}
    for a, b in zip(resumed.history, whole.history, strict=True):
        assert {k: v for k, v in a.items() if k not in timing} == {
            k: v for k, v in b.items() if k not in timing
        }


def test_early_stop_restores_the_best_epoch(shop):
    kept = []

    def look(factors):
        kept.append(factors.sha256())
        return {"recall@10": 0.0, "ndcg@10": [0.1, 0.3, 0.2, 0.2, 0.2, 0.9][len(kept) - 1]}

    config = FIT.model_copy(update={"epochs": 50, "validate_every": 2, "patience": 3})
    fit = fit_hybrid(*shop, config, seed=1, validate=look)
    assert (fit.best_iteration, len(fit.history), fit.stopped_early) == (4, 10, True)
    assert fit.factors.sha256() == kept[1]


def test_cancellation_and_time_limit_are_seen_between_two_batches(shop):
    asked = []

    def cancelled():
        asked.append(1)
        return len(asked) == 3

    with pytest.raises(TrainingCancelled):
        fit_hybrid(*shop, FIT, seed=1, control=FitControl(cancelled=cancelled))
    assert shop[0].n_positives * FIT.samples_per_epoch > 3 * FIT.batch_size, "it was in the first epoch"
    with pytest.raises(TrainingTimeout):
        fit_hybrid(*shop, FIT, seed=1, control=FitControl(deadline=0.0))


def test_divergence_is_an_error_that_says_what_to_change(shop):
    config = FIT.model_copy(update={"init_std": 1e20})
    with pytest.raises(DivergedError, match=r"lower hybrid\.learning_rate"):
        fit_hybrid(*shop, config, seed=1)


def test_a_row_of_the_history_tells_both_losses_and_the_draws(shop):
    pools, embeddings = shop
    row = fit_hybrid(pools, embeddings, FIT, seed=1).history[0]
    assert row["loss"] == pytest.approx(0.7 * row["cf_loss"] + 0.3 * row["content_loss"])
    assert 0 < row["cf_loss"] < 0.7
    assert row["triplets"] == pools.n_positives * FIT.samples_per_epoch
    assert row["share_uniform"] == 1
    assert 0 <= row["ordered_share"] <= 1
    assert 0 < row["hardness"] < 1
