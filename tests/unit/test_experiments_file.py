"""The experiments file: many processes, each row once, whole lines whatever was cut off."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from recsys.errors import ConfigError
from recsys.pipeline.experiments import COLUMNS, append_rows, rows_to_parquet

ROOT = Path(__file__).resolve().parents[2]
PROCESSES, ROWS = 6, 15
WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_experiments_file import row
from recsys.pipeline.experiments import append_rows
for number in range({rows}):
    # every process also repeats rows of a study that they all share
    append_rows(Path(sys.argv[1]), [row(sys.argv[2], number), row("shared", number)])
"""


def row(study, trial):
    values = dict.fromkeys(COLUMNS)
    settings = json.dumps({"als.factors": 64, "note": 'a "quoted", comma'})
    return {
        **values,
        "model_type": "als",
        "study_id": study,
        "trial": trial,
        "reg": 0.1,
        "settings": settings,
    }


def read(path):
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_many_processes_write_each_row_once(tmp_path):
    file = tmp_path / "experiments" / "cf.csv"
    program = WRITER.format(tests=str(Path(__file__).parent), rows=ROWS)
    writers = [
        subprocess.Popen([sys.executable, "-c", program, str(file), f"study-{n}"], cwd=ROOT)
        for n in range(PROCESSES)
    ]
    assert [writer.wait(120) for writer in writers] == [0] * PROCESSES
    lines = file.read_text().splitlines()
    assert lines[0] == ",".join(COLUMNS)
    assert len(lines) == 1 + (PROCESSES + 1) * ROWS
    found = [(one["study_id"], int(one["trial"])) for one in read(file)]
    names = [*(f"study-{n}" for n in range(PROCESSES)), "shared"]
    assert sorted(found) == sorted((name, number) for name in names for number in range(ROWS))
    assert {one["settings"] for one in read(file)} == {row("x", 0)["settings"]}


def test_the_originals_columns_come_first():
    original = ("model_type", "factors", "reg", "lr", "alpha", "recall@10", "ndcg@10", "training_time")
    assert COLUMNS[: len(original)] == original


def test_a_torn_line_is_closed_and_its_row_written_again(tmp_path):
    file = tmp_path / "cf.csv"
    append_rows(file, [row("s", 0), row("s", 1)])
    whole = file.read_bytes()
    file.write_bytes(whole[:-9])  # the disk was full in the middle of row 1
    assert append_rows(file, [row("s", 0), row("s", 1)]) == 1
    rows = [one for one in read(file) if one["git_commit"] is not None]
    assert [int(one["trial"]) for one in rows] == [0, 1]


def test_a_file_with_other_columns_is_refused_and_left_alone(tmp_path):
    file = tmp_path / "cf.csv"
    file.write_text("model_type,factors\nals,64\n")
    with pytest.raises(ConfigError, match="other columns"):
        append_rows(file, [row("s", 0)])
    assert file.read_text() == "model_type,factors\nals,64\n"


def test_the_parquet_table_is_typed(tmp_path):
    (tmp_path / "t.parquet").write_bytes(rows_to_parquet([row("s", 0), row("s", 1)]))
    table = pl.read_parquet(tmp_path / "t.parquet")
    assert tuple(table.columns) == COLUMNS
    assert table.schema["reg"] == pl.Float64
    assert table.schema["trial"] == pl.Int64
    assert table["lr"].null_count() == 2
