"""The funnel shows what it dropped: counts, and the first rows of every reason as the file has them."""

import pytest

from recsys.cf.data.funnel import SAMPLE_ROWS, Funnel
from recsys.cf.data.prepare import prepare
from recsys.config.schema import DataConfig
from recsys.storage.memory import MemoryStore


def test_counts_of_one_reason_add_up_and_the_first_samples_stay():
    funnel = Funnel(10)
    for start in (0, 2):
        funnel.drop("parse", "no_rating", 2, [{"n": start}, {"n": start + 1}])
    funnel.drop("parse", "no_user_id", 0)
    assert funnel.rows_out == 6
    assert [(step.reason, step.rows) for step in funnel.steps] == [("no_rating", 4), ("no_user_id", 0)]
    assert funnel.steps[0].samples == ({"n": 0}, {"n": 1}, {"n": 2})


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    good = [f"u{user},i{visit},5,2024-01-0{visit + 1},1" for user in range(9) for visit in range(4)]
    odd = [
        ",i1,5,2024-01-01,1", "x,,5,2024-01-01,1", "x,i1,five stars,2024-01-01,1", "x,i1,9,2024-01-01,1",
        *(f"x{n},i1,5,13/13/2024,1" for n in range(5)),
        "u0,i0,4,2023-12-01,1", "single,i1,5,2024-01-01,1", "u1,rare,5,2024-01-01,1",
    ]  # fmt: skip
    path = tmp_path_factory.mktemp("raw") / "reviews.csv"
    path.write_text("\n".join(["user_id,item_id,rating,date,comment_quality", *good, *odd]))
    prepared = prepare(MemoryStore(), path, None, DataConfig(min_item_positives=2), seed=0)
    assert prepared.rows_in == len(good) + len(odd)
    assert prepared.rows_in == prepared.rows_out + sum(step.rows for step in prepared.funnel)
    return {step.reason: step for step in prepared.funnel}


DATE = {"timestamp": "2024-01-01"}


@pytest.mark.parametrize(
    ("reason", "rows", "shown"),
    [
        ("no_user_id", 1, {"item_id": "i1", "rating": "5", **DATE, "row": 37}),
        ("no_item_id", 1, {"user_id": "x", "rating": "5", **DATE, "row": 38}),
        ("no_rating", 1, {"user_id": "x", "item_id": "i1", "rating": "five stars", **DATE, "row": 39}),
        ("rating_out_of_range", 1, {"user_id": "x", "item_id": "i1", "rating": "9", **DATE, "row": 40}),
        ("no_timestamp", 5, {"user_id": "x0", "item_id": "i1", "rating": "5", "timestamp": "13/13/2024", "row": 41}),
    ],
)  # fmt: skip
def test_unusable_rows_are_shown_as_the_file_has_them(steps, reason, rows, shown):
    step = steps[reason]
    assert step.rows == rows
    assert step.samples[0] == {**shown, "file": "reviews.csv"}
    assert len(step.samples) == min(rows, SAMPLE_ROWS)


@pytest.mark.parametrize(
    ("reason", "user_id", "item_id"),
    [
        ("older_row_of_same_user_and_item", "u0", "i0"),
        ("cold_start_user", "single", "i1"),
        ("rare_item", "u1", "rare"),
    ],
)
def test_later_steps_show_ids_rating_and_time(steps, reason, user_id, item_id):
    (sample,) = steps[reason].samples
    assert (sample["user_id"], sample["item_id"]) == (user_id, item_id)
    assert set(sample) == {"user_id", "item_id", "rating", "timestamp"}
