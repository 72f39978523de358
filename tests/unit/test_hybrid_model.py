"""The hybrid model: loss, gradient and steps against slow truth; what it exports scores as its two parts."""

import numpy as np
import pytest
from item_embeddings import embeddings_of, random_embeddings
from shops import pools_of, random_positives

from recsys.cf.models.hybrid_start import TABLES, content_matrix, start_arrays
from recsys.config.schema import HybridConfig

torch = pytest.importorskip("torch", reason="the extra torch is not installed")

from recsys.cf.models.hybrid_adam import RowAdam  # noqa: E402
from recsys.cf.models.hybrid_model import HybridModel, triplet_loss  # noqa: E402

WEIGHED = HybridConfig(factors=3, cf_weight=0.6, content_weight=0.5, regularization=0.2)


def slow_loss(U, V, P, E, triplets, config):
    """The objective triplet by triplet, in float64: (total, collaborative part, content part)."""
    cf = content = penalty = 0.0
    for u, i, j in triplets:
        content_i, content_j = P.T @ E[i], P.T @ E[j]
        cf += np.log1p(np.exp(-(U[u] @ V[i] - U[u] @ V[j])))
        content += np.log1p(np.exp(-(U[u] @ content_i - U[u] @ content_j)))
        rows = (U[u], V[i], V[j], content_i, content_j)
        penalty += sum(row @ row for row in rows)
    total = config.cf_weight * cf + config.content_weight * content + 0.5 * config.regularization * penalty
    return total, cf, content


@pytest.fixture
def problem():
    """Return float64 (U, V, P, E, triplets) with rows that repeat and an item without content."""
    random = np.random.default_rng(3)
    U, V, P, E = (random.normal(size=shape) for shape in ((5, 3), (6, 3), (4, 3), (6, 4)))
    E[2] = 0
    triplets = np.stack([random.integers(5, size=12), *random.integers(6, size=(2, 12))], axis=1)
    return U, V, P, E, triplets


def autograd(U, V, P, E, triplets, config):
    leaves = [torch.tensor(matrix, requires_grad=True) for matrix in (U, V, P)]
    user, *item = torch.tensor(triplets).T
    loss = triplet_loss(leaves[0], leaves[1], torch.tensor(E) @ leaves[2], user, torch.stack(item), config)
    loss.total.backward()
    return loss, [leaf.grad.numpy() for leaf in leaves]


def test_the_loss_is_the_slow_one(problem):
    loss, _ = autograd(*problem, WEIGHED)
    expected = slow_loss(*problem, WEIGHED)
    assert [one.item() for one in (loss.total, loss.cf, loss.content)] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_its_gradient_is_that_of_the_slow_one(problem, place):
    _, gradients = autograd(*problem, WEIGHED)
    step, numeric = 1e-6, np.zeros_like(problem[place])
    for at in np.ndindex(numeric.shape):
        sides = []
        for sign in (1, -1):
            moved = [matrix.copy() for matrix in problem]
            moved[place][at] += sign * step
            sides.append(slow_loss(*moved, WEIGHED)[0])
        numeric[at] = (sides[0] - sides[1]) / (2 * step)
    np.testing.assert_allclose(gradients[place], numeric, rtol=1e-6, atol=1e-7)


def test_the_margin_is_the_difference_of_served_scores(problem):
    U, V, P, E, triplets = problem
    loss, _ = autograd(*problem, WEIGHED)
    served = U @ (WEIGHED.cf_weight * V + WEIGHED.content_weight * E @ P).T
    u, i, j = triplets.T
    np.testing.assert_allclose(loss.margin.numpy(), served[u, i] - served[u, j], rtol=1e-12)


def small_model(config, n_users=30, n_items=20):
    pools = pools_of(random_positives(n_users, n_items, 4, seed=1))
    content = content_matrix(random_embeddings(n_items))
    start = start_arrays(pools, content.shape[1], config.model_copy(update={"init_std": 0.4}), seed=5)
    return HybridModel(start, content, config, "cpu"), start, content


def batches(n_users=30, n_items=20, size=11, steps=6):
    random = np.random.default_rng(8)
    highs = (n_users, n_items, n_items)
    return [[random.integers(high, size=size).astype(np.int32) for high in highs] for _ in range(steps)]


