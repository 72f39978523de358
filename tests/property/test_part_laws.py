"""Where preparation cuts the rows into parts changes nothing but memory."""

import tempfile
from itertools import pairwise
from pathlib import Path

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from reviews import raw_reviews

from recsys.cf.data.clean import RowFilter, newest_per_pair
from recsys.cf.data.files import write_table
from recsys.cf.data.funnel import Funnel
from recsys.cf.data.interactions import split_interactions
from recsys.cf.data.prepare import prepare, prepare_interactions
from recsys.cf.data.staging import UserOrderedRows
from recsys.config.schema import DataConfig
from recsys.storage.memory import MemoryStore

USERS = st.sampled_from(["0", "00", "1", "10", "2", "a", "B", "đ", "é x", "z" * 40])
ROWS = st.lists(
    st.tuples(USERS, st.sampled_from("abcdef"), st.sampled_from([None, 0, 1, 4, 5]), st.integers(0, 4)),
    min_size=1,
    max_size=60,
).map(lambda rows: [(user, item, 5, day) for user in "pqr" for day, item in enumerate("abc")] + rows)
CONFIG = DataConfig(min_item_positives=2)


@settings(max_examples=40)
@given(ROWS, st.integers(1, 80), st.integers(1, 30))
def test_parts_hold_each_user_once_in_order_and_lose_no_row(rows, part_rows, batch_rows):
    frame = raw_reviews(rows)
    with tempfile.TemporaryDirectory() as directory:
        staged = UserOrderedRows(Path(directory) / "runs")
        for start in range(0, frame.height, batch_rows):
            staged.add(frame.slice(start, batch_rows))
        parts = list(staged.parts(part_rows))
    found = pl.concat(parts)
    assert found.sort(found.columns).equals(frame.sort(frame.columns))
    for before, after in pairwise(parts):
        assert before["user_id"].max() < after["user_id"].min()


@settings(max_examples=40)
@given(ROWS, st.sets(st.integers(1, 9)))
def test_splitting_part_by_part_equals_splitting_the_whole(rows, cuts):
    raw = raw_reviews(rows)
    whole, funnel = prepare_interactions(raw, CONFIG, seed=0)
    counted = Funnel(raw.height)
    cleaned = newest_per_pair(RowFilter(CONFIG, counted).score(raw), counted)
    users = cleaned["user_id"].unique().sort().to_list()
    bounds = sorted({users[cut] for cut in cuts if cut < len(users)})
    parts = [
        part
        for low, high in zip([None, *bounds], [*bounds, None], strict=True)
        if not (
            part := cleaned.filter(
                (pl.lit(low is None) | (pl.col("user_id") >= (low or "")))
                & (pl.lit(high is None) | (pl.col("user_id") < (high or "")))
            )
        ).is_empty()
    ]
    assert pl.concat(split_interactions(parts, CONFIG, 0, counted)).equals(whole)
    assert counted == funnel


def test_versions_made_in_small_parts_have_the_same_bytes(tmp_path):
    lines = [
        f"u{user:03d},i{(user * 7 + visit) % 23},{1 + (user + visit) % 5},2024-01-{visit + 1:02d}"
        for user in range(600)
        for visit in range(5)
    ]
    path = tmp_path / "r.csv"
    path.write_text("\n".join(["user_id,item_id,rating,date", *lines]))
    contents = []
    for part_rows in (10**9, 700, 97):
        store = MemoryStore()
        version = prepare(store, path, None, DataConfig(), seed=0, part_rows=part_rows).version
        prefix = f"data/versions/{version}/"
        contents.append({i.key.removeprefix(prefix): store.get(i.key).data for i in store.list(prefix)})
        del contents[-1]["manifest.json"]
    assert contents[0] == contents[1] == contents[2]


def test_large_tables_have_the_same_bytes_in_however_many_chunks(tmp_path):
    whole = pl.DataFrame({"user_idx": range(400_000), "user_id": [f"user-{n:07d}" for n in range(400_000)]})
    chunks = pl.concat([whole[:50_000], whole[50_000:170_001], whole[170_001:]], rechunk=False)
    assert chunks.n_chunks() == 3
    for name, frame in (("whole", whole), ("chunks", chunks)):
        write_table(tmp_path / name, frame)
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "chunks").read_bytes()
    chunks.write_parquet(tmp_path / "as_they_lie")  # what the table is made one for
    assert (tmp_path / "as_they_lie").read_bytes() != (tmp_path / "whole").read_bytes()
