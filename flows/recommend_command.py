"""What `python -m flows.recommend_all` takes and prints."""

from collections.abc import Callable
from typing import Any

import typer

from flows.program import get_ready, run_program
from recsys.cli.options import ConfigOption, JsonOption, SetOption, StoreOption
from recsys.cli.output import emit
from recsys.cli.recommend_all import (
    CopyOption,
    KOption,
    MethodOption,
    ModelOption,
    overrides_of,
    print_result,
)


def main(flow: Callable[..., Any]) -> None:
    """Run the flow with the options of the command line and leave the process with its exit code."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

    @app.command(help="Run the flow recommend-all on the embedded default, or on PREFECT_API_URL.")
    def recommend_all_command(
        store: StoreOption,
        model: ModelOption = "champion",
        k: KOption = None,
        method: MethodOption = None,
        config: ConfigOption = None,
        overrides: SetOption = None,
        output: CopyOption = None,
        as_json: JsonOption = False,
    ) -> None:
        get_ready()
        result = flow(
            model=model,
            store=store,
            config_path=str(config) if config else None,
            overrides=overrides_of(overrides, k, method),
            output=str(output) if output else None,
        )
        if as_json:
            emit(result)
        else:
            print_result(result)

    run_program(app, "flows.recommend_all")
