import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score, roc_auc_score

from recsys.cf.data.dataset import UserItemSets
from recsys.cf.evaluation.evaluate import evaluate, validate
from recsys.cf.metrics import METRICS, auc, evaluate_model, rank_unseen
from recsys.cf.scoring.blocks import FactorScorer, ItemScorer
from recsys.cf.scoring.topk import recommend
from recsys.types import Factors


def item_sets(rows):
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    return UserItemSets(indptr, np.array([item for row in rows for item in sorted(row)], dtype=np.int32))


@st.composite
def problems(draw):
    """Factors of small whole numbers, so that scores are exact and ties abound; held-out and seen items."""
    n_users, n_items = draw(st.integers(1, 7)), draw(st.integers(1, 9))
    n_factors = draw(st.integers(1, 3))
    numbers = st.integers(-2, 2)

    def matrix(n_rows):
        rows = st.lists(
            st.lists(numbers, min_size=n_factors, max_size=n_factors), min_size=n_rows, max_size=n_rows
        )
        return np.array(draw(rows), dtype=np.float32)

    items = st.sets(st.integers(0, n_items - 1))
    held_out = draw(st.lists(items, min_size=n_users, max_size=n_users).filter(any))
    seen = draw(st.lists(items, min_size=n_users, max_size=n_users))
    return Factors(matrix(n_users), matrix(n_items)), item_sets(held_out), item_sets(seen)


CUTOFFS = st.lists(st.integers(1, 12), min_size=1, max_size=3, unique=True).map(sorted)


@settings(max_examples=200, deadline=None)
@given(problems(), CUTOFFS, st.integers(1, 9))
def test_the_fast_path_equals_the_reference(problem, k_values, block_users):
    factors, held_out, seen = problem
    fast = evaluate(
        {"model": FactorScorer(factors)}, held_out, seen, k_values=k_values, block_users=block_users
    )["model"]
    slow = evaluate_model(factors.user_factors, factors.item_factors, held_out, seen, k_values)
    names = [f"{name}@{k}" for k in k_values for name in METRICS]
    assert list(slow) == names == list(fast.per_user)
    for name in names:
        assert fast.metrics[name] == pytest.approx(slow[name], abs=1e-12)
    k = k_values[0]
    looked = validate(factors, held_out, seen, k)
    assert looked == {name: fast.metrics[name] for name in (f"recall@{k}", f"ndcg@{k}")}


@settings(max_examples=100, deadline=None)
@given(problems(), st.integers(1, 12))
def test_recommend_is_the_head_of_the_full_ranking(problem, k):
    factors, _, seen = problem
    users = np.arange(factors.n_users, dtype=np.int32)
    items, values = recommend(FactorScorer(factors), users, seen, k)
    for user, (found, scores) in enumerate(zip(items, values, strict=True)):
        exact = factors.item_factors @ factors.user_factors[user]
        ranking = rank_unseen(exact, seen[user])[:k]
        assert found.tolist() == ranking + [-1] * (k - len(ranking))
        assert scores[: len(ranking)].tolist() == exact[ranking].tolist()
        assert np.isnan(scores[len(ranking) :]).all()


@settings(max_examples=50, deadline=None)
@given(problems(), CUTOFFS)
def test_users_are_measured_apart_and_values_lie_in_the_unit_interval(problem, k_values):
    factors, held_out, seen = problem
    evaluation = evaluate({"m": FactorScorer(factors)}, held_out, seen, k_values=k_values, block_users=3)["m"]
    assert evaluation.users.tolist() == [user for user in held_out if held_out[user]]
    assert evaluation.n_users + evaluation.n_skipped_users == len(held_out)
    for name, values in evaluation.per_user.items():
        assert ((values >= 0) & (values <= 1 + 1e-12)).all(), name
    for k in k_values:
        for row, user in enumerate(evaluation.users.tolist()):
            alone = item_sets([held_out[u] if u == user else [] for u in held_out])
            one = evaluate({"m": FactorScorer(factors)}, alone, seen, k_values=[k], block_users=1)["m"]
            assert one.per_user[f"ndcg@{k}"][0] == evaluation.per_user[f"ndcg@{k}"][row]


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_ndcg_is_that_of_scikit_learn(data):
    n_items = data.draw(st.integers(2, 12))
    scores = np.array(data.draw(st.permutations(range(n_items))), dtype=np.float32)
    relevant = data.draw(st.sets(st.integers(0, n_items - 1), min_size=1))
    k = data.draw(st.integers(1, 12))
    found = evaluate(
        {"m": ItemScorer(scores)}, item_sets([relevant]), item_sets([[]]), k_values=[k], block_users=1
    )["m"]
    truth = np.isin(np.arange(n_items), list(relevant))[np.newaxis].astype(float)
    assert found.metrics[f"ndcg@{k}"] == pytest.approx(ndcg_score(truth, scores[np.newaxis], k=k))


@settings(max_examples=100, deadline=None)
@given(problems())
def test_auc_equals_the_reference(problem):
    factors, held_out, seen = problem
    found = evaluate(
        {"m": FactorScorer(factors)}, held_out, seen, k_values=[1], block_users=2, lists=False, auc=True
    )["m"]
    for row, user in enumerate(found.users.tolist()):
        scores = factors.item_factors @ factors.user_factors[user]
        expected = auc(rank_unseen(scores, seen[user]), held_out[user])
        assert found.per_user["auc"][row] == pytest.approx(expected, abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_auc_is_that_of_scikit_learn(data):
    n_items = data.draw(st.integers(2, 12))
    scores = np.array(data.draw(st.permutations(range(n_items))), dtype=np.float32)
    relevant = data.draw(st.sets(st.integers(0, n_items - 1), min_size=1, max_size=n_items - 1))
    found = evaluate(
        {"m": ItemScorer(scores)},
        item_sets([relevant]),
        item_sets([[]]),
        k_values=[1],
        block_users=1,
        auc=True,
    )["m"]
    truth = np.isin(np.arange(n_items), list(relevant))
    assert found.metrics["auc"] == pytest.approx(roc_auc_score(truth, scores))


@settings(max_examples=50, deadline=None)
@given(problems())
def test_a_scorer_that_knows_the_truth_is_perfect_whatever_was_seen(problem):
    _, held_out, seen = problem
    reachable = [held_out[user] - seen[user] for user in held_out]
    assume(any(reachable))
    n_items = 9
    truth = np.zeros((len(reachable), n_items), dtype=np.float32)
    for user, items in enumerate(reachable):
        truth[user, list(items)] = 1
    oracle = FactorScorer(Factors(truth, np.eye(n_items, dtype=np.float32)))
    metrics = evaluate({"m": oracle}, item_sets(reachable), seen, k_values=[9], block_users=4)["m"].metrics
    for name in ("recall", "ndcg", "hit_rate", "mrr", "map"):
        assert metrics[f"{name}@9"] == pytest.approx(1.0, abs=1e-12)
