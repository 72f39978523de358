"""What `python -m flows.tune_cf` takes and prints."""

import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any

import typer

from flows.embedded import wait_for_embedded_server
from recsys.cli.options import (
    ConfigOption,
    DataVersionOption,
    ForceOption,
    JsonOption,
    SetOption,
    StoreOption,
)
from recsys.cli.output import emit, guarded
from recsys.cli.tuning import SpaceOption, print_result
from recsys.config.settings import log_dir
from recsys.log import configure_logging


def main(flow: Callable[..., Any]) -> None:
    """Run the flow with the options of the command line and leave the process with its exit code."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

    @app.command(help="Run the tuning flow tune-cf on the embedded default, or on PREFECT_API_URL.")
    def tune_cf_command(
        store: StoreOption,
        spaces: SpaceOption = None,
        config: ConfigOption = None,
        overrides: SetOption = None,
        data_version: DataVersionOption = "latest",
        force: ForceOption = False,
        as_json: JsonOption = False,
    ) -> None:
        configure_logging(log_dir(), verbose=False, run_context={})
        logging.getLogger("recsys").propagate = False  # Prefect's root handler would print every line again
        wait_for_embedded_server()
        results = flow(
            spaces=spaces,
            store=store,
            data_version=data_version,
            config_path=str(config) if config else None,
            overrides=overrides or [],
            force=force,
        )
        if as_json:
            emit({"studies": results})
            return
        for result in results:
            print_result(result)

    def call(arguments: Sequence[str]) -> None:
        app(args=list(arguments), prog_name="python -m flows.tune_cf")

    sys.exit(guarded(call, sys.argv[1:]))
