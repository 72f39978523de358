"""Commands of batch recommendations: make them, list them, remove old ones."""

import sys
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from recsys.cli.options import ApplyOption, ConfigOption, JsonOption, SetOption, StoreOption
from recsys.cli.output import console, emit, plain_table
from recsys.config.load import load_config
from recsys.config.settings import log_dir
from recsys.log import configure_logging
from recsys.storage.open import open_store
from recsys.types import Json

ModelOption = Annotated[
    str, typer.Option("--model", help='Model id, its unique beginning, "champion" or "previous".')
]
KOption = Annotated[
    int | None, typer.Option("--k", min=1, max=1000, help="Items per user; without it recommend.k.")
]
MethodOption = Annotated[
    str | None, typer.Option("--method", help="exact or hnsw; without it recommend.method.")
]
CopyOption = Annotated[
    Path | None, typer.Option("--output", help="Local directory that gets a copy of the files.")
]

sets = typer.Typer(help="Sets of recommendations in the store: list, gc.", no_args_is_help=True)


def add_commands(app: typer.Typer) -> None:
    """Add recommend-all to the top level."""
    app.command("recommend-all")(recommend_all_command)


def overrides_of(overrides: list[str] | None, k: int | None, method: str | None) -> list[str]:
    """Return the overrides with --k and --method as those they stand for."""
    given = list(overrides or ())
    given += [f"recommend.k={k}"] if k is not None else []
    return given + ([f"recommend.method={method}"] if method is not None else [])


def recommend_all_command(
    store: StoreOption,
    model: ModelOption = "champion",
    k: KOption = None,
    method: MethodOption = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    output: CopyOption = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log to the terminal.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write the top items of every user of a model as Parquet into the store; a killed one goes on where it was."""
    settings = load_config(config, overrides_of(overrides, k, method))
    configure_logging(log_dir(), verbose=verbose, run_context={})
    from recsys.pipeline.recommend_all import recommend_all

    bar = Progress(
        TextColumn("users"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console(),
        transient=True,
        disable=as_json or not sys.stdout.isatty(),
    )
    with bar:
        task = bar.add_task("users", total=None)
        result = recommend_all(
            store, settings, model=model, output=output, on_users=lambda n: bar.advance(task, n)
        )
    if as_json:
        emit(result)
    else:
        print_result(result)


def print_result(result: Json) -> None:
    """Print what was written for people."""
    settings = result["settings"]
    what = f"k={settings['k']}, {settings['method']}, of {result['n_items']:,} items"
    lines = [
        f"model     {result['model_id']} (data {result['data_version']})",
        f"lists     {result['n_users']:,} users, {what}; {result['n_short']:,} shorter than k",
    ]
    if result["recall"] is not None:
        lines.append(f"recall    {result['recall']['value']:.4f} over {result['recall']['n_users']:,} users")
    if result["reused"]:
        lines.append("time      found, made before")
    elif "seconds" in result:
        speed = f"{result['users_per_second']:,.0f} users/s"
        lines.append(f"time      {result['seconds']:.1f} s, {speed} ({result['engine']})")
    lines.append(f"files     {result['n_files']}, {result['n_bytes'] / 1e6:.1f} MB")
    lines.append(f"store     {result['store'].rstrip('/')}/{result['prefix']}")
    if "local_copy" in result:
        lines.append(f"copy      {result['local_copy']}")
    sys.stdout.write("\n".join(lines) + "\n")


@sets.command("list")
def list_command(store: StoreOption, as_json: JsonOption = False) -> None:
    """List the sets of recommendations, oldest first."""
    from recsys.pipeline.list_retention import list_sets

    found = list_sets(open_store(store))
    if as_json:
        documents = [asdict(one) | {"modified_at": one.modified_at.isoformat()} for one in found]
        emit({"sets": documents})
        return
    table = plain_table("set", "model", "users", "k", "method", "MB", "written (UTC)", keep=["set", "model"])
    for one in found:
        facts = ("", "", "unfinished")
        if one.manifest is not None:
            settings = one.manifest["settings"]
            facts = (f"{one.manifest['n_users']:,}", str(settings["k"]), settings["method"])
        star = " ★" if one.is_latest else ""
        written = f"{one.modified_at:%Y-%m-%d %H:%M:%S}"
        table.add_row(one.set_id + star, one.model_id, *facts, f"{one.n_bytes / 1e6:.1f}", written)
    console().print(table)


@sets.command("gc")
def gc_command(
    store: StoreOption,
    apply: ApplyOption = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove old sets; the newest recommend.keep_sets of the same settings, the latest and the young stay."""
    from recsys.pipeline.list_retention import plan_set_retention, remove_sets

    settings, opened = load_config(config, overrides or ()), open_store(store)
    now = datetime.now(UTC)
    cutoff = now - timedelta(hours=settings.registry.grace_hours)
    old = plan_set_retention(opened, keep_sets=settings.recommend.keep_sets, cutoff=cutoff, now=now)
    if apply:
        old = remove_sets(opened, old, cutoff=cutoff, now=now)
    if as_json:
        emit(
            {
                "dry_run": not apply,
                "n_bytes": sum(one.n_bytes for one in old),
                "items": [asdict(one) for one in old],
            }
        )
        return
    verb = "removed" if apply else "would remove"
    lines = [f"{verb} {one.prefix}: {one.n_bytes / 1e6:.1f} MB, {one.reason}" for one in old]
    sys.stdout.write("\n".join(lines or ["nothing to remove"]) + "\n")
