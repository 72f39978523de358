"""Laws of preparation on arbitrary small shops, against oracles that are slow and obvious."""

import tempfile
from collections import Counter, defaultdict
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reviews import drops, raw_reviews, scored_reviews

from recsys.cf.data.build import build_dataset
from recsys.cf.data.clean import clean_interactions
from recsys.cf.data.files import read_dataset_files, write_dataset_files
from recsys.cf.data.funnel import Funnel
from recsys.cf.data.prepare import prepare_interactions
from recsys.cf.data.segment import segment_interactions
from recsys.cf.data.split import assign_splits
from recsys.cf.data.stats import RowFacts, data_stats
from recsys.cf.data.validate import validate_dataset
from recsys.config.schema import DataConfig
from recsys.errors import EmptyDataError

IDS = st.sampled_from(["0", "00", "1", "10", "2", "a", "B", "đ", "é x"])
# Three users who like three items on three days pass every filter below, so no drawn shop ends up empty.
CORE = [(user, item, 5, day) for user in "pqr" for day, item in enumerate(["0", "a", "đ"])]


def mostly(values, odd):
    return st.one_of(values, values, values, values, odd)


CLEAN_ROWS = st.lists(
    st.tuples(IDS, IDS, st.integers(1, 5), st.integers(0, 4)), max_size=60, unique_by=lambda row: row[:2]
).map(lambda rows: CORE + rows)
DIRTY_ROWS = st.lists(
    st.tuples(
        mostly(IDS, st.none()),
        mostly(IDS, st.none()),
        mostly(st.integers(1, 5), st.sampled_from([None, -1, 0, 6])),
        mostly(st.integers(0, 4), st.none()),
    ),
    max_size=60,
).map(lambda rows: CORE + rows)
CONFIGS = st.builds(
    DataConfig,
    min_user_interactions=st.integers(1, 3),
    min_user_positives=st.integers(1, 2),
    min_item_positives=st.integers(1, 3),
    split_unit=st.sampled_from(["event", "row"]),
)


def prepared(rows, config):
    """Return (interactions, funnel)."""
    return prepare_interactions(raw_reviews(rows), config, seed=0)


@given(DIRTY_ROWS, CONFIGS)
def test_every_row_is_in_one_split_or_counted_as_dropped(rows, config):
    interactions, funnel = prepared(rows, config)
    in_split = interactions.filter(pl.col("split").is_in(["train", "validation", "test"])).height
    assert funnel.rows_in == len(rows) == in_split + sum(step.rows for step in funnel.steps)
    assert all(step.rows >= 0 for step in funnel.steps)
    valid = {(u, i) for u, i, r, t in rows if None not in (u, i, r, t) and 1 <= r <= 5}
    assert set(interactions.select("user_id", "item_id").rows()) == valid
    assert interactions.height == len(valid)


@given(DIRTY_ROWS, st.randoms(use_true_random=False))
def test_cleaning_does_not_depend_on_the_order_of_rows(rows, random):
    shuffled = random.sample(rows, len(rows))
    first = clean_interactions(raw_reviews(rows), DataConfig(), Funnel(len(rows)))
    assert first.equals(clean_interactions(raw_reviews(shuffled), DataConfig(), Funnel(len(rows))))


def one_by_one(rows, config):
    """Return the pairs that stay when one offending user or item at a time is removed."""
    rows = set(rows)
    while True:
        n, liked = Counter(row[0] for row in rows), Counter(row[0] for row in rows if row[2] >= 4)
        offender = next(
            (
                u
                for u in sorted(n)
                if n[u] < config.min_user_interactions or liked[u] < config.min_user_positives
            ),
            None,
        )
        if offender is not None:
            rows = {row for row in rows if row[0] != offender}
            continue
        positives = Counter(row[1] for row in rows if row[2] >= 4)
        offender = next(
            (row[1] for row in sorted(rows) if positives[row[1]] < config.min_item_positives), None
        )
        if offender is None:
            return {row[:2] for row in rows}
        rows = {row for row in rows if row[1] != offender}


@given(CLEAN_ROWS, CONFIGS, st.booleans())
def test_both_filters_end_in_the_largest_set_that_satisfies_them(rows, config, with_core):
    rows = rows if with_core or len(rows) == len(CORE) else rows[len(CORE) :]
    expected = one_by_one(rows, config)
    funnel = Funnel(len(rows))
    if not expected:
        with pytest.raises(EmptyDataError):
            segment_interactions(scored_reviews(rows), config, funnel, seed=0)
        return
    frame = segment_interactions(scored_reviews(rows), config, funnel, seed=0)
    kept = frame.filter(pl.col("user_idx").is_not_null() & pl.col("item_idx").is_not_null())
    assert set(kept.select("user_id", "item_id").rows()) == expected
    assert funnel.rows_out == len(expected)
    for index, identifier in (("user_idx", "user_id"), ("item_idx", "item_id")):
        pairs = kept.select(index, identifier).unique().sort(index)
        assert pairs[index].to_list() == list(range(pairs.height))
        assert pairs[identifier].to_list() == sorted(pairs[identifier], key=str.encode)


