"""The outermost door: documents and errors as people and programs read them, and exit codes."""

import json
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn

import typer
from rich.console import Console
from rich.table import Table

from recsys.errors import RecsysError, StoreError
from recsys.types import Json

INTERRUPTED, INTERNAL_ERROR = 130, 1
_INTERRUPTED_MESSAGE = "interrupted; run it again to go on from the last checkpoint"


_WIDTH_WITHOUT_TERMINAL = 200  # files and pipes get whole lines


def console() -> Console:
    """Return the console for people: stdout, wide where it is no terminal."""
    width = None if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL
    # titles and reasons are a shop's words, never rich's markup
    return Console(width=width, markup=False, highlight=False, emoji=False)


def plain_table(*columns: str, keep: Sequence[str] = ()) -> Table:
    """Return a table without lines; columns named in ``keep`` (ids to be copied) are never cut."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    for name in columns:
        table.add_column(name, no_wrap=name in keep, overflow="ignore" if name in keep else "fold")
    return table


def leave_with_findings(kind: type[RecsysError], sentence: str) -> NoReturn:
    """End a command that has printed its findings: the exit code of ``kind``, one line on stderr."""
    sys.stderr.write(f"error: {sentence}\n")
    raise typer.Exit(kind.exit_code)


def emit(document: Json) -> None:
    """Write one JSON document to stdout."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def guarded(command: Callable[[Sequence[str]], None], arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code; errors become one line on stderr.

    ``--debug`` anywhere shows the traceback. With ``--json`` the error is a JSON document on stdout, too.
    """
    debug = "--debug" in arguments
    try:
        command([one for one in arguments if one != "--debug"])
    except RecsysError as error:
        return _fail(error, str(error), error.exit_code, arguments, debug)
    except OSError as error:
        return _fail(error, f"the operating system refuses: {error}", StoreError.exit_code, arguments, debug)
    except KeyboardInterrupt as error:
        return _fail(error, _INTERRUPTED_MESSAGE, INTERRUPTED, arguments, debug)
    except SystemExit as error:
        if error.code != INTERRUPTED:
            raise
        return _fail(error, _INTERRUPTED_MESSAGE, INTERRUPTED, arguments, debug)  # the framework's Ctrl-C
    except Exception as error:  # noqa: BLE001 - the outermost door
        message = f"unexpected {type(error).__name__}: {error} (--debug shows where)"
        return _fail(error, message, INTERNAL_ERROR, arguments, debug)
    return 0


def _fail(error: BaseException, message: str, code: int, arguments: Sequence[str], debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    sys.stderr.write(f"error: {message}\n")
    if "--json" in arguments:
        emit({"error": {"type": type(error).__name__, "message": message, "exit_code": code}})
    return code
