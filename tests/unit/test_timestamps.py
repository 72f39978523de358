from datetime import UTC, date, datetime, timedelta, timezone

import polars as pl
import pytest

from recsys.cf.data.timestamps import parse_timestamps

NOON = datetime(2023, 5, 4, 12, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2023-05-04T12:30:00", NOON),
        ("2023-05-04 12:30:00", NOON),
        ("2023-05-04 12:30", NOON),
        (" 2023-05-04 12:30:00 ", NOON),
        ("2023-05-04T12:30:00Z", NOON),
        ("2023-05-04T12:30:00.250", NOON + timedelta(milliseconds=250)),
        ("2023-05-04T19:30:00+07:00", NOON),
        ("2023-05-04 19:30:00 +0700", NOON),
        ("2023-05-04", datetime(2023, 5, 4, tzinfo=UTC)),
        ("04/05/2023", datetime(2023, 5, 4, tzinfo=UTC)),
        ("4/5/2023", datetime(2023, 5, 4, tzinfo=UTC)),
        ("04-05-2023", datetime(2023, 5, 4, tzinfo=UTC)),
        ("04/05/2023 12:30", NOON),
        ("04-05-2023 12:30:00", NOON),
        (str(int(NOON.timestamp())), NOON),
        (str(int(NOON.timestamp() * 1000)), NOON),
    ],
)
def test_reads_every_format(text, expected):
    assert parse_timestamps(pl.Series([text])).to_list() == [expected]


@pytest.mark.parametrize(
    "text",
    ["", "hôm qua", "2023-02-30", "2023-13-01", "31/02/2023", "12/31/2023", "0000-00-00 00:00:00", "0001-01-01",
     "01-02-03", "20231231", "nan", "inf", "-5", "9" * 30],
)  # fmt: skip
def test_what_is_no_time_is_null_and_never_guessed(text):
    assert parse_timestamps(pl.Series([text])).to_list() == [None]


def test_one_column_may_mix_formats():
    mixed = pl.Series(["2023-05-04", None, "04/05/2023", "x", "2023-05-04T00:00:00Z", "04-05-2023"])
    day = datetime(2023, 5, 4, tzinfo=UTC)
    assert parse_timestamps(mixed).to_list() == [day, None, day, None, day, day]


def test_typed_columns():
    naive = pl.Series([NOON.replace(tzinfo=None)])
    hanoi = pl.Series([NOON.astimezone(timezone(timedelta(hours=7)))]).dt.convert_time_zone(
        "Asia/Ho_Chi_Minh"
    )
    seconds = pl.Series([int(NOON.timestamp()), None, 5])
    assert parse_timestamps(naive).to_list() == [NOON]
    assert parse_timestamps(hanoi).to_list() == [NOON]
    assert parse_timestamps(pl.Series([date(2023, 5, 4)])).to_list() == [datetime(2023, 5, 4, tzinfo=UTC)]
    assert parse_timestamps(seconds).to_list() == [NOON, None, None]
    for values in (naive, hanoi, seconds, pl.Series(["x"]), pl.Series([None])):
        assert parse_timestamps(values).dtype == pl.Datetime("us", "UTC")
