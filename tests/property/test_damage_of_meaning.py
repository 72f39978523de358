"""No damage of meaning passes: the hash fits, as a bug would write it, and only the laws of the content can tell."""

import io
import json

import numpy as np
import polars as pl
import pytest
from stored_versions import content, forged

from recsys.cf.data.files import REQUIRED_FILES
from recsys.cf.data.load import load_processed_data
from recsys.cf.data.version import verify_version
from recsys.errors import DataValidationError


def arrays_of(data):
    with np.load(io.BytesIO(data)) as archive:
        return dict(archive)


def archive_of(arrays):
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def array_damage():
    """Yield (file, what, damaged bytes from bytes) for each array and each kind of damage it can have."""

    def changed(member, change):
        def damage(data):
            arrays = arrays_of(data)
            arrays[member] = change(arrays[member].copy())
            return archive_of(arrays)

        return damage

    members = {
        "X_train_confidence.npz": ("data", "indices", "indptr"),
        "X_train_binary.npz": ("data", "indices", "indptr"),
        "user_pos_train.npz": ("indices", "indptr"),
        "user_hard_neg_train.npz": ("explicit_indices", "explicit_indptr", "implicit_indices", "implicit_indptr"),
    }  # fmt: skip
    for name, names in members.items():
        for member in names:
            for what, change in ARRAY_CHANGES.items():
                if what != "NaN" or member == "data":
                    yield name, f"{what} in {member}", changed(member, change)


