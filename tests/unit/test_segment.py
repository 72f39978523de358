import pytest
from reviews import drops, scored_reviews

from recsys.cf.data.funnel import Funnel
from recsys.cf.data.segment import segment_interactions
from recsys.config.schema import DataConfig
from recsys.errors import EmptyDataError


def segment(rows, seed=0, **settings):
    frame = scored_reviews(rows)
    funnel = Funnel(frame.height)
    return segment_interactions(frame, DataConfig(**settings), funnel, seed=seed), funnel


def kept(frame):
    return frame.filter(frame["user_idx"].is_not_null() & frame["item_idx"].is_not_null())


def test_indices_are_contiguous_and_sorted_by_id():
    frame, funnel = segment(
        [("b", "y", 5, 1), ("b", "x", 5, 2), ("a", "y", 5, 1), ("a", "x", 2, 2), ("cold", "y", 5, 1)],
        min_item_positives=1,
    )
    assert kept(frame).select("user_id", "user_idx", "item_id", "item_idx").rows() == [
        ("a", 0, "x", 0), ("a", 0, "y", 1), ("b", 1, "x", 0), ("b", 1, "y", 1),
    ]  # fmt: skip
    cold = frame.filter(frame["user_id"] == "cold")
    assert cold.select("is_trainable_user", "user_idx", "item_idx").rows() == [(False, None, 1)]
    assert drops(funnel) == {"cold_start_user": 1}


def test_users_need_a_positive():
    frame, _ = segment(
        [("sour", "x", 1, 1), ("sour", "y", 1, 2), ("u", "x", 5, 1), ("u", "y", 5, 2)], min_item_positives=1
    )
    assert kept(frame)["user_id"].unique().to_list() == ["u"]


def test_filters_are_repeated_until_nothing_changes():
    # z is rare; without it c has one row and leaves; then y has one positive and leaves; then b leaves; x stays.
    rows = [
        ("a1", "x", 5, 1), ("a1", "w", 5, 2), ("a2", "x", 5, 1), ("a2", "w", 5, 2),
        ("b", "x", 5, 1), ("b", "y", 5, 2), ("c", "y", 5, 1), ("c", "z", 5, 2),
    ]  # fmt: skip
    frame, funnel = segment(rows, min_item_positives=2)
    assert sorted(set(kept(frame)["user_id"])) == ["a1", "a2"]
    assert sorted(set(kept(frame)["item_id"])) == ["w", "x"]
    assert drops(funnel) == {"user_too_small_without_rare_items": 4}
    assert funnel.rows_out == kept(frame).height


def test_max_users_is_kept_drawn_by_the_seed_and_counted():
    rows = [(f"u{user}", item, 5, day) for user in range(30) for day, item in enumerate("xyz")]
    drawn = {seed: segment(rows, seed=seed, max_users=10)[0] for seed in (1, 2)}
    again, funnel = segment(list(reversed(rows)), seed=1, max_users=10)
    assert kept(drawn[1])["user_id"].n_unique() == 10
    assert again.equals(drawn[1])
    assert set(kept(drawn[1])["user_id"]) != set(kept(drawn[2])["user_id"])
    assert drops(funnel) == {"user_not_in_max_users": 60}


def test_an_empty_result_says_which_filter_and_what_it_saw():
    with pytest.raises(EmptyDataError, match=r"min_user_interactions 2 .* none of 2 users \(at most 1"):
        segment([("u", "x", 5, 1), ("v", "x", 5, 1)])
    with pytest.raises(EmptyDataError, match=r"min_item_positives is 5.*0 have.*at most 1 on one item"):
        segment([("u", "x", 5, 1), ("u", "y", 5, 1)])
