"""Any shop's files: JSON Lines, several files, globs, and rows that are no text."""

import gzip
import io
import json
import random
from datetime import UTC, datetime

import polars as pl
import pytest

from recsys.cf.data.prepare import prepare
from recsys.cf.data.raw import interaction_batches, read_interactions, read_items
from recsys.cf.data.sources import Source, gather_sources
from recsys.config.schema import DataConfig, InteractionColumns, ItemColumns
from recsys.errors import DataError, RawDataError
from recsys.storage.memory import MemoryStore

COLUMNS = InteractionColumns()
DAY = datetime(2023, 5, 4, tzinfo=UTC)
SECONDS = 1683158400
AMAZON = {"reviewerID": "007", "asin": "0000013714", "overall": 5.0, "unixReviewTime": SECONDS}


def json_lines(*documents):
    return "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in documents).encode()


def batches(path, rows=500_000):
    return list(interaction_batches([Source(str(path), path)], COLUMNS, rows))


@pytest.mark.parametrize("name", ["r.jsonl", "r.ndjson", "r.json", "r.jsonl.gz", "r.json.gz"])
def test_json_lines_keep_ids_and_take_seconds_or_milliseconds(tmp_path, name):
    long_id = 12345678901234567890123
    content = json_lines(
        {**AMAZON, "style": {"Size:": "L"}, "reviewText": "tốt"},
        {**AMAZON, "reviewerID": long_id, "unixReviewTime": SECONDS * 1000},
        {"asin": "B0", "overall": 4},
    )
    path = tmp_path / name
    path.write_bytes(gzip.compress(content, mtime=0) if name.endswith("gz") else content)
    rows = read_interactions(path, COLUMNS)
    assert rows["user_id"].to_list() == ["007", str(long_id), None]
    assert rows["item_id"].to_list() == ["0000013714", "0000013714", "B0"]
    assert rows["timestamp"].to_list() == [DAY, DAY, None]
    assert rows["comment"].to_list() == ["tốt", None, None]


@pytest.mark.parametrize(
    "user_id",
    [
        "007",
        " 7",
        "7 ",
        "x" * 5_000,
        "người dùng",
        "👩‍👩‍👧",
        '"quoted", with comma',
        "line\nbreak",
        "NaN",
        "1e5",
    ],
)
def test_ids_survive_every_format_exactly(tmp_path, user_id):
    frame = pl.DataFrame({"user_id": [user_id], "item_id": ["i"], "rating": ["5"], "date": ["2023-05-04"]})
    frame.write_csv(tmp_path / "r.csv")
    frame.write_parquet(tmp_path / "r.parquet")
    (tmp_path / "r.jsonl").write_bytes(json_lines(frame.row(0, named=True)))
    for name in ("r.csv", "r.parquet", "r.jsonl"):
        assert read_interactions(tmp_path / name, COLUMNS)["user_id"].to_list() == [user_id]


def test_batches_are_the_file_in_its_order(tmp_path):
    path = tmp_path / "r.csv"
    path.write_text("user_id,item_id,rating,date\n" + "".join(f"u{n},i,5,2023-05-04\n" for n in range(1_000)))
    found = batches(path, rows=64)
    assert [batch.first_row for batch in found] == list(range(1, 1_001, 64))
    assert pl.concat([batch.rows for batch in found]).equals(read_interactions(path, COLUMNS))


def test_undecodable_rows_are_marked_and_shown(tmp_path):
    good = b"u%d,i,5,2023-05-04,fine\n"
    lines = [good % n for n in range(98)]
    lines[10:10] = [b"bad\xff,i,5,2023-05-04,x\n", b"u,i,5,2023-05-04,caf\xe9\n"]
    path = tmp_path / "r.csv"
    path.write_bytes(b"user_id,item_id,rating,date,comment\n" + b"".join(lines))
    (batch,) = batches(path)
    assert batch.fault.is_not_null().arg_true().to_list() == [10, 11]
    assert set(batch.fault.drop_nulls()) == {"not_utf8"}
    assert batch.samples([10]) == [
        {"user_id": "bad�", "item_id": "i", "rating": "5", "timestamp": "2023-05-04", "file": "r.csv", "row": 11}
    ]  # fmt: skip
    assert read_interactions(path, COLUMNS).height == 98


def test_bad_bytes_in_a_column_nobody_reads_do_no_harm(tmp_path):
    path = tmp_path / "r.csv"
    path.write_bytes(b"user_id,item_id,rating,date,city\nu,i,5,2023-05-04,H\xe0 N\xf4i\n")
    assert read_interactions(path, COLUMNS)["user_id"].to_list() == ["u"]


