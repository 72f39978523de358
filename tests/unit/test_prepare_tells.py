"""What a preparation says: manifest, statistics, warnings and errors."""

import json
from datetime import UTC, datetime

import numpy as np
import pytest
from reviews import raw_reviews
from test_prepare import CONFIG, TABLE, files, run, small_shop

from recsys.cf.data.prepare import prepare, prepare_interactions
from recsys.cf.data.version import resolve_version
from recsys.errors import EmptyDataError, RawDataError
from recsys.storage.memory import MemoryStore


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return small_shop(tmp_path_factory.mktemp("shop"))


def test_manifest_and_statistics_say_what_was_done(shop):
    store = MemoryStore()
    content = files(store, run(store, shop).version)
    manifest, stats = json.loads(content["manifest.json"]), json.loads(content["data_stats.json"])
    assert set(manifest["files"]) == TABLE - {"manifest.json"}
    assert set(manifest["sources"]) == {"interactions", "items"}
    assert manifest["settings"]["min_user_interactions"] == 2
    assert datetime.fromisoformat(manifest["created_at"]).tzinfo is not None
    assert datetime.fromisoformat(manifest["created_at"]) <= datetime.now(UTC)
    assert sum(stats["rating_shares"].values()) == pytest.approx(1)
    confidence = stats["distributions"]["confidence"]
    ordered = [confidence[name] for name in ("min", "p01", "p50", "p99", "max")]
    assert [1, *ordered, 6] == sorted([1, *ordered, 6])
    assert json.loads(content["top_k_popular_items.json"])[:1] != []


def test_warnings_tell_what_is_odd(tmp_path):
    # One review copied to two items each, no comments, and a fifth of the dates unreadable.
    lines = ["user_id,item_id,rating,date"]
    for user in range(20):
        for event in range(3):
            lines += [f"u{user},{variant}{event},5,2024-01-0{event + 1}" for variant in "ab"]
        lines += [f"u{user},z,5,13/13/2024"]
    path = tmp_path / "r.csv"
    path.write_text("\n".join(lines))
    warnings = prepare(MemoryStore(), path, None, CONFIG, seed=0).warnings
    assert len(warnings) == 3
    parts = ("14.3% of the raw rows", "100.0% of the rows share", "not discriminate")
    for part, warning in zip(parts, warnings, strict=True):
        assert part in warning


def test_nothing_to_test_is_fatal():
    rows = [(f"u{user}", item, 5, 1) for user in range(9) for item in "ab"]
    with pytest.raises(
        EmptyDataError, match="none of 9 trainable users has positives at two different times"
    ):
        prepare_interactions(raw_reviews(rows), CONFIG, seed=0)


def test_a_missing_file_is_named(shop, tmp_path):
    with pytest.raises(RawDataError, match=r"none\.csv is not a file"):
        prepare(MemoryStore(), shop.reviews, tmp_path / "none.csv", CONFIG, seed=0)


@pytest.mark.parametrize(
    ("scores", "warned"),
    [
        (["0.5"] * 60, True),  # the same for all
        (["1"] * 40 + ["0.2"] * 20, True),  # most have the full score
        ([f"{0.2 + n / 100:.2f}" for n in range(60)], False),
    ],
)
def test_a_quality_that_does_not_discriminate_is_told_with_its_distribution(tmp_path, scores, warned):
    rows = [f"u{n // 3},i{n % 3},5,2024-01-0{n % 3 + 1},{score}" for n, score in enumerate(scores)]
    path = tmp_path / "r.csv"
    path.write_text("\n".join(["user_id,item_id,rating,date,comment_quality", *rows]))
    store = MemoryStore()
    warnings = prepare(store, path, None, CONFIG, seed=0).warnings
    assert any("comment_quality does not discriminate" in warning for warning in warnings) == warned
    stats = json.loads(files(store, resolve_version(store, "latest"))["data_stats.json"])
    quality = stats["distributions"]["comment_quality"]
    assert set(quality) == {"min", "max", "mean", "std", "p01", "p50", "p99"}
    train = [float(score) for score in scores[::3]]
    assert quality["p50"] == pytest.approx(np.median(train), abs=1e-6)


def test_undecodable_rows_are_counted_and_warned_of(tmp_path):
    good = [f"u{user},i{visit},5,2024-01-0{visit + 1}".encode() for user in range(20) for visit in range(3)]
    path = tmp_path / "r.csv"
    path.write_bytes(b"\n".join([b"user_id,item_id,rating,date", *good, b"caf\xe9,i1,5,2024-01-01"]))
    prepared = prepare(MemoryStore(), path, None, CONFIG, seed=0)
    (step,) = (step for step in prepared.funnel if step.reason == "not_utf8")
    assert (step.rows, step.samples[0]["row"], step.samples[0]["user_id"]) == (1, 61, "caf\ufffd")
    assert any("dropped for not_utf8" in warning for warning in prepared.warnings)


def test_an_empty_result_tells_what_was_dropped_before(tmp_path):
    path = tmp_path / "r.csv"
    rows = ["u1,a,5,2024-01-01", *(f"u{n},a,,2024-01-01" for n in range(9))]
    path.write_text("\n".join(["user_id,item_id,rating,date", *rows]))
    with pytest.raises(
        EmptyDataError, match=r"no trainable user: .* of 10 rows 9 were dropped \(no_rating 9\)"
    ):
        prepare(MemoryStore(), path, None, CONFIG, seed=0)
