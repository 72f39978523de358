"""Commands that train: one night, or single models."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

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
from recsys.cli.output import console, emit
from recsys.cli.progress import TrainingProgress
from recsys.config.load import load_config
from recsys.config.settings import log_dir
from recsys.log import configure_logging
from recsys.types import Json


class Model(StrEnum):
    """What `recsys train` can train."""

    als = "als"
    bpr = "bpr"
    hybrid = "hybrid"
    both = "both"


def add_commands(app: typer.Typer) -> None:
    """Add run and train to the top level."""
    app.command("run")(run_command)
    app.command("train")(train_command)


def run_command(
    store: StoreOption,
    config: ConfigOption = None,
    overrides: SetOption = None,
    data_version: DataVersionOption = "latest",
    force: ForceOption = False,
    output: OutputOption = DEFAULT_OUTPUT,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log to the terminal.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run the whole night without Prefect: train, evaluate, register, decide, report."""
    _night(store, config, overrides or [], data_version, force, output, verbose, as_json)


def train_command(
    store: StoreOption,
    model: Annotated[
        Model, typer.Option("--model", help="Which model to train; both: ALS and BPR.")
    ] = Model.both,
    config: ConfigOption = None,
    overrides: SetOption = None,
    data_version: DataVersionOption = "latest",
    gpu: Annotated[bool, typer.Option("--gpu", help="Demand a GPU for ALS or the hybrid.")] = False,
    force: ForceOption = False,
    output: OutputOption = DEFAULT_OUTPUT,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log to the terminal.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Train, evaluate and register candidates, but promote nothing."""
    models = "als, bpr" if model is Model.both else model.value
    settings = [*(overrides or ()), f"runtime.models=[{models}]", "promotion.promote=false"]
    if gpu:
        settings.append(f'{"hybrid" if model is Model.hybrid else "als"}.use_gpu="true"')
    _night(store, config, settings, data_version, force, output, verbose, as_json)


def _night(
    store: str,
    config: Path | None,
    overrides: list[str],
    data_version: str,
    force: bool,
    output: Path | None,
    verbose: bool,
    as_json: bool,
) -> None:
    settings = load_config(config, overrides)
    configure_logging(log_dir(), verbose=verbose, run_context={})
    from recsys.pipeline.nightly import run_nightly  # compiled code takes a second to import

    with TrainingProgress(Console(stderr=True)) as progress:
        result = run_nightly(
            store,
            settings,
            data_version=data_version,
            force=force,
            output=str(output) if output else None,
            on_progress=progress,
        )
    show_result(result, as_json)


def show_result(result: Json, as_json: bool) -> None:
    """Print a run's result for people, or as one JSON document."""
    from recsys.reporting.terminal import render_terminal

    if as_json:
        emit(result)
    else:
        render_terminal(result, console())
