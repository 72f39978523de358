"""Commands of the model registry."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from recsys.cli.options import ApplyOption, ConfigOption, JsonOption, SetOption, StoreOption
from recsys.cli.output import console, emit, leave_with_findings, plain_table
from recsys.config.load import load_config
from recsys.errors import RegistryError
from recsys.registry.catalogue import Registry
from recsys.registry.state import ModelEntry
from recsys.storage.open import open_store
from recsys.types import Json

app = typer.Typer(help="Models: which exist, which one serves, and why.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help='Model id, its unique beginning, "champion" or "previous".')]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept in the history.")]
ExpectedChampion = Annotated[
    str | None,
    typer.Option("--expected-champion", help="The model to leave: when another serves by now, refuse."),
]
_SHOWN_METRICS = ("recall@10", "ndcg@10", "coverage@10")


def _registry(store: str, config: Path | None = None, overrides: list[str] | None = None) -> Registry:
    settings = load_config(config, overrides or ()).registry
    return Registry(open_store(store), single_writer=settings.single_writer)


def _say(document: Json, as_json: bool, sentence: str) -> None:
    if as_json:
        emit(document)
    else:
        sys.stdout.write(sentence + "\n")


@app.command("list")
def list_models(store: StoreOption, as_json: JsonOption = False) -> None:
    """List the registered models, newest first."""
    registry = _registry(store)
    entries, state = registry.list(), registry.state()
    if as_json:
        emit(
            {
                "champion": state.champion,
                "previous": state.previous,
                "models": [entry.to_json() for entry in entries],
            }
        )
        return
    table = plain_table("model", "alias", "status", *_SHOWN_METRICS, keep=["model"])
    for entry in entries:
        alias = {state.champion: "★ champion", state.previous: "previous"}.get(entry.model_id, "")
        metrics = [_number(entry.metrics.get(name)) for name in _SHOWN_METRICS]
        table.add_row(entry.model_id, alias, entry.status, *metrics)
    console().print(table)


@app.command()
def show(name: Name, store: StoreOption, as_json: JsonOption = False) -> None:
    """Show one model."""
    entry = _registry(store).show(name)
    if as_json:
        emit(entry.to_json())
        return
    _print_entry(entry)


@app.command()
def compare(a: Name, b: Name, store: StoreOption, as_json: JsonOption = False) -> None:
    """Compare the metrics two models were registered with (each on its own data version)."""
    document = _registry(store).compare(a, b)
    if as_json:
        emit(document)
        return
    table = plain_table("metric", document["a"], document["b"], "difference", "relative")
    for row in document["metrics"]:
        table.add_row(row["metric"], *(_number(row[key]) for key in ("a", "b", "difference", "relative")))
    console().print(table)


@app.command()
def promote(
    name: Name,
    store: StoreOption,
    reason: Reason,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a model the champion by hand; its files are read back and re-hashed first."""
    entry = _registry(store, config, overrides).promote(name, reasons=[f"by hand: {reason}"])
    _say(entry.to_json(), as_json, f"{entry.model_id} is champion")


@app.command()
def rollback(
    store: StoreOption,
    reason: Reason,
    expected_champion: ExpectedChampion = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Go back to the newest former champion whose files are intact."""
    registry = _registry(store, config, overrides)
    # without the option: the one that serves as the command starts, whatever a night promotes meanwhile
    leaving = registry.show(expected_champion).model_id if expected_champion else registry.state().champion
    entry = registry.rollback(reason, expected_champion=leaving)
    _say(entry.to_json(), as_json, f"{entry.model_id} is champion again")


@app.command()
def archive(
    name: Name,
    store: StoreOption,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a model out of the candidates."""
    entry = _registry(store, config, overrides).archive(name)
    _say(entry.to_json(), as_json, f"{entry.model_id} is {entry.status}")


@app.command()
def delete(
    name: Name,
    store: StoreOption,
    reason: Reason,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete a model and its files; refused for champion and previous."""
    model_id = _registry(store, config, overrides).delete(name, [reason])
    _say({"deleted": model_id}, as_json, f"{model_id} is deleted")


@app.command()
def verify(store: StoreOption, as_json: JsonOption = False) -> None:
    """Re-hash every file the registry can reach."""
    findings = list(_registry(store).verify())
    _say({"ok": not findings, "findings": findings}, as_json, "\n".join(findings) or "everything is intact")
    if findings:
        leave_with_findings(RegistryError, f"{len(findings)} finding(s); roll back or restore from a backup")


@app.command()
def gc(
    store: StoreOption,
    apply: ApplyOption = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Collect what no alias, running stage or grace period protects; registry.* settings say how much is kept."""
    rules = load_config(config, overrides or ()).registry
    report = _registry(store, config, overrides).gc(
        dry_run=not apply, keep_versions=rules.keep_versions, grace_hours=rules.grace_hours
    )
    document: Json = report.to_json()
    _say(document, as_json, _gc_sentence(document))


@app.command()
def history(store: StoreOption, as_json: JsonOption = False) -> None:
    """Show every change: when, who, what, why."""
    events = [event.to_json() for event in _registry(store).history()]
    if as_json:
        emit({"events": events})
        return
    table = plain_table("#", "time (UTC)", "actor", "action", "model", "reasons", keep=["model"])
    for event in events:
        model = str(event["arguments"].get("model_id", ""))
        reasons = "; ".join(event["reasons"])
        table.add_row(
            str(event["number"]), event["time"][:19], event["actor"], event["action"], model, reasons
        )
    console().print(table)


def _print_entry(entry: ModelEntry) -> None:
    table = Table(show_header=False)
    for key, value in entry.to_json().items():
        if key != "metrics":
            table.add_row(key, str(value))
    for name, number in sorted(entry.metrics.items()):
        table.add_row(name, _number(number))
    console().print(table)


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.4f}"


def _gc_sentence(document: Json) -> str:
    verb = "would remove" if document["dry_run"] else "removed"
    lines = [
        f"{verb} {item['kind']} {item['target']}: {item['n_objects']} objects, {item['reason']}"
        for item in document["items"]
    ]
    return "\n".join([*lines, f"{verb} {document['n_bytes'] / 1e6:.1f} MB in all"])
