"""Log handlers of a command: standard error and one file per run, with the run's identity on every line.

The library itself only calls ``logging.getLogger(__name__)``; the command line calls ``configure_logging``.
"""

import logging
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
_FORMAT = "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s%(run_context)s"


class _RunContext(logging.Filter):
    """Writes the run's identity into each record: one run per process, whichever thread speaks."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, str] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        pairs = " ".join(f"{name}={value}" for name, value in self.values.items())
        record.run_context = f" [{pairs}]" if pairs else ""
        return True


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
        ConfigError: the directory or a file in it cannot be written.
    """
    close_logging()
    bind(**run_context)
    _attach(logging.StreamHandler(sys.stderr), logging.INFO if verbose else logging.WARNING)
    if log_dir is not None:
        try:
            log_dir.mkdir(parents=True, exist_ok=True)
            for file_name, prefix in _FILES.items():
                handler = _start_file(log_dir / file_name)
                handler.addFilter(partial(_starts_with, prefix))
                _attach(handler, logging.DEBUG if verbose else logging.INFO)
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


def _attach(handler: logging.Handler, level: int) -> None:
    formatter = logging.Formatter(_FORMAT, datefmt="%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    handler.setLevel(level)
    handler.addFilter(_context)
    logging.getLogger("recsys").addHandler(handler)
    _handlers.append(handler)
