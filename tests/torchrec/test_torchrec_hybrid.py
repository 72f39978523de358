"""The hybrid over sharded tables: the steps of the local model at any number of ranks, and its checkpoints."""

import numpy as np
import pytest
from item_embeddings import random_embeddings
from sharded_fits import little_pools, needs_torchrec

from recsys.cf.models.base import FitControl
from recsys.cf.models.checkpoint import StoreCheckpoints
from recsys.cf.models.hybrid import fit_hybrid
from recsys.cf.models.hybrid_fold import fold_items
from recsys.cf.models.hybrid_start import content_matrix, start_arrays
from recsys.cf.models.torchrec_hybrid_fit import fit_hybrid_torchrec
from recsys.cf.sampling.shuffled import Sequence, draw_places
from recsys.config.schema import HybridConfig, TorchRecConfig
from recsys.errors import DivergedError, TrainingCancelled
from recsys.rng import derive_seed
from recsys.storage.memory import MemoryStore

pytestmark = needs_torchrec
# the last batch is so small that the second rank has none of it
CONFIG = HybridConfig(
    factors=6,
    epochs=4,
    batch_size=70,
    samples_per_epoch=2,
    learning_rate=0.05,
    regularization=0.1,
    cf_weight=0.6,
    content_weight=0.9,
    init_std=0.1,
    negative_sampling="hard_mixed",
    checkpoint_every=2,
    validate_every=3,
    patience=9,
)


def sharded(config=CONFIG, ranks=2, validate=None, **control):
    """Return the fit by TorchRec with seed 3."""
    return fit_hybrid_torchrec(
        little_pools(),
        random_embeddings(40),
        config,
        settings=TorchRecConfig(ranks=ranks),
        seed=3,
        validate=validate,
        control=FitControl(**control),
    )


def stepped(config=CONFIG):
    """Return (factors, rows) of the local model, stepped through the same batches."""
    from recsys.cf.models.hybrid_model import HybridModel

    pools, content = little_pools(), content_matrix(random_embeddings(40))
    model = HybridModel(start_arrays(pools, content.shape[1], config, 3), content, config, "cpu")
    samples, rows = config.samples_per_epoch, []
    for epoch in range(config.epochs):
        keys = (derive_seed(3, "hybrid", name, epoch) for name in ("epoch", "order"))
        sequence = Sequence(
            config.negative_sampling, config.hard_negative_ratio, samples, *keys, config.adaptive_candidates
        )
        now = model.folded()
        scored_by = (now.user_factors, now.item_factors) if config.negative_sampling == "adaptive" else ()
        sums = np.zeros(4)
        for first in range(0, pools.n_positives * samples, config.batch_size):
            drawn = draw_places(pools, sequence, first, first + config.batch_size, *scored_by)
            sums += model.step(drawn.users, drawn.positives, drawn.negatives)
        rows.append(sums / (pools.n_positives * samples))
    return model.folded(), np.array(rows)


def told(fit):
    """Return the means of each epoch as the local model sums them."""
    names = ("cf_loss", "content_loss", "ordered_share", "hardness")
    return np.array([[row[name] for name in names] for row in fit.history])


def by_spread(factors):
    return {"recall@10": 0.0, "ndcg@10": float(np.abs(factors.item_factors).mean())}


@pytest.mark.parametrize("ranks", [1, 2])
def test_steps_are_those_of_the_local_model(ranks):
    local, rows = stepped()
    fit = sharded(ranks=ranks)
    np.testing.assert_allclose(fit.factors.user_factors, local.user_factors, atol=5e-5)
    np.testing.assert_allclose(fit.factors.item_factors, local.item_factors, atol=5e-5)
    np.testing.assert_allclose(told(fit), rows, rtol=1e-4)
    losses = [row["loss"] for row in fit.history]
    np.testing.assert_allclose(losses, rows[:, :2] @ [0.6, 0.9], rtol=1e-4)
    start = start_arrays(little_pools(), 7, CONFIG, 3)
    moved = np.abs(local.user_factors - start["user_factors"])
    assert moved.max() > 0.5, "it has moved far from its start"
    assert little_pools().n_positives * 2 % 70 <= 35, "a rank with nothing of a batch"


def test_adaptive_draws_see_what_the_local_model_would_serve():
    config = CONFIG.model_copy(update={"negative_sampling": "adaptive", "epochs": 2})
    local, rows = stepped(config)
    fit = sharded(config)
    np.testing.assert_allclose(fit.factors.item_factors, local.item_factors, atol=5e-5)
    np.testing.assert_allclose(told(fit), rows, rtol=1e-4)
    assert fit.history[-1]["share_adaptive"] == 1.0


def test_cancelled_and_resumed_it_ends_with_the_same_bytes_and_a_local_fit_goes_on_from_it_too():
    whole = sharded(validate=by_spread)
    store, asked = MemoryStore(), []
    checkpoints = StoreCheckpoints(store, "runs/r/hybrid/checkpoints")
    with pytest.raises(TrainingCancelled):
        sharded(
            validate=by_spread,
            checkpoints=checkpoints,
            on_progress=lambda row: asked.append(row["epoch"]) if row["epoch"] == 3 else None,
            cancelled=lambda: bool(asked),
        )
    kept = checkpoints.load()
    assert int(kept.arrays["steps"]) == 2 * -(-little_pools().n_positives * 2 // 70)
    assert np.abs(kept.arrays["square_projection"]).min() > 0
    pools, embeddings = little_pools(), random_embeddings(40)
    local = fit_hybrid(
        pools, embeddings, CONFIG, seed=3, control=FitControl(checkpoints=_read_only(checkpoints))
    )
    assert local.resumed_from == 2
    assert local.history[-1]["loss"] < local.history[1]["loss"]
    rerun = sharded(validate=by_spread, checkpoints=checkpoints)
    assert rerun.resumed_from == 2
    assert rerun.factors.sha256() == whole.factors.sha256()
    assert [row["loss"] for row in rerun.history] == [row["loss"] for row in whole.history]
    assert rerun.best_iteration == whole.best_iteration


def _read_only(checkpoints):
    class ReadOnly:
        load = staticmethod(checkpoints.load)

        @staticmethod
        def save(checkpoint):
            pass

    return ReadOnly()


def test_divergence_names_the_settings_of_the_hybrid():
    with pytest.raises(DivergedError, match=r"lower hybrid\.learning_rate"):
        sharded(CONFIG.model_copy(update={"init_std": 2000.0}), ranks=1)


def test_both_parts_folded_are_the_served_score():
    random = np.random.default_rng(0)
    V, E, P = (random.normal(size=shape) for shape in ((70_000, 3), (70_000, 5), (5, 3)))
    config = HybridConfig(cf_weight=0.3, content_weight=0.8)
    folded = fold_items(*(part.astype(np.float32) for part in (V, E, P)), config)
    assert folded.dtype == np.float32
    np.testing.assert_allclose(folded, 0.3 * V + 0.8 * E @ P, atol=1e-5)