def test_steps_are_those_of_torchs_sparse_adam_on_embedding_tables():
    config = WEIGHED.model_copy(update={"learning_rate": 0.05})
    model, start, content = small_model(config)
    users, items = (
        torch.nn.Embedding.from_pretrained(torch.from_numpy(start[name].copy()), freeze=False, sparse=True)
        for name in TABLES[:2]
    )
    projection = torch.nn.Parameter(torch.from_numpy(start["projection"].copy()))
    sparse = torch.optim.SparseAdam([users.weight, items.weight], lr=config.learning_rate)
    dense = torch.optim.Adam([projection], lr=config.learning_rate / np.sqrt(content.shape[1]))
    for batch in batches():
        model.step(*batch)
        u, i, j = (torch.from_numpy(one.astype(np.int64)) for one in batch)
        rows = users(u), items(i), items(j)
        projected = torch.from_numpy(content) @ projection
        parts = [(rows[1], rows[2], config.cf_weight)]
        parts += [(projected[i], projected[j], config.content_weight)]
        loss = sum(
            weight * torch.nn.functional.softplus(-(rows[0] * (one - other)).sum(1)).sum()
            for one, other, weight in parts
        )
        penalty = sum((row**2).sum() for row in (*rows, projected[i], projected[j]))
        sparse.zero_grad()
        dense.zero_grad()
        (loss + 0.5 * config.regularization * penalty).backward()
        sparse.step()
        dense.step()
    expected = (users.weight, items.weight, projection)
    for name, reference in zip(TABLES, expected, strict=True):
        np.testing.assert_allclose(model.arrays()[name], reference.detach().numpy(), rtol=1e-4, atol=1e-5)
        assert np.abs(model.arrays()[name] - start[name]).max() > 0.02, "nothing has moved"


def test_adam_with_all_rows_named_is_torchs_adam():
    random = np.random.default_rng(0)
    start = torch.from_numpy(random.normal(size=(4, 3)))
    reference = torch.nn.Parameter(start.clone())
    optimizer = torch.optim.Adam([reference], lr=0.1)
    table = RowAdam([start, torch.zeros_like(start), torch.zeros_like(start)], 0.1)
    for step in range(1, 8):
        gradient = torch.from_numpy(random.normal(size=(4, 3)))
        reference.grad = gradient
        optimizer.step()
        if step % 2:
            table.store(table.fetch(torch.tensor([2, 0, 3, 1])), gradient[[2, 0, 3, 1]], step)
        else:
            table.move_all(gradient, step)
    # epsilon stands beside another root in torch's dense Adam
    np.testing.assert_allclose(table.parts[0].numpy(), reference.detach().numpy(), rtol=1e-4)
    assert not np.allclose(table.parts[0].numpy(), start.numpy(), atol=0.1)


def test_rows_that_a_step_does_not_name_stay_bit_equal():
    model, start, _ = small_model(WEIGHED)
    users, positives, negatives = (np.array(one, dtype=np.int32) for one in ([3, 4], [0, 1], [5, 5]))
    model.step(users, positives, negatives)
    moved = {name: (model.arrays()[name] != start[name]).any(axis=1) for name in TABLES[:2]}
    assert np.flatnonzero(moved["user_factors"]).tolist() == [3, 4]
    assert np.flatnonzero(moved["item_factors"]).tolist() == [0, 1, 5]


def test_the_exported_factors_score_as_both_parts_together():
    model, _, content = small_model(WEIGHED)
    for batch in batches():
        model.step(*batch)
    U, V, P = (model.arrays()[name].astype(np.float64) for name in TABLES)
    two_parts = WEIGHED.cf_weight * U @ V.T + WEIGHED.content_weight * U @ (content.astype(np.float64) @ P).T
    exported = model.folded()
    np.testing.assert_allclose(exported.user_factors @ exported.item_factors.T, two_parts, atol=1e-5)


def test_an_item_without_embedding_has_the_collaborative_part_alone():
    model, _, content = small_model(WEIGHED)
    unknown = ~content.any(axis=1)
    assert unknown.any()
    V = model.arrays()["item_factors"]
    folded = model.folded().item_factors
    np.testing.assert_array_equal(folded[unknown], np.float32(WEIGHED.cf_weight) * V[unknown])
    assert (folded[~unknown] != np.float32(WEIGHED.cf_weight) * V[~unknown]).any(axis=1).all()


def test_content_is_free_of_what_all_items_share_and_of_lengths():
    random = np.random.default_rng(0)
    vectors, known = random.normal(5, 1, (40, 6)), random.random(40) < 0.7
    content = content_matrix(embeddings_of(vectors, known))
    assert not content[~known].any()
    np.testing.assert_allclose(content[known].mean(axis=0), 0, atol=1e-7)
    scaled = content_matrix(embeddings_of(vectors * random.uniform(0.1, 9, (40, 1)), known))
    np.testing.assert_allclose(scaled, content, atol=1e-6)
    unit = vectors[known] / np.linalg.norm(vectors[known], axis=1, keepdims=True)
    expected = np.linalg.norm(unit[:, None] - unit[None], axis=2)
    np.testing.assert_allclose(
        np.linalg.norm(content[known][:, None] - content[known][None], axis=2), expected, atol=1e-5
    )


def test_nothing_known_is_no_content_and_no_crash():
    assert not content_matrix(embeddings_of(np.zeros((4, 3)), np.zeros(4, dtype=bool))).any()
