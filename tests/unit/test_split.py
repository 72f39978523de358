import polars as pl
from reviews import drops, raw_reviews, scored_reviews

from recsys.cf.data.funnel import Funnel
from recsys.cf.data.prepare import prepare_interactions
from recsys.cf.data.segment import segment_interactions
from recsys.cf.data.split import assign_splits, multi_row_event_share
from recsys.config.schema import DataConfig

EVENT = DataConfig(min_item_positives=1)
ROW = DataConfig(min_item_positives=1, split_unit="row")


def split(rows, config=EVENT):
    frame = scored_reviews(rows)
    funnel = Funnel(frame.height)
    segmented = segment_interactions(frame, config, funnel, seed=0)
    return assign_splits(segmented, config, funnel), funnel


def splits_and_drops(rows, config=EVENT):
    """Return ({item_id: split}, drops) of user u, whose items a fan keeps in the shop by liking them all at once."""
    fan = [("fan", item, 5, 0) for item in {item for _, item, _, _ in rows}]
    frame, funnel = split([*rows, *fan], config)
    return dict(frame.filter(pl.col("user_id") == "u").select("item_id", "split").rows()), drops(funnel)


def splits(rows, config=EVENT):
    return splits_and_drops(rows, config)[0]


def test_three_positive_events_give_train_validation_and_test():
    assert splits([("u", "a", 5, 1), ("u", "b", 5, 2), ("u", "c", 5, 3)]) == {
        "a": "train", "b": "validation", "c": "test",
    }  # fmt: skip


def test_two_positive_events_give_no_validation_and_one_gives_no_test():
    assert splits([("u", "a", 5, 1), ("u", "b", 5, 2)]) == {"a": "train", "b": "test"}
    assert splits([("u", "a", 5, 1), ("u", "b", 5, 1)]) == {"a": "train", "b": "train"}
    assert splits([("u", "a", 5, 1), ("u", "b", 2, 2)]) == {"a": "train", "b": "train"}


def test_an_event_is_never_cut():
    rows = [("u", item, 5, day) for day, items in enumerate(["ab", "cd", "ef"]) for item in items]
    assert splits(rows) == {
        "a": "train", "b": "train", "c": "validation", "d": "validation", "e": "test", "f": "test",
    }  # fmt: skip


def test_negatives_from_the_first_held_out_event_on_are_dropped_and_counted():
    rows = [
        ("u", "a", 5, 1), ("u", "early", 1, 2), ("u", "b", 5, 3), ("u", "with_b", 1, 3), ("u", "between", 2, 4),
        ("u", "c", 5, 5), ("u", "with_c", 3, 5), ("u", "after", 1, 6),
    ]  # fmt: skip
    by_item, dropped = splits_and_drops(rows)
    assert by_item == {
        "a": "train", "early": "train", "b": "validation", "c": "test",
        "with_b": "dropped", "between": "dropped", "with_c": "dropped", "after": "dropped",
    }  # fmt: skip
    assert dropped == {"negative_of_held_out_event": 2, "later_than_held_out": 2}


def test_row_unit_breaks_ties_by_rating_then_item_id():
    # All at one time: order is rating descending, then item_id ascending.
    tied = [("u", "d", 4, 1), ("u", "c", 5, 1), ("u", "b", 5, 1), ("u", "a", 4, 1), ("u", "n", 1, 1)]
    assert splits(tied, ROW) == {"b": "test", "c": "validation", "a": "train", "d": "train", "n": "train"}


def test_cold_and_filtered_rows_are_in_no_split():
    config = DataConfig(min_item_positives=2)
    rows = [("u", "a", 5, 1), ("u", "b", 5, 2), ("v", "a", 5, 1), ("v", "b", 5, 2), ("u", "rare", 5, 3),
            ("cold", "a", 5, 1)]  # fmt: skip
    frame, _ = split(rows, config)
    outside = frame.filter(pl.col("split").is_in(["cold", "dropped"]))
    assert outside.select("user_id", "item_id", "split").rows() == [
        ("cold", "a", "cold"), ("u", "rare", "dropped"),
    ]  # fmt: skip


def test_share_of_rows_in_multi_row_events():
    frame, _ = split([("u", "a", 5, 1), ("u", "b", 5, 1), ("u", "c", 5, 2), ("u", "d", 5, 3)])
    assert multi_row_event_share(frame) == 0.5


def test_cutting_events_leaks_and_keeping_them_does_not():
    """Every event is one product in three variants. A model that only knows "same event" must not profit."""
    rows = []
    for user in range(40):
        for visit in range(3):
            product = (user * 7 + visit * 11) % 23
            rows += [(f"u{user:02d}", f"p{product:02d}v{variant}", 5, visit) for variant in range(3)]

    def hits(unit):
        frame, _ = prepare_interactions(raw_reviews(rows), DataConfig(split_unit=unit), seed=0)
        product = pl.col("item_id").str.slice(0, 3)
        train = frame.filter(pl.col("split") == "train").select("user_id", product)
        test = frame.filter(pl.col("split") == "test").select("user_id", product)
        return test.join(train.unique(), on=["user_id", "item_id"], how="semi").height / test.height

    assert hits("row") == 1.0
    assert hits("event") == 0.0
