"""How a flow becomes a program of its own, `python -m flows.NAME`: logging, the embedded server, exit codes."""

import logging
import sys
from collections.abc import Sequence
from typing import NoReturn

import typer

from flows.embedded import wait_for_embedded_server
from recsys.cli.output import guarded
from recsys.config.settings import log_dir
from recsys.log import configure_logging


def get_ready() -> None:
    """Set logging up and return when the embedded server, if there is one, answers."""
    configure_logging(log_dir(), verbose=False, run_context={})
    logging.getLogger("recsys").propagate = False  # Prefect's root handler would print every line again
    wait_for_embedded_server()


def run_program(app: typer.Typer, module: str) -> NoReturn:
    """Call the only command of ``app`` with the process's arguments and leave with its exit code."""

    def call(arguments: Sequence[str]) -> None:
        app(args=list(arguments), prog_name=f"python -m {module}")

    sys.exit(guarded(call, sys.argv[1:]))
