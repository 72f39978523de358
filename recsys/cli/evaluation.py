"""Commands that measure registered models again: one, or two on the same users."""

from typing import Annotated, Any

import typer
from rich.console import Console

from recsys.cli.options import ConfigOption, DataVersionOption, JsonOption, SetOption, StoreOption
from recsys.cli.output import console, emit, plain_table
from recsys.config.load import load_config
from recsys.storage.open import open_store
from recsys.types import Json

Name = Annotated[str, typer.Argument(help='Model id, its unique beginning, "champion" or "previous".')]


def add_commands(app: typer.Typer) -> None:
    """Add evaluate and compare to the top level."""
    app.command("evaluate")(evaluate_command)
    app.command("compare")(compare_command)


def evaluate_command(
    store: StoreOption,
    model: Name = "champion",
    data_version: DataVersionOption = "latest",
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a registered model on the test users of any data version, against popularity."""
    settings = load_config(config, overrides or [])
    from recsys.pipeline.registered import evaluate_registered  # compiled code takes a second to import

    document = evaluate_registered(open_store(store), model, data_version, settings)
    if as_json:
        emit(document)
        return
    table = plain_table("metric", document["model_id"], *document["baselines"], "gain", "interval")
    for metric, value in document["metrics"].items():
        gain, bounds = document["improvement"].get(metric), document["improvement_ci"].get(metric)
        baselines = [_number(one.get(metric)) for one in document["baselines"].values()]
        table.add_row(metric, _number(value), *baselines, _percent(gain), _bounds(bounds, _percent))
    table.title = _title(document)
    console().print(table)
    _tell(document)


def compare_command(
    a: Name,
    b: Name,
    store: StoreOption,
    data_version: DataVersionOption = "latest",
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure two registered models on the same test users; differences are A - B, paired."""
    settings = load_config(config, overrides or [])
    from recsys.pipeline.registered import compare_registered

    document = compare_registered(open_store(store), a, b, data_version, settings)
    if as_json:
        emit(document)
        return
    table = plain_table("metric", document["a"], document["b"], "A - B", "interval", "relative", "p (Holm)")
    for row in document["metrics"]:
        table.add_row(
            row["metric"],
            _number(row["a"]),
            _number(row["b"]),
            _signed(row["difference"]),
            _bounds([row["low"], row["high"]], _signed),
            _percent(row["relative"]),
            _number(row["p_adjusted"]),
        )
    table.title = _title(document)
    console().print(table)
    _tell(document)


def _title(document: Json) -> str:
    return f"{document['n_users']} test users of {document['data_version']}"


def _tell(document: Json) -> None:
    """Print what the test set can see, and the warnings, to stderr for people."""
    power, out = document["power"], Console(stderr=True, soft_wrap=True)
    smallest = power["smallest_relative"]
    if smallest is not None:
        out.print(
            f"A true difference in {power['metric']} below {smallest:.1%} would be missed in more than "
            f"{1 - power['power']:.0%} of such comparisons."
        )
    for warning in document["warnings"]:
        out.print(f"warning: {warning}", style="yellow", markup=False)


def _bounds(bounds: Any, shown: Any) -> str:
    return "" if not bounds else f"[{shown(bounds[0])}, {shown(bounds[1])}]"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.4f}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:+.1%}"
