"""The run's result on a terminal: what it worked on, how good the models are, what was decided and why."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from recsys.reporting import formats
from recsys.reporting.decision import headline, reasons, status
from recsys.reporting.document import (
    POPULARITY,
    headline_metric,
    interval_level,
    label,
    model_of,
    models,
    number,
    rows,
    section,
    text,
)
from recsys.reporting.tables import champion_note, metric_table
from recsys.types import Json

_COLORS = {"good": "bold green", "warn": "bold yellow", "bad": "bold red", "plain": "bold"}
_SHOWN = ("recall", "ndcg", "coverage")


def render_terminal(result: Json, console: Console) -> None:
    """Print the summary of a run to ``console``; texts of the document are never read as rich's markup."""
    _data(result, console)
    _metrics(result, console)
    _score_ranges(result, console)
    _decision(result, console)
    _places(result, console)


def _data(result: Json, console: Console) -> None:
    data = section(result, "data")
    console.print(Text.assemble(("Data     ", "dim"), text(result, "data_version") or formats.MISSING))
    if number(data, "rows_in") is not None:
        sizes = [
            f"{formats.count(number(data, key))} {key}" for key in ("users", "items", "train") if key in data
        ]
        line = (
            f"{formats.count(number(data, 'rows_in'))} rows, {formats.count(number(data, 'rows_out'))} kept"
        )
        console.print(Text.assemble(("Funnel   ", "dim"), f"{line}: {', '.join(sizes)}".removesuffix(": ")))
    for step in rows(data, "funnel"):
        if number(step, "rows"):
            told = f"−{formats.count(number(step, 'rows'))}  {text(step, 'step')}: {text(step, 'reason')}"
            console.print(Text(f"         {told}", style="dim"))
    for warning in rows(data, "warnings"):
        console.print(Text(f"         {warning}", style="yellow"))


def _metrics(result: Json, console: Console) -> None:
    shown = [
        row
        for row in metric_table(result)
        if row.metric.startswith(_SHOWN) or row.metric == headline_metric(result)
    ]
    if not shown:
        return
    names = [*models(result), *(name for name in (POPULARITY, "champion") if name in shown[0].values)]
    table = Table(header_style="bold", box=None, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    for name in names:
        table.add_column(Text(label(name)), justify="right")
    for row in shown:
        cells = [Text(row.metric)]
        for name in names:
            cell = Text(formats.metric(row.values[name]), style="bold" if name == row.best else "")
            below = row.differences.get(name, "").split(" ", 1)
            cells.append(cell.append("".join(f"\n{line}" for line in below if line), style="not bold dim"))
        table.add_row(*cells)
    console.print()
    console.print(table)
    console.print(
        Text(f"Below each value: difference to popularity, {interval_level(result)} interval", style="dim")
    )
    if told := champion_note(result):
        console.print(Text(told, style="yellow"))


def _score_ranges(result: Json, console: Console) -> None:
    console.print()
    for name, model in models(result).items():
        found = section(model, "score_range")
        low, middle, high = (number(found, key) for key in ("p01", "p50", "p99"))
        if low is not None and middle is not None and high is not None:
            shown = [formats.compact(value) for value in (low, middle, high)]
            told = "p01 {}, median {}, p99 {}".format(*shown)
            console.print(Text.assemble((f"Scores {label(name)}  ", "dim"), told))
        if (seconds := number(model, "seconds")) is not None:
            console.print(Text.assemble((f"Time   {label(name)}  ", "dim"), formats.seconds(seconds)))


def _decision(result: Json, console: Console) -> None:
    decision = section(result, "decision")
    console.print()
    console.print(Text(headline(result), style=_COLORS[status(result)]))
    if model_id := text(decision, "model_id" if decision.get("promote") else "champion"):
        console.print(Text(f"  {model_id}"))
    for reason in reasons(result):
        console.print(Text(f"  {reason}"))
    for model_id, gates in section(decision, "gates").items():
        failed = [text(gate, "name") for gate in gates or [] if gate and not gate.get("passed")]
        if failed:
            told = f"  {label(model_of(result, model_id))} did not pass: {', '.join(failed)}"
            console.print(Text(told, style="yellow"))


def _places(result: Json, console: Console) -> None:
    console.print()
    total = number(section(result, "timings"), "total")
    places = [(label(name), str(uri)) for name, uri in section(result, "artifacts").items() if uri]
    places += [("Report", text(result, "report"))] if result.get("report") else []
    places += [("Total", formats.seconds(total))] if total is not None else []
    for name, place in places:
        console.print(Text.assemble((f"{name:<9}", "dim"), place), soft_wrap=True)
