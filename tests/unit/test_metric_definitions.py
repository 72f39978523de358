"""Our metrics beside those of `implicit` and irspack, on one set of factors: equal where definitions agree.

Where they differ the other definition is computed here from our ranks, so that the table of the README is tested.
"""

import numpy as np
import pytest
from implicit.als import AlternatingLeastSquares
from implicit.evaluation import ranking_metrics_at_k
from item_sets import item_sets
from scipy.sparse import csr_matrix

from recsys.cf.evaluation.evaluate import evaluate
from recsys.cf.scoring.blocks import FactorScorer
from recsys.types import Factors

N_USERS, N_ITEMS, K = 300, 80, 10


@pytest.fixture(scope="module")
def night():
    """Return (factors, held-out matrix, seen matrix, our evaluation); users hold out 1 to 14 items."""
    rng = np.random.default_rng(8)
    factors = Factors(*(rng.standard_normal((n, 6), dtype=np.float32) for n in (N_USERS, N_ITEMS)))
    picks = [rng.choice(N_ITEMS, 1 + user % 14 + 9, replace=False).tolist() for user in range(N_USERS)]
    held_out, seen = item_sets([row[9:] for row in picks]), item_sets([row[:9] for row in picks])
    ours = evaluate({"m": FactorScorer(factors)}, held_out, seen, k_values=[K], block_users=1024, auc=True)[
        "m"
    ]
    return factors, matrix(held_out), matrix(seen), ours


def matrix(sets):
    return csr_matrix((np.ones(len(sets.indices)), sets.indices, sets.indptr), shape=(N_USERS, N_ITEMS))


def test_implicit_agrees_on_ndcg_and_map(night):
    factors, held_out, seen, ours = night
    model = AlternatingLeastSquares(factors=6)
    model.user_factors, model.item_factors = factors.user_factors, factors.item_factors
    theirs = ranking_metrics_at_k(model, seen.astype(np.float32), held_out, K=K, show_progress=False)
    assert theirs["ndcg"] == pytest.approx(ours.metrics[f"ndcg@{K}"], abs=1e-9)
    assert theirs["map"] == pytest.approx(ours.metrics[f"map@{K}"], abs=1e-9)


def test_implicits_precision_is_all_hits_by_all_that_could_be_hit(night):
    factors, held_out, seen, ours = night
    model = AlternatingLeastSquares(factors=6)
    model.user_factors, model.item_factors = factors.user_factors, factors.item_factors
    theirs = ranking_metrics_at_k(model, seen.astype(np.float32), held_out, K=K, show_progress=False)
    n_relevant = np.diff(ours.indptr)
    hits = ours.per_user[f"recall@{K}"] * n_relevant
    assert theirs["precision"] == pytest.approx(hits.sum() / np.minimum(n_relevant, K).sum(), abs=1e-9)
    assert abs(theirs["precision"] - ours.metrics[f"precision@{K}"]) > 0.02


def test_irspack_agrees_on_all_but_map(night):
    evaluation = pytest.importorskip("irspack.evaluation")
    factors, held_out, seen, ours = night
    scores = FactorScorer(factors).scores(np.arange(N_USERS, dtype=np.int32))
    evaluator = evaluation.Evaluator(held_out, masked_interactions=seen, cutoff=K)
    theirs = evaluator.get_score_from_score_matrix(scores)
    for name, our_name in (
        *(("recall", "recall"), ("ndcg", "ndcg"), ("hit", "hit_rate"), ("precision", "precision")),
        ("catalog_coverage", "coverage"),
    ):
        assert theirs[name] == pytest.approx(ours.metrics[f"{our_name}@{K}"], abs=1e-9), name
    # irspack divides average precision by all relevant items, we by those a list of K can hold
    n_relevant = np.diff(ours.indptr)
    assert n_relevant.max() > K
    by_all = ours.per_user[f"map@{K}"] * np.minimum(n_relevant, K) / n_relevant
    assert theirs["map"] == pytest.approx(by_all.mean(), abs=1e-9)
