"""Reviews of any number on disk, ordered by user: what lets preparation work on one range of users at a time.

Each batch is written as a run sorted by user_id. Bounds taken from a sample of the user ids then cut all runs into
parts of about ``part_rows`` rows; a part holds all rows of its users, and the parts are in the order of user_id.
So sorting, removing duplicates and splitting need memory for one part only, and their results do not depend on
where the bounds fall.
"""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import polars as pl

# Rows in memory at once; the peak is about 400 bytes for each.
PART_ROWS = 2_000_000
_SAMPLE_EVERY = 997
_ROW_GROUP_ROWS = 50_000  # the grain at which a part is cut out of a run
_MERGED_ROW_GROUP_ROWS = 250_000


class StoredFrames:
    """Tables of one schema on disk, in the order they were added; iterating reads one at a time."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True)
        self._directory = directory
        self.paths: list[Path] = []

    def add(self, frame: pl.DataFrame) -> None:
        """Write a table behind the others."""
        path = self._directory / f"{len(self.paths):06d}.parquet"
        frame.write_parquet(path, compression="lz4", row_group_size=_ROW_GROUP_ROWS)
        self.paths.append(path)

    def __iter__(self) -> Iterator[pl.DataFrame]:
        for path in self.paths:
            yield pl.read_parquet(path)

    def remove(self) -> None:
        """Free the disk space."""
        for path in self.paths:
            path.unlink()
        self.paths.clear()


class UserOrderedRows:
    """Rows with a column user_id that come in any order and are read back part by part."""

    def __init__(self, directory: Path) -> None:
        self._runs = StoredFrames(directory)
        self._sample: list[pl.Series] = []
        self._n_rows = 0

    def add(self, rows: pl.DataFrame) -> None:
        """Take rows in."""
        if rows.is_empty():
            return
        ordered = rows.sort("user_id")
        self._runs.add(ordered)
        self._sample.append(ordered["user_id"].gather_every(_SAMPLE_EVERY))
        self._n_rows += rows.height

    def parts(self, part_rows: int = PART_ROWS) -> Iterator[pl.DataFrame]:
        """Yield parts of about ``part_rows`` rows; a user with more makes a larger one. The rows are unordered."""
        bounds = self._bounds(part_rows)
        user = pl.col("user_id")
        for low, high in zip([None, *bounds], [*bounds, None], strict=True):
            inside = pl.all_horizontal(
                *([user >= low] if low is not None else []),
                *([user < high] if high is not None else []),
                pl.lit(True),
            )
            part = pl.scan_parquet(self._runs.paths).filter(inside).collect(engine="streaming")
            if not part.is_empty():
                yield part

    def remove(self) -> None:
        """Free the disk space."""
        self._runs.remove()

    def _bounds(self, part_rows: int) -> list[str]:
        n_parts = math.ceil(self._n_rows / part_rows)
        sample = pl.concat(self._sample).sort()
        places = [len(sample) * part // n_parts for part in range(1, n_parts)]
        return sample.gather(places).unique().sort().to_list()


def merge_frames(paths: Iterable[Path], target: Path) -> None:
    """Write the rows of Parquet files behind each other into one; equal rows give equal bytes, however cut."""
    pl.scan_parquet(list(paths), glob=False).sink_parquet(target, row_group_size=_MERGED_ROW_GROUP_ROWS)
