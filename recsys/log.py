"""Log handlers of a command: standard error and one file per run, with the run's identity on every line.

The library itself only calls ``logging.getLogger(__name__)``; the command line calls ``configure_logging``.
RECSYS_LOG_FORMAT=json makes each line one JSON object, for machines that collect logs; ``text`` is the default.
"""

import json
import logging
import os
import sys
import time
from collections.abc import Mapping
from functools import partial
from logging.handlers import RotatingFileHandler
from pathlib import Path

from recsys.errors import ConfigError

KEPT_RUNS = 10
# File of a run, and what the names of the loggers start with whose records it takes.
_FILES = {
    "run.log": "recsys",
    "als.log": "recsys.cf.models.als",
    "bpr.log": "recsys.cf.models.bpr",
}
_TIME = "%Y-%m-%dT%H:%M:%S"
_FORMAT = "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s%(run_context)s"


class _RunContext(logging.Filter):
    """Writes the run's identity into each record: one run per process, whichever thread speaks."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, str] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        pairs = " ".join(f"{name}={value}" for name, value in self.values.items())
        record.run_context = f" [{pairs}]" if pairs else ""
        record.run_values = self.values
        return True


class _JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, message, what is bound, the traceback of an error."""

    def format(self, record: logging.LogRecord) -> str:
        document = {
            **getattr(record, "run_values", {}),
            "time": f"{self.formatTime(record, _TIME)}.{record.msecs:03.0f}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            document["traceback"] = self.formatException(record.exc_info)
        return json.dumps(document, ensure_ascii=False)


_context = _RunContext()
_handlers: list[logging.Handler] = []


def bind(**values: str) -> None:
    """Add ``values`` (run_id, data_version, ...) to every line logged from now on, in any thread."""
    _context.values = {**_context.values, **values}


def configure_logging(log_dir: Path | None, *, verbose: bool, run_context: Mapping[str, str]) -> None:
    """Send the records of ``recsys`` to standard error and to files; replaces what an earlier call set up.

    Args:
        log_dir: Directory of run.log, als.log and bpr.log, which start anew; those of earlier runs become
            run.log.1 and so on, ten runs in all. None writes no files.
        verbose: Standard error shows INFO and the files DEBUG, instead of WARNING and INFO.
        run_context: The first values of ``bind``.

    Raises:
        ConfigError: the directory or a file in it cannot be written, or RECSYS_LOG_FORMAT is unknown.
    """
    close_logging()
    formatter = _formatter(os.environ.get("RECSYS_LOG_FORMAT") or "text")
    bind(**run_context)
    _attach(logging.StreamHandler(sys.stderr), formatter, logging.INFO if verbose else logging.WARNING)
    if log_dir is not None:
        try:
            log_dir.mkdir(parents=True, exist_ok=True)
            for file_name, prefix in _FILES.items():
                handler = _start_file(log_dir / file_name)
                handler.addFilter(partial(_starts_with, prefix))
                _attach(handler, formatter, logging.DEBUG if verbose else logging.INFO)
        except OSError as error:
            raise ConfigError(
                f"log files cannot be written to {log_dir}: {error}; set RECSYS_LOG_DIR"
            ) from error
    logging.getLogger("recsys").setLevel(logging.DEBUG if verbose else logging.INFO)


def close_logging() -> None:
    """Detach and close what ``configure_logging`` set up, and forget the run's identity."""
    for handler in _handlers:
        logging.getLogger("recsys").removeHandler(handler)
        handler.close()
    _handlers.clear()
    _context.values = {}


def _start_file(path: Path) -> logging.Handler:
    handler = RotatingFileHandler(path, backupCount=KEPT_RUNS - 1, encoding="utf-8", delay=True)
    if path.exists():
        handler.doRollover()
    path.touch()  # a run without that model leaves an empty file, so that numbers match across files
    return handler


def _starts_with(prefix: str, record: logging.LogRecord) -> bool:
    return record.name.startswith(prefix)


def _formatter(name: str) -> logging.Formatter:
    if name not in ("text", "json"):
        raise ConfigError(f"RECSYS_LOG_FORMAT is {name!r}; use text or json")
    formatter = _JsonFormatter() if name == "json" else logging.Formatter(_FORMAT, datefmt=_TIME)
    formatter.converter = time.gmtime
    return formatter


def _attach(handler: logging.Handler, formatter: logging.Formatter, level: int) -> None:
    handler.setFormatter(formatter)
    handler.setLevel(level)
    handler.addFilter(_context)
    logging.getLogger("recsys").addHandler(handler)
    _handlers.append(handler)
