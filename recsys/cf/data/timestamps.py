"""Times in any of the formats shops export become UTC timestamps; what cannot be read becomes null."""

import polars as pl

UTC_MICROSECONDS = pl.Datetime("us", "UTC")

_FORMATS = (
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%d",
    "%d/%m/%Y %H:%M:%S",
    "%d/%m/%Y %H:%M",
    "%d/%m/%Y",
    "%d-%m-%Y %H:%M:%S",
    "%d-%m-%Y %H:%M",
    "%d-%m-%Y",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%d %H:%M:%S%.f%#z",
    "%Y-%m-%d %H:%M%#z",
)
# Below the first bound a number is a date written as 20231231 or an index; from the second on it counts
# milliseconds; from the third on it is neither.
_FIRST_UNIX_SECOND = 100_000_000  # 1973
_FIRST_UNIX_MILLISECOND = 100_000_000_000
_END_UNIX_MILLISECOND = 100_000_000_000_000
# A two-digit year or a placeholder such as 0001-01-01 parses, but means nothing.
_FIRST_YEAR, _LAST_YEAR = 1970, 2100


def parse_timestamps(values: pl.Series) -> pl.Series:
    """Return ``values`` as Datetime[us, UTC]; null where there is no time to read.

    Args:
        values: datetimes (naive ones are taken as UTC), dates, numbers (unix seconds or milliseconds), or
            strings: ISO with or without time, fraction and offset; DD/MM/YYYY or DD-MM-YYYY with or without
            HH:MM[:SS]; digits as numbers. One column may mix formats.
    """
    dtype = values.dtype
    if isinstance(dtype, pl.Datetime):
        zoned = values.dt.replace_time_zone("UTC") if dtype.time_zone is None else values
        parsed = zoned.dt.convert_time_zone("UTC").dt.cast_time_unit("us")
    elif dtype == pl.Date:
        parsed = values.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    elif dtype.is_numeric():
        parsed = _from_numbers(values)
    else:
        parsed = _from_strings(values.cast(pl.String, strict=False))
    frame = parsed.to_frame("time")
    plausible = pl.col("time").dt.year().is_between(_FIRST_YEAR, _LAST_YEAR)
    return frame.select(pl.when(plausible).then("time")).to_series().alias(values.name)


def _from_numbers(values: pl.Series) -> pl.Series:
    number = pl.col("number")
    in_seconds = number.is_between(_FIRST_UNIX_SECOND, _FIRST_UNIX_MILLISECOND, closed="left")
    in_milliseconds = number.is_between(_FIRST_UNIX_MILLISECOND, _END_UNIX_MILLISECOND, closed="left")
    microseconds = pl.when(in_seconds).then(number * 1_000_000).when(in_milliseconds).then(number * 1_000)
    return (
        values.cast(pl.Float64, strict=False)
        .to_frame("number")
        .select(microseconds.cast(pl.Int64).cast(pl.Datetime("us")).dt.replace_time_zone("UTC"))
        .to_series()
    )


def _from_strings(values: pl.Series) -> pl.Series:
    text = (
        values.str.strip_chars()
        .str.replace(r"^(\d{4}-\d{1,2}-\d{1,2})[Tt]", "${1} ")
        .str.replace(r"(\d)\s*[Zz]$", "${1}+0000")
        .str.replace(r"(:\d{2}(?:\.\d+)?)\s+([+-]\d{2})", "${1}${2}")
    )
    parsed = _from_numbers(text)
    for time_format in _FORMATS:
        # Most files use one format: only what no earlier format could read is tried again.
        left = parsed.is_null() & text.is_not_null()
        if not left.any():
            break
        tried = text.filter(left).str.to_datetime(time_format, time_unit="us", strict=False)
        tried = tried.dt.replace_time_zone("UTC") if tried.dtype == pl.Datetime("us") else tried
        parsed = parsed.scatter(left.arg_true(), tried)
    return parsed
