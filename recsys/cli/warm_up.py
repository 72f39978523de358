"""The command that compiles the kernels ahead of the first night."""

import sys

import typer

from recsys.cli.options import JsonOption
from recsys.cli.output import emit


def add_commands(app: typer.Typer) -> None:
    """Add warm-up to the top level."""
    app.command("warm-up")(warm_up_command)


def warm_up_command(as_json: JsonOption = False) -> None:
    """Compile every kernel into numba's cache, so that the first night does not wait; safe to repeat."""
    from recsys.pipeline.compile_kernels import compile_kernels

    done = compile_kernels()
    if as_json:
        emit(done)
        return
    places = ", ".join(done["cache"]) or "no cache: NUMBA_CACHE_DIR names none that can be written"
    sys.stdout.write(
        f"{done['compiled']} kernels compiled, {done['cached']} found in the cache, "
        f"{done['seconds']} s; cache: {places}\n"
    )
