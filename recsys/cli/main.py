"""The ``recsys`` command."""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

import recsys
from recsys.cli import (
    config,
    data,
    doctor,
    embeddings,
    evaluation,
    models,
    plan,
    recommend_all,
    recommend_config,
    registry,
    reports,
    training,
    tuning,
    warm_up,
)
from recsys.cli.output import guarded

app = typer.Typer(
    name="recsys",
    help="Nightly collaborative-filtering retraining: ALS and BPR side by side, measured, gated, promoted.",
    epilog="Exit codes: 0 done, 2 usage or configuration, 3 data, 4 store or registry, 5 training. "
    "--debug shows the traceback of an error.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for group in (
    data,
    embeddings,
    training,
    evaluation,
    models,
    recommend_all,
    reports,
    recommend_config,
    plan,
    doctor,
    warm_up,
):
    group.add_commands(app)
app.add_typer(data.versions, name="data")
app.add_typer(registry.app, name="registry")
app.add_typer(recommend_all.sets, name="recommendations")
app.add_typer(config.app, name="config")
app.add_typer(tuning.app, name="tune")


def _print_version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"train-cf {recsys.__version__}\n")
        raise typer.Exit


@app.callback()
def _common(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and leave."
        ),
    ] = False,
) -> None:
    pass


def run(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process with its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    sys.exit(guarded(lambda rest: _call(rest), given))


def _call(arguments: Sequence[str]) -> None:
    code = app(args=list(arguments), prog_name="recsys", standalone_mode=True)
    if code:
        sys.exit(code)
