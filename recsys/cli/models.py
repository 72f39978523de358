"""Commands that use what was trained: recommendations and reports."""

import sys
import webbrowser
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from recsys.cli.options import JsonOption, StoreOption
from recsys.cli.output import console, emit, plain_table
from recsys.errors import RegistryError
from recsys.storage.base import Store
from recsys.storage.documents import read_document
from recsys.storage.open import open_store


def add_commands(app: typer.Typer) -> None:
    """Add recommend and report to the top level."""
    app.command("recommend")(recommend_command)
    app.command("report")(report_command)


def recommend_command(
    user_id: Annotated[str, typer.Argument(help="The shop's user id.")],
    store: StoreOption,
    k: Annotated[int, typer.Option("--k", min=1, help="Length of the list.")] = 10,
    model: Annotated[str, typer.Option("--model", help="Model id or alias.")] = "champion",
    as_json: JsonOption = False,
) -> None:
    """Print the top items for a user, with titles and normalised scores."""
    from recsys.registry.serving import load_champion, load_model

    opened = open_store(store)
    serving = load_champion(opened) if model == "champion" else load_model(opened, model)
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


def report_command(
    store: StoreOption,
    run_id: Annotated[str | None, typer.Argument(help="Run; without it, the newest finished one.")] = None,
    output: Annotated[Path, typer.Option("--output", help="Where to write the page.")] = Path("report.html"),
    open_browser: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write the report of a run again, from its result document alone."""
    from recsys.reporting.card import render_html

    opened = open_store(store)
    key = f"runs/{run_id}/result.json" if run_id else _newest_result(opened)
    result = read_document(opened, key) if key else None
    if result is None:
        raise RegistryError(f"{store} holds no result of run {run_id or 'any'}; start one with `recsys run`")
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(render_html(result), encoding="utf-8")
    if as_json:
        emit({"run_id": result["run_id"], "report": str(output)})
    else:
        sys.stdout.write(f"{output}\n")
    if open_browser:
        webbrowser.open(output.resolve().as_uri())


def _newest_result(store: Store) -> str | None:
    results = [one for one in store.list("runs/") if one.key.endswith("/result.json")]
    return max(results, key=lambda one: one.modified_at).key if results else None
