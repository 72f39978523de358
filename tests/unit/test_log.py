"""Log files: one set per run, ten runs kept, the run's identity on every line of every thread."""

import json
import logging
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread

import pytest

from recsys.errors import ConfigError
from recsys.log import bind, close_logging, configure_logging


@pytest.fixture(autouse=True)
def detached() -> Iterator[None]:
    level = logging.getLogger("recsys").level
    yield
    close_logging()
    logging.getLogger("recsys").setLevel(level)


def configure(log_dir: Path | None, *, verbose: bool = False, **context: str) -> None:
    configure_logging(log_dir, verbose=verbose, run_context=context)


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def test_records_go_to_the_files_of_their_model(tmp_path: Path) -> None:
    configure(tmp_path, run_id="r_1")
    logging.getLogger("recsys.pipeline").info("loaded")
    logging.getLogger("recsys.cf.models.als_native").info("iteration %d", 1)
    logging.getLogger("recsys.cf.models.bpr_kernel").info("epoch 1")
    logging.getLogger("recsys.cf.models.bpr").debug("hidden")
    assert [line.split()[2] for line in lines(tmp_path / "run.log")] == [
        "recsys.pipeline",
        "recsys.cf.models.als_native",
        "recsys.cf.models.bpr_kernel",
    ]
    assert [line.split(" ", 3)[3] for line in lines(tmp_path / "als.log")] == ["iteration 1 [run_id=r_1]"]
    assert len(lines(tmp_path / "bpr.log")) == 1


def test_every_line_has_time_level_logger_and_what_is_bound_whichever_thread_speaks(tmp_path: Path) -> None:
    configure(tmp_path, run_id="r_1")
    bind(data_version="v_2")
    thread = Thread(target=lambda: logging.getLogger("recsys.cf.models.als").info("fitted"))
    thread.start()
    thread.join()
    time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    rest = re.escape(" INFO recsys.cf.models.als fitted [run_id=r_1 data_version=v_2]")
    for name in ("run.log", "als.log"):
        [line] = lines(tmp_path / name)
        assert re.fullmatch(time + rest, line)


def test_ten_runs_are_kept_and_numbers_match_across_files(tmp_path: Path) -> None:
    for run in range(13):
        configure(tmp_path)
        logging.getLogger("recsys").info("run %d", run)
        if run == 11:
            logging.getLogger("recsys.cf.models.als").info("als of run %d", run)
    assert len(list(tmp_path.glob("run.log*"))) == 10
    assert "run 12" in lines(tmp_path / "run.log")[0]
    assert "run 11" in lines(tmp_path / "run.log.1")[0]
    assert "run 3" in lines(tmp_path / "run.log.9")[0]
    assert "als of run 11" in lines(tmp_path / "als.log.1")[0]
    assert lines(tmp_path / "als.log") == lines(tmp_path / "als.log.9") == []


@pytest.mark.parametrize(("verbose", "shown"), [(False, ["WARNING"]), (True, ["INFO", "WARNING"])])
def test_standard_error_is_quiet_unless_verbose(
    capsys: pytest.CaptureFixture[str], verbose: bool, shown: list[str]
) -> None:
    configure(None, verbose=verbose)
    logging.getLogger("recsys.x").info("a number")
    logging.getLogger("recsys.x").warning("a warning")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert [line.split()[1] for line in captured.err.splitlines()] == shown


def test_a_new_run_forgets_the_last_one(tmp_path: Path) -> None:
    configure(tmp_path / "a", run_id="r_1")
    configure(tmp_path / "b", data_version="v_2")
    logging.getLogger("recsys").info("here")
    assert lines(tmp_path / "a" / "run.log") == []
    assert lines(tmp_path / "b" / "run.log")[0].endswith("here [data_version=v_2]")


def test_unwritable_directory_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="RECSYS_LOG_DIR"):
        configure(tmp_path / "file" / "logs")


def test_json_lines_hold_what_text_lines_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_LOG_FORMAT", "json")
    configure(tmp_path, run_id="r_1")
    bind(data_version='v "2"\n')
    logging.getLogger("recsys.cf.models.als").info("lần %d of %s", 3, "a\nb")
    [line] = lines(tmp_path / "als.log")  # a line break in a message breaks no line
    document = json.loads(line)
    age = datetime.now(UTC) - datetime.fromisoformat(document.pop("time"))
    assert timedelta(seconds=-1) < age < timedelta(minutes=1)
    assert document == {
        "run_id": "r_1",
        "data_version": 'v "2"\n',
        "level": "INFO",
        "logger": "recsys.cf.models.als",
        "message": "lần 3 of a\nb",
    }
    assert lines(tmp_path / "run.log") == [line]


def test_json_lines_carry_the_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_LOG_FORMAT", "json")
    configure(None)
    logging.getLogger("recsys.x").warning("failed", exc_info=ZeroDivisionError("by nothing"))
    document = json.loads(capsys.readouterr().err)
    assert (document["message"], document["level"]) == ("failed", "WARNING")
    assert document["traceback"].endswith("ZeroDivisionError: by nothing")


def test_what_is_bound_never_hides_a_field_of_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_LOG_FORMAT", "json")
    configure(tmp_path, level="bound", message="bound")
    logging.getLogger("recsys").info("said")
    document = json.loads(lines(tmp_path / "run.log")[0])
    assert (document["level"], document["message"]) == ("INFO", "said")


def test_an_unknown_format_is_a_configuration_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_LOG_FORMAT", "xml")
    with pytest.raises(ConfigError, match="RECSYS_LOG_FORMAT is 'xml'; use text or json"):
        configure(None)