def put(value):
    def change(array):
        array[len(array) // 2] = value
        return array

    return change


ARRAY_CHANGES = {
    "wrong dtype": lambda array: array.astype(np.int16 if array.dtype.kind == "f" else np.float64),
    "NaN": put(np.nan),
    "out of range": put(10**6),
    "negative": put(-1),
    "duplicate": lambda array: np.insert(array, len(array) // 2, array[len(array) // 2]),
    "one missing": lambda array: np.delete(array, len(array) // 2),
    "reversed": lambda array: array[::-1] if len(set(array.tolist())) > 1 else array[:-1],
    "another shape": lambda array: array.reshape(1, -1),
}


def number(expression):
    """Change one value of a column in the middle."""
    return pl.when(pl.int_range(pl.len()) == pl.len() // 2).then(expression)


def set_one(column, value):
    return lambda frame: frame.with_columns(
        number(pl.lit(value, dtype=frame.schema[column])).otherwise(pl.col(column)).alias(column)
    )


def other_type(column):
    return lambda frame: frame.with_columns(
        pl.col(column).cast(pl.Int32 if frame.schema[column] == pl.String else pl.String, strict=False)
    )


def twice(frame):
    return pl.concat([frame, frame.slice(frame.height // 2, 1)])


def shift(column):
    return lambda frame: frame.with_columns(pl.col(column).shift(1).fill_null(strategy="backward"))


INTERACTION_CHANGES = {
    "row twice": twice,
    "row missing": lambda frame: frame.filter(pl.int_range(pl.len()) != pl.len() // 2),
    "rows reversed": lambda frame: frame.reverse(),
    "NaN rating": set_one("rating", float("nan")),
    "NaN confidence": set_one("confidence", float("nan")),
    "NaN quality": set_one("comment_quality", float("nan")),
    "rating out of range": set_one("rating", 7.0),
    "no time": set_one("timestamp", None),
    "no user": set_one("user_id", None),
    "empty item": set_one("item_id", ""),
    "unknown split": set_one("split", "holdout"),
    "no split": set_one("split", None),
    "test row in train": lambda frame: frame.with_columns(split=pl.col("split").replace("test", "train")),
    "train row in test": lambda frame: frame.with_columns(split=pl.col("split").replace("train", "test")),
    "user_idx out of range": lambda frame: frame.with_columns(pl.col("user_idx") + 10**6),
    "user_idx negative": lambda frame: frame.with_columns(pl.col("user_idx") - 1),
    "item_idx out of range": lambda frame: frame.with_columns(pl.col("item_idx") + 10**6),
    "item_idx of another": shift("item_idx"),
    "positives turned": lambda frame: frame.with_columns(~pl.col("is_positive")),
    "hard negatives turned": lambda frame: frame.with_columns(~pl.col("is_hard_negative")),
    "trainable turned": lambda frame: frame.with_columns(~pl.col("is_trainable_user")),
    "wrong dtype": other_type("user_idx"),
    "column missing": lambda frame: frame.drop("rating"),
    "no rows": lambda frame: frame.clear(),
}
FRAME_CHANGES = {
    "interactions.parquet": INTERACTION_CHANGES,
    "val_interactions.parquet": INTERACTION_CHANGES,
    "test_interactions.parquet": INTERACTION_CHANGES,
    "mappings.parquet": {
        "row twice": twice,
        "row missing": lambda frame: frame.filter(pl.int_range(pl.len()) != pl.len() // 2),
        "ids moved": shift("id"),
        "no id": set_one("id", None),
        "unknown kind": set_one("kind", "shop"),
        "idx out of range": set_one("idx", 10**6),
        "wrong dtype": other_type("idx"),
        "no rows": lambda frame: frame.clear(),
    },
    "user_metadata.parquet": {
        "row twice": twice,
        "row missing": lambda frame: frame.filter(pl.int_range(pl.len()) != pl.len() // 2),
        "ids moved": shift("user_id"),
        "idx moved": shift("user_idx"),
        "count wrong": lambda frame: frame.with_columns(pl.col("interactions") + 1),
        "positives wrong": lambda frame: frame.with_columns(pl.col("positives") + 1),
        "trainable turned": lambda frame: frame.with_columns(~pl.col("is_trainable")),
        "wrong dtype": other_type("user_idx"),
    },
    "items.parquet": {
        "row twice": twice,
        "row missing": lambda frame: frame.filter(pl.int_range(pl.len()) != pl.len() // 2),
        "ids moved": shift("item_id"),
        "idx moved": shift("item_idx"),
        "no id": set_one("item_id", None),
        "wrong dtype": other_type("item_idx"),
    },
}


def frame_damage():
    def changed(change):
        def damage(data):
            out = io.BytesIO()
            change(pl.read_parquet(io.BytesIO(data))).write_parquet(out)
            return out.getvalue()

        return damage

    for name, changes in FRAME_CHANGES.items():
        # In the held-out files every row is a test or validation row, so some changes change nothing there.
        nothing = (
            {"test row in train", "train row in test"} if name.startswith("val") else {"train row in test"}
        )
        for what, change in changes.items():
            if not (name != "interactions.parquet" and what in nothing):
                yield name, what, changed(change)


def small_file_damage():
    def array(change):
        def damage(data):
            out = io.BytesIO()
            np.save(out, change(np.load(io.BytesIO(data))))
            return out.getvalue()

        return damage

    def document(change):
        def damage(data):
            return json.dumps(change(json.loads(data))).encode()

        return damage

    for name in ("item_popularity.npy", "item_train_counts.npy"):
        for what, change in ARRAY_CHANGES.items():
            if what != "NaN" or name == "item_popularity.npy":
                yield name, what, array(change)
    top = {
        "out of range": lambda top: [*top[1:], 10**6],
        "negative": lambda top: [*top[1:], -1],
        "twice": lambda top: [*top[1:], top[1]],
        "one missing": lambda top: top[1:],
        "beyond int32": lambda top: [*top[1:], 10**12],
        "null": lambda top: [*top[1:], None],
        "text": lambda top: [*top[1:], "x"],
        "an object": lambda top: {"top": top},
        "empty": lambda top: [],
    }
    for what, change in top.items():
        yield "top_k_popular_items.json", what, document(change)
    stats = {
        "rows_in wrong": lambda stats: {**stats, "rows_in": stats["rows_in"] + 1},
        "rows_out wrong": lambda stats: {**stats, "rows_out": stats["rows_out"] + 1},
        "drop wrong": lambda stats: {
            **stats,
            "funnel": [{**stats["funnel"][0], "rows": 7}, *stats["funnel"][1:]],
        },
        "sizes wrong": lambda stats: {**stats, "sizes": {**stats["sizes"], "users": 1}},
        "sizes missing": lambda stats: {key: value for key, value in stats.items() if key != "sizes"},
        "funnel null": lambda stats: {**stats, "funnel": None},
        "a list": lambda stats: [stats],
    }
    for what, change in stats.items():
        yield "data_stats.json", what, document(change)


MEANING = [*array_damage(), *frame_damage(), *small_file_damage()]


@pytest.mark.parametrize(
    ("name", "damage"), [pytest.param(name, damage, id=f"{name}: {what}") for name, what, damage in MEANING]
)
def test_damage_of_meaning_is_found_under_a_right_hash(contents, name, damage):
    store = forged(contents, {name: damage(content(contents, name))})
    assert verify_version(store, "latest") == []
    with pytest.raises(DataValidationError) as caught:
        load_processed_data(store)
    assert caught.value.findings
    assert "damaged" in str(caught.value)


def test_every_file_is_damaged_in_some_way():
    assert {name for name, _, _ in MEANING} == set(REQUIRED_FILES)


def test_a_row_in_train_and_test_of_all_files_at_once_is_found(contents):
    """The cunning case: matrices, interactions and test file agree that one pair is in both."""
    interactions = pl.read_parquet(io.BytesIO(content(contents, "interactions.parquet")))
    positive = interactions.filter((pl.col("split") == "train") & pl.col("is_positive")).head(1)
    copied = positive.with_columns(split=pl.lit("test"))
    both = pl.concat([interactions, copied]).sort("user_id", "item_id", maintain_order=True)
    changes = {}
    for name, frame in (
        ("interactions.parquet", both),
        ("test_interactions.parquet", both.filter(pl.col("split") == "test")),
    ):
        out = io.BytesIO()
        frame.write_parquet(out)
        changes[name] = out.getvalue()
    with pytest.raises(DataValidationError, match="1 test rows are in train"):
        load_processed_data(forged(contents, changes))