def test_broken_json_lines_are_marked_among_the_good(tmp_path):
    good = json_lines(AMAZON)
    path = tmp_path / "r.jsonl"
    path.write_bytes(
        good * 20
        + b"{broken\n"
        + good * 20
        + b"\n[1]\n"
        + b'{"reviewerID": "x\xff", "asin": "a"}\n'
        + good * 39
    )
    (batch,) = batches(path)
    marks = [(place, fault) for place, fault in enumerate(batch.fault) if fault]
    assert marks == [(20, "not_json"), (41, "not_json"), (42, "not_utf8")]
    assert read_interactions(path, COLUMNS).height == 79


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("r.csv", "user_id,item_id\nu,ü\n".encode("utf-16"), "is UTF-16 text; convert it"),
        ("r.jsonl", json_lines(AMAZON).decode().encode("utf-16"), "is UTF-16 text; convert it"),
        ("r.jsonl", b"no\njson\n", "no line is a JSON object"),
        ("r.jsonl", json_lines(*[AMAZON] * 9) + b"{\n", "1 of 10 rows cannot be read .row 10 not_json"),
        ("r.jsonl", b"", "cannot be read"),
        ("r.csv.gz", gzip.compress(b"user_id,item_id,rating,date\n" * 99, mtime=0)[:-20], "cannot be read"),
        ("r.csv", b"user_id,item_id,rating,date\nu,i,5,2023-05-04,more\n", "cannot be read"),
    ],
)
def test_files_of_another_kind_are_refused_with_the_reason(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(RawDataError, match=message):
        read_interactions(path, COLUMNS)


def test_sources_are_each_file_once_by_name(tmp_path):
    for name in ("b.csv", "a.csv", "deep/c.csv", "a.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    found = gather_sources(
        "interactions", [f"{tmp_path}/*.csv", f"{tmp_path}/a.csv", f"{tmp_path}/**/c.csv"], tmp_path
    )
    assert [source.path.relative_to(tmp_path).as_posix() for source in found] == [
        "a.csv",
        "b.csv",
        "deep/c.csv",
    ]


@pytest.mark.parametrize(
    ("address", "message"),
    [("none.csv", "is not a file"), ("none*.csv", "matches no file"), (".", "is not a file")],
)
def test_addresses_that_mean_nothing_are_refused(tmp_path, address, message):
    with pytest.raises(RawDataError, match=message):
        gather_sources("interactions", [str(tmp_path / address)], tmp_path)


def shop_lines():
    return [
        f"u{user},i{(user + visit) % 9},5,2024-01-{visit + 1:02d}" for user in range(30) for visit in range(4)
    ]


def test_one_file_or_many_in_any_format_give_the_same_data(tmp_path):
    lines = shop_lines()
    whole = tmp_path / "whole.csv"
    whole.write_text("\n".join(["user_id,item_id,rating,date", *lines]))
    parts = tmp_path / "parts"
    parts.mkdir()
    (parts / "1.csv").write_text("\n".join(["user_id,item_id,rating,date", *lines[:50]]))
    (parts / "2.csv.gz").write_bytes(gzip.compress("\n".join(["product_id,customer_id,stars,cmt_date", *(
        ",".join((item, user, stars, day)) for user, item, stars, day in (line.split(",") for line in lines[50:80])
    )]).encode()))  # fmt: skip
    names = ("reviewerID", "asin", "overall", "time")
    documents = (dict(zip(names, line.split(","), strict=True)) for line in lines[80:])
    (parts / "3.jsonl").write_bytes(json_lines(*documents))
    stores = MemoryStore(), MemoryStore()
    versions = [
        prepare(store, address, None, DataConfig(), seed=0).version
        for store, address in zip(stores, (whole, f"{parts}/*"), strict=True)
    ]
    contents = []
    for store, version in zip(stores, versions, strict=True):
        prefix = f"data/versions/{version}/"
        contents.append({i.key.removeprefix(prefix): store.get(i.key).data for i in store.list(prefix)})
        contents[-1].pop("manifest.json")
    assert contents[0] == contents[1]


def test_renamed_and_reordered_files_find_the_version(tmp_path):
    lines = shop_lines()
    for name, part in (("a", lines[:60]), ("b", lines[60:])):
        (tmp_path / f"{name}.csv").write_text("\n".join(["user_id,item_id,rating,date", *part]))
    store = MemoryStore()
    first = prepare(store, [tmp_path / "a.csv", tmp_path / "b.csv"], None, DataConfig(), seed=0)
    (tmp_path / "a.csv").rename(tmp_path / "z.csv")
    again = prepare(store, f"{tmp_path}/*.csv", None, DataConfig(), seed=0)
    assert (again.version, again.created) == (first.version, False)


def test_products_of_several_files_the_first_counts(tmp_path):
    (tmp_path / "1.csv").write_text("product_id,product_name\n1,A\n2,B\n")
    (tmp_path / "2.jsonl").write_bytes(
        json_lines({"asin": "2", "title": "again"}, {"asin": "3", "title": "C"})
    )
    from recsys.cf.data.raw import read_item_files

    sources = gather_sources("items", [f"{tmp_path}/*"], tmp_path)
    assert read_item_files(sources, ItemColumns())["title"].to_list() == ["A", "B", "C"]
    assert read_items(tmp_path / "2.jsonl", ItemColumns())["item_id"].to_list() == ["2", "3"]


@pytest.mark.parametrize("name", ["r.csv", "r.csv.gz", "r.jsonl", "r.jsonl.gz", "r.parquet"])
def test_damaged_files_are_read_or_refused_and_never_crash(tmp_path, name):
    frame = pl.DataFrame({
        "user_id": [f"u{n % 50}" for n in range(500)], "item_id": [f"i{n % 31}" for n in range(500)],
        "rating": [1.0 + n % 5 for n in range(500)], "timestamp": [SECONDS + n for n in range(500)],
        "comment": ["tốt lắm" if n % 3 else None for n in range(500)],
    })  # fmt: skip
    out = io.BytesIO()
    {"csv": frame.write_csv, "jsonl": frame.write_ndjson, "parquet": frame.write_parquet}[name.split(".")[1]](
        out
    )
    data = gzip.compress(out.getvalue(), mtime=0) if name.endswith(".gz") else out.getvalue()
    chance, path, told = random.Random(0), tmp_path / name, 0
    for trial in range(40):
        damaged = bytearray(data[: chance.randrange(len(data))] if trial % 4 == 0 else data)
        for _ in range(trial % 4):
            damaged[chance.randrange(len(damaged))] ^= chance.randrange(1, 256)
        path.write_bytes(bytes(damaged))
        try:
            assert read_interactions(path, COLUMNS).height <= 510
        except DataError:
            told += 1
    assert told > 0 or name in ("r.csv", "r.jsonl"), "text may lose bytes and still be text"
