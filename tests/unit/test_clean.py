from datetime import timedelta

import polars as pl
import pytest
from reviews import OPENING, RAW_SCHEMA, drops, raw_reviews

from recsys.cf.data.clean import clean_interactions
from recsys.cf.data.funnel import Funnel
from recsys.config.schema import DataConfig
from recsys.errors import EmptyDataError

CONFIG = DataConfig()


def clean(raw, config=CONFIG):
    funnel = Funnel(raw.height)
    return clean_interactions(raw, config, funnel), funnel


def test_every_dropped_row_is_counted_under_its_first_reason():
    rows, funnel = clean(
        raw_reviews([
            ("u", "a", 5, 1), (None, "a", None, None), ("u", None, 5, 1), ("u", "b", None, 1), ("u", "c", 5, None),
            ("u", "d", 0, 1), ("u", "e", 5.5, 1), ("u", "f", 1, 1),
        ])
    )  # fmt: skip
    assert rows["item_id"].to_list() == ["a", "f"]
    assert drops(funnel) == {
        "no_user_id": 1, "no_item_id": 1, "no_rating": 1, "no_timestamp": 1, "rating_out_of_range": 2,
    }  # fmt: skip
    assert funnel.rows_out == rows.height


def test_the_newest_row_of_a_pair_stays_then_the_highest_rated():
    rows, funnel = clean(
        raw_reviews([("u", "a", 5, 1), ("u", "a", 2, 3), ("u", "a", 3, 3), ("u", "b", 4, 1)])
    )
    assert rows.select("item_id", "rating").rows() == [("a", 3.0), ("b", 4.0)]
    assert rows["timestamp"][0] == OPENING + timedelta(days=3)
    assert drops(funnel) == {"older_row_of_same_user_and_item": 2}


def test_ties_do_not_depend_on_the_order_of_the_file():
    rows = [("u", "a", 5.0, OPENING, comment, None) for comment in ("x", None, "y")]
    frames = [pl.DataFrame(order, schema=RAW_SCHEMA, orient="row") for order in (rows, rows[::-1])]
    first, second = (clean(frame)[0] for frame in frames)
    assert first.equals(second)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(None, "a", 5, 1)], "have no usable user_id"),
        ([("u", "a", 5, None)] * 2, "all 2 rows left at this step have no usable timestamp"),
        ([("u", "a", 7, 1), ("v", "a", 10, 1)], r"all 2 ratings outside \[1, 5\] \(seen 7\.\.10\)"),
    ],
)
def test_an_emptying_filter_names_itself(rows, message):
    with pytest.raises(EmptyDataError, match=message):
        clean(raw_reviews(rows))
