"""Files that executors read in pieces are the files that one process reads; needs no Spark."""

import gzip
import json
from functools import partial

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.cf.data.clean import RowFilter
from recsys.cf.data.funnel import Funnel
from recsys.cf.data.raw import interaction_batches
from recsys.cf.data.sources import Source
from recsys.cf.data.spark_pieces import cut_files
from recsys.cf.data.spark_reports import count_reports
from recsys.cf.data.spark_rows import rows_of_spark
from recsys.cf.data.spark_worker import score_piece
from recsys.config.schema import DataConfig, InteractionColumns
from recsys.errors import ConfigError, EmptyDataError, RawDataError

CONFIG = DataConfig()
HEADER = b"user_id,item_id,rating,date,comment\n"
# Quoted with commas, breaks and quotes; nothing; broken UTF-8 and the sign that stands for it.
FIELDS = st.sampled_from(
    [
        b"u1",
        b"",
        b'""',
        b'"a,b"',
        b'"x\ny"',
        b'"say ""hi"""',
        b'"\r\n"',
        "đ".encode(),
        b"\xff",
        "\ufffd".encode(),
    ]
)
LINES = st.builds(
    lambda user, item, rating, comment, end: b",".join([user, item, rating, b"2024-01-01", comment]) + end,
    FIELDS,
    FIELDS,
    st.sampled_from([b"5", b"4", b"9", b"-0.0", b"x", b""]),
    FIELDS,
    st.sampled_from([b"\n", b"\n", b"\r\n"]),
)


def in_one(paths):
    """Return (scored rows, funnel) as one process reads the files."""
    rows = RowFilter(CONFIG, Funnel())
    sources = [Source(str(path), path) for path in paths]
    frames = [rows.score_batch(batch) for batch in interaction_batches(sources, CONFIG.columns)]
    return pl.concat(frames), rows.funnel


def in_pieces(paths, folder, piece_bytes=40, piece_rows=7):
    """Return (scored rows, funnel, number of pieces) as executors read them."""
    folder.mkdir(exist_ok=True)
    pieces = cut_files([Source(str(path), path) for path in paths], CONFIG.columns, piece_bytes, piece_rows)
    reports = list(map(partial(score_piece, directory=str(folder), config=CONFIG), pieces))
    rows = RowFilter(CONFIG, Funnel())
    count_reports(pieces, reports, rows)
    frames = [rows_of_spark(pl.read_parquet(path)) for report in reports for path in report.frames]
    assert sum(frame.height for frame in frames) == sum(report.n_usable for report in reports)
    return pl.concat(frames).drop("is_positive") if frames else None, rows.funnel, len(pieces)


def outcome(read):
    """Return what reading leads to: rows (None: none) and funnel, or the class of the error."""
    try:
        rows, funnel, *_ = read()
    except RawDataError as error:
        return type(error), "rows cannot be read" in str(error) and str(error)
    return (None if rows is None or rows.is_empty() else rows.rows()), funnel


@settings(max_examples=150)
@given(
    lines=st.lists(LINES, min_size=1, max_size=40),
    bom=st.booleans(),
    ended=st.booleans(),
    size=st.integers(1, 300),
)
def test_a_csv_in_pieces_is_the_whole_csv(tmp_path_factory, lines, bom, ended, size):
    folder = tmp_path_factory.mktemp("csv")
    content = (b"\xef\xbb\xbf" if bom else b"") + HEADER + b"".join(lines)
    path = folder / "r.csv"
    path.write_bytes(content if ended else content.rstrip(b"\r\n"))
    assert outcome(lambda: in_one([path])) == outcome(lambda: in_pieces([path], folder / "w", size))


@settings(max_examples=100)
@given(
    soup=st.lists(
        st.sampled_from([b'"', b",", b"\n", b"a", b" ", b"\r", b"5", b"u,i,5,2024-01-01,x\n"]), max_size=60
    )
)
def test_quotes_that_enclose_no_field_are_never_cut_wrongly(tmp_path_factory, soup):
    folder = tmp_path_factory.mktemp("soup")
    path = folder / "r.csv"
    path.write_bytes(HEADER + b"u,i,5,2024-01-01,x\n" + b"".join(soup))
    assert outcome(lambda: in_one([path])) == outcome(lambda: in_pieces([path], folder / "w", 10))


def test_every_kind_of_file_gives_the_same_rows_and_funnel(tmp_path):
    lines = [
        b"u%d,i%d,%d,2024-01-%02d,t\xe1\xbb\x91t %d\n" % (n, n % 5, 1 + n % 7, 1 + n % 28, n)
        for n in range(200)
    ]
    lines[150] = b"u\xff,i,5,2024-01-01,\n"
    (tmp_path / "a.csv").write_bytes(HEADER + b"".join(lines))
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(HEADER + b"".join(lines), mtime=0))
    rows = [
        {"user_id": f"v{n}", "item_id": "i", "rating": n % 6, "date": 1_700_000_000 + n} for n in range(60)
    ]
    text = [json.dumps(row) for row in rows]
    text[40] = "{broken"
    (tmp_path / "c.jsonl").write_text("\n".join(text))
    pl.DataFrame(rows).with_columns(rating=pl.col("rating").cast(pl.Float32)).write_parquet(
        tmp_path / "d.parquet"
    )
    paths = sorted(tmp_path.iterdir())
    expected, funnel = in_one(paths)
    found, counted, n_pieces = in_pieces(paths, tmp_path / "w", 500)
    assert n_pieces > 20
    assert found.equals(expected)
    assert counted == funnel
    assert {step.reason for step in counted.steps if step.rows} == {
        "not_utf8",
        "not_json",
        "rating_out_of_range",
    }
    assert {sample["row"] for step in counted.steps for sample in step.samples} >= {151, 41}  # of the file


def test_the_first_bad_file_is_named_and_a_header_alone_is_refused(tmp_path):
    bad, worse = tmp_path / "a.csv", tmp_path / "b.csv"
    bad.write_bytes(HEADER + b"u\xff,i,5,2024-01-01,\n" * 30)
    worse.write_bytes(HEADER + b"u,i,5,2024-01-01,x,too,many\n" * 30)
    with pytest.raises(RawDataError, match=r"a\.csv: 30 of 30 rows cannot be read \(row 1 not_utf8.*row 3"):
        in_pieces([bad, worse], tmp_path / "w")
    with pytest.raises(RawDataError, match=r"b\.csv cannot be read"):
        in_pieces([worse], tmp_path / "w")
    bad.write_bytes(HEADER)
    with pytest.raises(EmptyDataError, match="a header but no rows"):
        in_pieces([bad], tmp_path / "w")


def test_a_file_that_the_executor_does_not_see_is_no_bad_file(tmp_path):
    path = tmp_path / "r.csv"
    path.write_bytes(HEADER + b"u,i,5,2024-01-01,x\n")
    [piece] = cut_files([Source("r.csv", path)], InteractionColumns())
    path.unlink()
    with pytest.raises(ConfigError, match="files that driver and executors see at the same path"):
        score_piece(piece, str(tmp_path), CONFIG)


def test_executors_with_another_polars_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "r.csv"
    path.write_bytes(HEADER + b"u,i,5,2024-01-01,x\n")
    pieces = cut_files([Source("r.csv", path)], InteractionColumns())
    report = score_piece(pieces[0], str(tmp_path), CONFIG)
    monkeypatch.setattr(pl, "__version__", "0.0")
    with pytest.raises(ConfigError, match="install the same versions on every worker"):
        count_reports(pieces, [report], RowFilter(CONFIG, Funnel()))
