"""Commands about data: the demo shop, preparation, data versions."""

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from recsys.cli.options import ConfigOption, DataVersionOption, JsonOption, SetOption, StoreOption
from recsys.cli.output import console, emit, plain_table
from recsys.config.load import load_config
from recsys.errors import ConfigError, DataValidationError
from recsys.storage.open import open_store
from recsys.types import Json

versions = typer.Typer(help="Data versions: list, show, verify.", no_args_is_help=True)
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
    interactions: Annotated[Path, typer.Argument(help="Reviews: CSV, CSV.gz or Parquet.")],
    store: StoreOption,
    items: Annotated[Path | None, typer.Option("--items", help="Products: CSV or Parquet.")] = None,
    embeddings: Annotated[
        Path | None, typer.Option("--embeddings", help="Item embeddings (.npz) to keep in the version.")
    ] = None,
    columns: ColumnOption = None,
    item_columns: ItemColumnOption = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Turn raw reviews into an immutable data version."""
    from recsys.cf.data.prepare import prepare

    settings = load_config(
        config,
        [
            *(f"data.columns.{one}" for one in columns or ()),
            *(f"data.item_columns.{one}" for one in item_columns or ()),
            *(overrides or ()),
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
            on_step=lambda step, rows: status.update(f"{step} done, {rows:,} rows left"),
        )
    seconds = time.perf_counter() - started
    if as_json:
        document = asdict(prepared) | {"store": store, "seconds": seconds}
        emit(document | {"warnings": list(prepared.warnings)})
        return
    out = console()
    made = f"made in {seconds:.1f} s" if prepared.created else "exists already: same input, same settings"
    out.print(f"[bold]{prepared.version}[/] {made}")
    table = plain_table("step", "reason", "rows dropped")
    for step in prepared.funnel:
        if step.rows:
            table.add_row(step.step, step.reason, f"{step.rows:,}")
    out.print(table)
    out.print(
        f"{prepared.rows_in:,} rows in, {prepared.rows_out:,} kept: {prepared.users:,} users, "
        f"{prepared.items:,} items, {prepared.train:,} train, {prepared.validation:,} validation, "
        f"{prepared.test_users:,} test users"
    )
    for warning in prepared.warnings:
        out.print(f"[yellow]warning:[/] {warning}")


@versions.command("list")
def list_command(store: StoreOption, as_json: JsonOption = False) -> None:
    """List the data versions, oldest first."""
    from recsys.cf.data.version import list_versions

    summaries = list_versions(open_store(store))
    if as_json:
        emit({"versions": [asdict(one) | {"created_at": one.created_at.isoformat()} for one in summaries]})
        return
    table = plain_table("version", "users", "items", "train", "validation", "test", "MB", keep=["version"])
    for one in summaries:
        sizes = (f"{count:,}" for count in (one.users, one.items, one.train, one.validation, one.test))
        name = one.version + (" ★" if one.is_latest else "")
        table.add_row(name, *sizes, f"{one.n_bytes / 1e6:.1f}")
    console().print(table)


@versions.command("show")
def show_command(store: StoreOption, version: DataVersionOption = "latest") -> None:
    """Print the statistics of a data version as JSON."""
    from recsys.cf.data.prepare import store_stats
    from recsys.cf.data.version import resolve_version

    opened = open_store(store)
    name = resolve_version(opened, version)
    emit({"version": name, **store_stats(opened, name)})


@versions.command("verify")
def verify_command(
    store: StoreOption, version: DataVersionOption = "latest", as_json: JsonOption = False
) -> None:
    """Re-hash every file of a data version and check what it holds."""
    from recsys.cf.data.version import resolve_version, verify_version

    opened = open_store(store)
    name = resolve_version(opened, version)
    findings = verify_version(opened, name)
    if as_json:
        emit({"ok": not findings, "version": name, "findings": findings})
    else:
        sys.stdout.write("\n".join(findings) + "\n" if findings else f"{name} is intact\n")
    if findings:
        raise DataValidationError(f"{name}: {len(findings)} finding(s); prepare it again", tuple(findings))
