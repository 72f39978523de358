"""Commands that show the configuration."""

import sys
from typing import Annotated

import typer

from recsys.cli.options import ConfigOption, JsonOption, SetOption
from recsys.cli.output import emit
from recsys.config.load import config_to_yaml, load_config, schema_json
from recsys.config.reference import render_reference

app = typer.Typer(help="Show the configuration.", no_args_is_help=True)


@app.command()
def show(config: ConfigOption = None, overrides: SetOption = None, as_json: JsonOption = False) -> None:
    """Print the whole configuration as YAML: what is set, and every default beside it."""
    settings = load_config(config, overrides or ())
    if as_json:
        emit(settings.model_dump(mode="json"))
    else:
        sys.stdout.write(config_to_yaml(settings))


@app.command()
def schema(
    _json: Annotated[bool, typer.Option("--json", help="The schema is JSON in any case.")] = True,
) -> None:
    """Print the JSON schema of the configuration file."""
    sys.stdout.write(schema_json() + "\n")


@app.command()
def reference(as_json: JsonOption = False) -> None:
    """Print every setting with type, default, range and meaning in Markdown (docs/configuration.md)."""
    if as_json:
        emit({"markdown": render_reference()})
    else:
        sys.stdout.write(render_reference())
