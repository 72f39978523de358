"""What `python -m flows.tune_cf` takes and prints."""

from collections.abc import Callable
from typing import Any

import typer

from flows.program import get_ready, run_program
from recsys.cli.options import (
    ConfigOption,
    DataVersionOption,
    ForceOption,
    JsonOption,
    SetOption,
    StoreOption,
)
from recsys.cli.output import emit
from recsys.cli.tuning import SpaceOption, print_result


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
        get_ready()
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

    run_program(app, "flows.tune_cf")
