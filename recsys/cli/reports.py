"""Commands that write pages: the report of a run or a model, and the history of all nights."""

import json
import sys
import webbrowser
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from recsys.cli.options import JsonOption, StoreOption
from recsys.cli.output import emit
from recsys.errors import RegistryError
from recsys.storage.base import Store
from recsys.storage.documents import read_document
from recsys.storage.open import open_store
from recsys.types import Json

OpenOption = Annotated[bool, typer.Option("--open", help="Open it in the browser.")]
_RUN_PREFIX = "r_"


class Format(StrEnum):
    """What a report can be written as."""

    html = "html"
    markdown = "markdown"
    json = "json"


_ENDINGS: Mapping[Format, str] = {Format.html: ".html", Format.markdown: ".md", Format.json: ".json"}


def add_commands(app: typer.Typer) -> None:
    """Add report and history to the top level."""
    app.command("report")(report_command)
    app.command("history")(history_command)


def report_command(
    store: StoreOption,
    name: Annotated[
        str | None,
        typer.Argument(
            help='Run id, model id, "champion" or "previous"; without it, the newest finished run.'
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", help="Where to write it; report.html, .md or .json without it.")
    ] = None,
    form: Annotated[
        Format,
        typer.Option("--format", help="html: one page; markdown: a summary; json: the document itself."),
    ] = Format.html,
    open_browser: OpenOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write the report of a run or of a model again, from its document in the store alone."""
    opened = open_store(store)
    if name is None or name.startswith(_RUN_PREFIX):
        facts, written = _run_report(opened, name, form)
    else:
        facts, written = _model_report(opened, name, form)
    _write(output or Path(f"report{_ENDINGS[form]}"), written, facts, open_browser, as_json)


def history_command(
    store: StoreOption,
    output: Annotated[Path, typer.Option("--output", help="Where to write the page.")] = Path("history.html"),
    last: Annotated[int, typer.Option("--last", min=1, help="How many nights at most.")] = 400,
    open_browser: OpenOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write one page of all nights: quality with intervals over time, champions, what each night decided.

    With --json the document is printed instead: {champion, nights, events}.
    """
    from recsys.pipeline.nights import read_history
    from recsys.reporting.history import render_history

    history = read_history(open_store(store), last=last)
    if as_json:
        emit(history)
        return
    if not history["nights"]:
        raise RegistryError(f"{store} holds no night; start one with `recsys run`")
    _write(output, render_history(history), {}, open_browser, as_json)


def _run_report(store: Store, run_id: str | None, form: Format) -> tuple[Json, str]:
    from recsys.pipeline.nights import newest_run
    from recsys.reporting.card import render_html
    from recsys.reporting.tables import render_markdown

    run_id = run_id or newest_run(store)
    key = f"runs/{run_id}/result.json" if run_id else _newest_result(store)
    result = read_document(store, key) if key else None
    if result is None:
        raise RegistryError(
            f"{store.uri} holds no result of run {run_id or 'any'}; start one with `recsys run`, "
            "or name a model: `recsys report champion`"
        )
    forms: Mapping[Format, Callable[[Json], str]] = {
        Format.html: render_html,
        Format.markdown: render_markdown,
        Format.json: _as_text,
    }
    return {"run_id": result["run_id"]}, forms[form](result)


def _model_report(store: Store, name: str, form: Format) -> tuple[Json, str]:
    from recsys.pipeline.model_report import registered_report
    from recsys.reporting.model_card import render_model_card, render_model_report

    model, document, standing = registered_report(store, name)
    facts = {"model_id": standing["model_id"]}
    if form is Format.html:
        return facts, render_model_report(document, model, standing)
    if form is Format.markdown:
        return facts, render_model_card(document, model)
    return facts, _as_text({**document, "standing": standing})


def _newest_result(store: Store) -> str | None:
    """Return the newest result by the clock of the store, for stores whose nights left no records."""
    results = [one for one in store.list("runs/") if one.key.endswith("/result.json")]
    return max(results, key=lambda one: one.modified_at).key if results else None


def _as_text(document: Json) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _write(output: Path, written: str, facts: Json, open_browser: bool, as_json: bool) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(written, encoding="utf-8")
    if as_json:
        emit({**facts, "report": str(output)})
    else:
        sys.stdout.write(f"{output}\n")
    if open_browser:
        webbrowser.open(output.resolve().as_uri())
