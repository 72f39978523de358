"""What `python -m flows.train_cf` takes and prints."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from flows.program import get_ready, run_program
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
from recsys.cli.training import show_result


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
        get_ready()
        result = flow(
            store=store,
            data_version=data_version,
            config_path=_text(config),
            overrides=overrides or [],
            force=force,
            output=_text(output),
        )
        show_result(result, as_json)

    run_program(app, "flows.train_cf")


def _text(path: Path | None) -> str | None:
    return str(path) if path else None