@given(CLEAN_ROWS, st.integers(1, 4), st.integers(1, 3), st.integers(0, 5))
def test_max_users_is_never_exceeded_and_keeps_the_filters(rows, max_users, min_user_interactions, seed):
    config = DataConfig(
        max_users=max_users, min_user_interactions=min_user_interactions, min_item_positives=1
    )
    # Everything is liked, so that a user's items stay whoever else is drawn.
    rows = [(user, item, 5, day) for user, item, _, day in rows]
    frame = segment_interactions(scored_reviews(rows), config, Funnel(len(rows)), seed=seed)
    kept = frame.filter(pl.col("user_idx").is_not_null() & pl.col("item_idx").is_not_null())
    assert kept["user_idx"].n_unique() == min(max_users, len({user for user, _ in one_by_one(rows, config)}))
    remaining = set(kept.select("user_id", "item_id", pl.col("rating").cast(pl.Int64)).rows())
    assert one_by_one(remaining, config) == {row[:2] for row in remaining}


def split_by_the_book(rows):
    """Return {(user, item): split} for one user's rows, as the specification words it."""
    events = defaultdict(list)
    for row in rows:
        events[row[3]].append(row)
    positive_events = sorted(
        (day for day, event in events.items() if any(r[2] >= 4 for r in event)), reverse=True
    )
    held_out = {}
    if len(positive_events) >= 2:
        held_out[positive_events[0]] = "test"
    if len(positive_events) >= 3:
        held_out[positive_events[1]] = "validation"
    first = min(held_out, default=None)
    return {
        row[:2]: "train" if first is None or row[3] < first
        else held_out[row[3]] if row[3] in held_out and row[2] >= 4
        else "dropped"
        for row in rows
    }  # fmt: skip


@given(CLEAN_ROWS)
def test_the_split_is_the_one_the_specification_words(rows):
    config = DataConfig(min_user_interactions=1, min_item_positives=1)
    frame = scored_reviews(rows)
    segmented = segment_interactions(frame, config, Funnel(len(rows)), seed=0)
    funnel = Funnel(segmented.height)
    split = assign_splits(segmented, config, funnel)
    inside = split.filter(pl.col("user_idx").is_not_null() & pl.col("item_idx").is_not_null())
    got = {(user, item): name for user, item, name in inside.select("user_id", "item_id", "split").rows()}
    by_user = defaultdict(list)
    for row in rows:
        if row[:2] in got:
            by_user[row[0]].append(row)
    expected = {}
    for user_rows in by_user.values():
        expected |= split_by_the_book(user_rows)
    assert got == expected
    assert sum(drops(funnel).values()) == sum(name == "dropped" for name in got.values())


@given(CLEAN_ROWS, CONFIGS)
def test_laws_of_the_split(rows, config):
    interactions, _ = prepared(rows, config)
    held_out = interactions.filter(pl.col("split").is_in(["validation", "test"]))
    assert held_out["is_positive"].all()
    inside = interactions.filter(pl.col("user_idx").is_not_null() & pl.col("item_idx").is_not_null())
    dropped = inside.filter(pl.col("split") == "dropped")
    assert not dropped["is_positive"].any()
    train_positives = interactions.filter((pl.col("split") == "train") & pl.col("is_positive"))
    assert set(train_positives["user_idx"]) == set(inside["user_idx"])
    if config.split_unit == "event":
        events = inside.filter("is_positive").group_by("user_idx", "timestamp")
        assert events.agg(pl.col("split").n_unique())["split"].max() == 1
    order = {"train": 0, "validation": 1, "test": 2}
    times = defaultdict(lambda: defaultdict(list))
    for user, split, time in inside.select("user_idx", "split", "timestamp").rows():
        if split in order:
            times[user][order[split]].append(time)
    for by_split in times.values():
        for earlier, later in ((0, 1), (0, 2), (1, 2)):
            if by_split[earlier] and by_split[later]:
                last, first = max(by_split[earlier]), min(by_split[later])
                assert last < first if config.split_unit == "event" else last <= first


@settings(max_examples=30)
@given(DIRTY_ROWS, CONFIGS)
def test_what_is_built_is_valid_and_comes_back_from_files(rows, config):
    interactions, funnel = prepared(rows, config)
    dataset = build_dataset(interactions, None, config, content_hash="")
    facts = RowFacts()
    facts.add(interactions)
    stats = data_stats(dataset, facts, funnel, config.split_unit)
    object.__setattr__(dataset, "stats", stats)
    with tempfile.TemporaryDirectory() as directory:
        write_dataset_files(Path(directory), dataset)
        interactions.write_parquet(Path(directory) / "interactions.parquet")
        read, read_interactions = read_dataset_files(Path(directory), version="v", content_hash="")
        validate_dataset(read, read_interactions, config.model_dump(mode="json"))
        assert read_interactions.table().equals(interactions)
    assert read.mappings == dataset.mappings
    assert (read.X_train_confidence != dataset.X_train_confidence).nnz == 0
    assert read.stats == stats
    counts = interactions.filter(pl.col("split") == "train")["item_id"].value_counts()
    by_id = dict(counts.rows())
    assert read.item_train_counts.tolist() == [by_id.get(item_id, 0) for item_id in read.mappings.item_ids]
