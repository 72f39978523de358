"""Commands that use what was trained: recommendations."""

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from recsys.cli.options import JsonOption, StoreOption
from recsys.cli.output import console, emit, plain_table
from recsys.storage.open import open_store


def add_commands(app: typer.Typer) -> None:
    """Add recommend to the top level."""
    app.command("recommend")(recommend_command)


def recommend_command(
    user_id: Annotated[str, typer.Argument(help="The shop's user id.")],
    store: StoreOption,
    k: Annotated[int, typer.Option("--k", min=1, help="Length of the list.")] = 10,
    model: Annotated[str, typer.Option("--model", help="Model id or alias.")] = "champion",
    new_items: Annotated[
        Path | None,
        typer.Option(
            "--new-items", help="Embeddings of items to offer, too, though the model never saw them."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print the top items for a user, with titles and normalised scores."""
    from recsys.registry.serving import load_champion, load_model

    opened = open_store(store)
    serving = load_champion(opened).model if model == "champion" else load_model(opened, model)
    if new_items is not None:
        from recsys.cf.data.embeddings import read_product_embeddings

        serving = serving.with_new_items(read_product_embeddings(new_items))
    items = serving.recommend(user_id, k)
    if as_json:
        emit(
            {
                "user_id": user_id,
                "model_id": serving.model_id,
                "items": [
                    {
                        "item_id": one.item_id,
                        "title": one.title,
                        "score": one.score,
                        "normalized": one.normalized,
                    }
                    for one in items
                ],
            }
        )
        return
    table = plain_table("#", "item", "title", "score", "normalised", keep=["item"])
    table.title = Text(f"{user_id} · {serving.model_id}")
    for place, one in enumerate(items, start=1):
        table.add_row(str(place), one.item_id, one.title or "", f"{one.score:.4f}", f"{one.normalized:.3f}")
    console().print(table)
