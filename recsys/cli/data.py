"""Commands that make data: the demo shop and preparation; those about data versions stand beside."""

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from recsys.cli.data_versions import versions
from recsys.cli.options import ConfigOption, JsonOption, SetOption, StoreOption
from recsys.cli.output import console, emit, plain_table
from recsys.config.load import load_config
from recsys.errors import ConfigError
from recsys.storage.open import open_store
from recsys.types import Json

__all__ = ["add_commands", "versions"]

ColumnOption = Annotated[
    list[str] | None,
    typer.Option("--column", help="Name a review column, such as user_id=customer; repeatable."),
]
ItemColumnOption = Annotated[
    list[str] | None,
    typer.Option("--item-column", help="Name a product column, such as title=name; repeatable."),
]


def add_commands(app: typer.Typer) -> None:
    """Add demo-data and prepare to the top level."""
    app.command("demo-data")(demo_data)
    app.command("prepare")(prepare_command)


def demo_data(
    output: Annotated[Path, typer.Option("--output", help="Directory of the CSV files.")] = Path("data/demo"),
    size: Annotated[str, typer.Option("--size", help="small, spec or real.")] = "real",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Equal seeds, equal bytes.")] = 42,
    users: Annotated[int | None, typer.Option(min=1, help="Other number of users.")] = None,
    items: Annotated[int | None, typer.Option(min=1, help="Other number of items.")] = None,
    interactions: Annotated[int | None, typer.Option(min=1, help="Other number of rows.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the raw CSV files of a synthetic shop: reviews.csv and products.csv."""
    from recsys.cf.data.demo import write_demo_shop

    if size not in ("small", "spec", "real"):
        raise ConfigError(f"--size {size}: unknown, use small, spec or real")
    shop = write_demo_shop(
        output,
        size=size,  # type: ignore[arg-type]
        seed=seed,
        users=users,
        items=items,
        interactions=interactions,
    )
    document: Json = {
        key: str(value) if isinstance(value, Path) else value for key, value in asdict(shop).items()
    }
    if as_json:
        emit(document)
    else:
        sys.stdout.write("\n".join(f"{key}: {value}" for key, value in document.items()) + "\n")


def prepare_command(
    interactions: Annotated[
        list[str],
        typer.Argument(help="Reviews: CSV, JSON Lines or Parquet files, globs, s3://bucket/key."),
    ],
    store: StoreOption,
    items: Annotated[
        list[str] | None, typer.Option("--items", help="Products, in the same formats; repeatable.")
    ] = None,
    embeddings: Annotated[
        Path | None,
        typer.Option(
            "--embeddings", help="Item embeddings (.npz, .pt, .safetensors) to keep in the version."
        ),
    ] = None,
    append_to: Annotated[
        str | None,
        typer.Option("--append-to", help="Add these reviews to those of a data version, such as latest."),
    ] = None,
    columns: ColumnOption = None,
    item_columns: ItemColumnOption = None,
    engine: Annotated[
        str | None,
        typer.Option(
            "--engine", help="local or spark, instead of runtime.engine.prepare; the bytes are the same."
        ),
    ] = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Turn raw reviews into an immutable data version."""
    from recsys.cf.data.engine import prepare_engine
    from recsys.cf.data.prepare import prepare

    settings = load_config(
        config,
        [
            *(f"data.columns.{one}" for one in columns or ()),
            *(f"data.item_columns.{one}" for one in item_columns or ()),
            *(overrides or ()),
            *([f"runtime.engine.prepare={engine}"] if engine is not None else ()),
        ],
    )
    opened, started = open_store(store), time.perf_counter()
    with Console(stderr=True).status("reading") as status:
        prepared = prepare(
            opened,
            interactions,
            items,
            settings.data,
            seed=settings.runtime.seed,
            embeddings=embeddings,
            append_to=append_to,
            engine=prepare_engine(settings.runtime.engine.prepare, settings.spark),
            on_step=lambda step, rows: status.update(f"{step} done, {rows:,} rows left"),
        )
    seconds = time.perf_counter() - started
    if as_json:
        document = asdict(prepared) | {"store": store, "seconds": seconds}
        emit(document | {"warnings": list(prepared.warnings)})
        return
    out = console()
    made = f"made in {seconds:.1f} s" if prepared.created else "exists already: same input, same settings"
    out.print(f"{prepared.version} {made}")
    table = plain_table("step", "reason", "rows dropped", "such as")
    for step in prepared.funnel:
        if step.rows:
            example = ", ".join(str(value) for value in step.samples[0].values()) if step.samples else ""
            table.add_row(step.step, step.reason, f"{step.rows:,}", example)
    out.print(table)
    out.print(
        f"{prepared.rows_in:,} rows in, {prepared.rows_out:,} kept: {prepared.users:,} users, "
        f"{prepared.items:,} items, {prepared.train:,} train, {prepared.validation:,} validation, "
        f"{prepared.test_users:,} test users"
    )
    for warning in prepared.warnings:
        out.print(f"warning: {warning}", style="yellow")
