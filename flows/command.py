"""What `python -m flows.train_cf` takes and prints."""

import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import typer

from flows.embedded import wait_for_embedded_server
from recsys.cli.options import (
    DEFAULT_OUTPUT,
    ConfigOption,
    DataVersionOption,
    ForceOption,
    JsonOption,
    OutputOption,
    SetOption,
    StoreOption,
)
from recsys.cli.output import guarded
from recsys.cli.training import show_result
from recsys.config.settings import log_dir
from recsys.log import configure_logging


def main(flow: Callable[..., Any]) -> None:
    """Run the flow with the options of the command line and leave the process with its exit code."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

    @app.command(help="Run the nightly flow train-cf on the embedded default, or on PREFECT_API_URL.")
    def train_cf_command(
        store: StoreOption,
        config: ConfigOption = None,
        overrides: SetOption = None,
        data_version: DataVersionOption = "latest",
        force: ForceOption = False,
        output: OutputOption = DEFAULT_OUTPUT,
        as_json: JsonOption = False,
    ) -> None:
        configure_logging(log_dir(), verbose=False, run_context={})
        logging.getLogger("recsys").propagate = False  # Prefect's root handler would print every line again
        wait_for_embedded_server()
        result = flow(
            store=store,
            data_version=data_version,
            config_path=_text(config),
            overrides=overrides or [],
            force=force,
            output=_text(output),
        )
        show_result(result, as_json)

    def call(arguments: Sequence[str]) -> None:
        app(args=list(arguments), prog_name="python -m flows.train_cf")

    sys.exit(guarded(call, sys.argv[1:]))


def _text(path: Path | None) -> str | None:
    return str(path) if path else None
