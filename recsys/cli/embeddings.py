"""Commands about product embeddings: made from titles, and what they are worth to the models."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from recsys.cli.data import ItemColumnOption
from recsys.cli.options import ConfigOption, DataVersionOption, JsonOption, SetOption, StoreOption
from recsys.cli.output import console, emit, plain_table
from recsys.config.load import load_config
from recsys.errors import ConfigError
from recsys.storage.scratch import scratch_folder
from recsys.types import Json

_FIELDS = ("title", "description")


def add_commands(app: typer.Typer) -> None:
    """Add embed and compare-init to the top level."""
    app.command("embed")(embed_command)
    app.command("compare-init")(compare_init_command)


def embed_command(
    products: Annotated[
        list[str], typer.Argument(help="Products: CSV, JSON Lines or Parquet files, globs, s3://bucket/key.")
    ],
    output: Annotated[Path, typer.Option("--output", help="Where to write the .npz.")] = Path(
        "embeddings.npz"
    ),
    encoder: Annotated[
        str,
        typer.Option(
            "--encoder",
            help="ngrams (no model needed), a directory with a sentence-transformers model, or package:NAME.",
        ),
    ] = "ngrams",
    with_description: Annotated[
        bool, typer.Option("--with-description", help="Embed the description, too, behind the title.")
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Texts encoded at a time.")] = 64,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "cpu",
    item_columns: ItemColumnOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make product embeddings from titles, for `recsys prepare --embeddings`."""
    from recsys.cf.data.embeddings import write_product_embeddings
    from recsys.cf.data.raw import read_item_texts
    from recsys.cf.data.sources import gather_sources
    from recsys.cf.embeddings.encode import embed_products, open_encoder

    if output.suffix != ".npz":  # numpy would add it, and other endings mean other formats to readers
        raise ConfigError(f"--output {output}: embeddings are written as .npz, give a name that ends so")
    output.parent.mkdir(parents=True, exist_ok=True)
    columns = load_config(None, [f"data.item_columns.{one}" for one in item_columns or ()]).data.item_columns
    with scratch_folder("embed") as work:
        sources = gather_sources("product", products, work)
        texts = read_item_texts(sources, columns, _FIELDS if with_description else _FIELDS[:1])
    with Console(stderr=True).status("loading the encoder") as status:
        opened = open_encoder(encoder, device)
        embeddings = embed_products(
            texts,
            opened,
            batch_size=batch_size,
            on_progress=lambda done, total: status.update(f"{done:,} of {total:,} products embedded"),
        )
    write_product_embeddings(output, embeddings)
    document: Json = {
        "output": str(output),
        "products": len(embeddings.item_ids),
        "dimensions": int(embeddings.embeddings.shape[1]),
        "name": embeddings.name,
        "version": embeddings.version,
    }
    if as_json:
        emit(document)
    else:
        sys.stdout.write("\n".join(f"{key}: {value}" for key, value in document.items()) + "\n")


def compare_init_command(
    store: StoreOption,
    data_version: DataVersionOption = "latest",
    hidden_share: Annotated[
        float,
        typer.Option(
            "--hidden-share", min=0.01, max=0.9, help="Share of the items that the second protocol hides."
        ),
    ] = 0.2,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train from random starts, from embeddings, anchored and mapped; measure all, cold items apart."""
    settings = load_config(config, overrides or [])
    from recsys.pipeline.init_comparison import compare_initialisations

    with Console(stderr=True).status("loading") as status:
        document = compare_initialisations(
            store,
            settings,
            data_version=data_version,
            hidden_share=hidden_share,
            on_step=lambda step: status.update(step),
        )
    if as_json:
        emit(document)
        return
    k = settings.evaluation.k_values[0]
    test, unseen = document["protocols"]["test"], document["protocols"]["unseen"]
    cold = f"{test['cold_pairs']} pairs of {test['cold_items']} cold items"
    _print_rows(test["rows"], k, f"{test['n_users']} test users of {document['data_version']}, {cold}")
    asked = f"{unseen['n_users']} users asked for {unseen['hidden_items']} items nobody bought"
    _print_rows(unseen["rows"], k, f"{asked}, among all items")
    _print_rows(unseen["hidden_only"], k, f"{asked}, among those alone", beside="chance")


def _print_rows(rows: list[Json], k: int, title: str, beside: str = "random") -> None:
    metrics = [f"recall@{k}", f"ndcg@{k}", f"coverage@{k}"]
    cold = f"cold_recall@{k}"
    has_cold = any(row.get(cold) is not None for row in rows)
    headline = cold if has_cold else metrics[0]
    table = plain_table(
        "model", "variant", *metrics, *([cold] if has_cold else []), f"over {beside}", "interval"
    )
    table.title = title
    for row in rows:
        values = [row["metrics"].get(name) for name in metrics] + ([row.get(cold)] if has_cold else [])
        gain = row.get(f"versus_{beside}", {}).get(headline)
        table.add_row(row["model"], row["variant"], *map(_number, values), *_gain(gain))
    console().print(table)


def _gain(interval: Json | None) -> tuple[str, str]:
    """Return the relative difference and its bounds, absolute ones where the random start found nothing."""
    if interval is None:
        return "", ""
    if interval["relative"] is None:
        return f"{interval['difference']:+.4f} abs.", f"[{interval['low']:+.4f}, {interval['high']:+.4f}]"
    bounds = (interval["relative_low"], interval["relative_high"])
    shown = ("unbounded" if bound is None else f"{bound:+.1%}" for bound in bounds)
    return f"{interval['relative']:+.1%}", f"[{', '.join(shown)}]"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
