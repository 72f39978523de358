"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from recsys.config.settings import default_store_uri

StoreOption = Annotated[
    str,
    typer.Option(
        "--store",
        help="Where everything durable lives: a directory or s3://bucket/prefix.",
        default_factory=default_store_uri,
        show_default="RECSYS_STORE or ./store",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, logs on stderr.")]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="Configuration file (YAML); without one, the defaults.")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="Override a setting, such as bpr.epochs=30; repeatable.")
]
DataVersionOption = Annotated[
    str, typer.Option("--data-version", help='"latest", a version id or the beginning of a content hash.')
]
ApplyOption = Annotated[bool, typer.Option("--apply", help="Delete; without it, only say what would go.")]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Train anew what this data and configuration have trained already.")
]
OutputOption = Annotated[
    Path | None, typer.Option("--output", help="Local directory for copies of the artifacts and the report.")
]
DEFAULT_OUTPUT = Path("artifacts/cf")
