"""The command that says what a shop of a given size needs."""

import math
from typing import Annotated

import typer

from recsys.cli.options import ConfigOption, JsonOption, SetOption
from recsys.cli.output import console, emit, plain_table
from recsys.config.load import load_config
from recsys.config.settings import available_threads, total_memory_bytes
from recsys.errors import ConfigError
from recsys.planning.engines import HEADROOM, NO_ENGINE, Machine, duration
from recsys.planning.plan import NIGHT_HOURS, Plan, make_plan, sizes_of, with_factors
from recsys.planning.rates import COMMAND, MACHINE


def add_commands(app: typer.Typer) -> None:
    """Add plan to the top level."""
    app.command("plan")(plan_command)


def plan_command(
    users: Annotated[int, typer.Option("--users", help="Users that are trained.")],
    items: Annotated[int, typer.Option("--items", help="Items that are trained.")],
    interactions: Annotated[int, typer.Option("--interactions", help="Train interactions, one per pair.")],
    factors: Annotated[
        int | None, typer.Option("--factors", help="Factors of every model; without it, those configured.")
    ] = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    cores: Annotated[
        int | None, typer.Option("--cores", help="Cores; without it, those of this machine.")
    ] = None,
    memory_gb: Annotated[
        float | None, typer.Option("--memory-gb", help="Memory; without it, that of this machine.")
    ] = None,
    hours: Annotated[float, typer.Option("--hours", help="Hours that a night may take.")] = NIGHT_HOURS,
    as_json: JsonOption = False,
) -> None:
    """Predict memory, time and the engine of each part for a shop of a given size; reads no data."""
    for name, value in (("--cores", cores), ("--memory-gb", memory_gb), ("--hours", hours)):
        if value is not None and not (value > 0 and math.isfinite(value)):
            raise ConfigError(f"{name} {value:g}: must be a number above 0")
    settings = load_config(config, overrides or [])
    machine = Machine(
        cores or available_threads(), total_memory_bytes() if memory_gb is None else memory_gb * 1e9
    )
    plan = make_plan(
        sizes_of(users, items, interactions),
        settings if factors is None else with_factors(settings, factors),
        machine,
        hours=hours,
    )
    if as_json:
        emit(plan.to_json())
    else:
        _show(plan, hours)


def _show(plan: Plan, hours: float) -> None:
    out, sizes = console(), plan.sizes
    out.print(
        f"{sizes.users:,} users x {sizes.items:,} items, {sizes.train:,} train interactions "
        f"({plan.index_width} positions), {plan.factors} factors, on {plan.machine}"
    )
    table = plain_table("stage", "memory", "time", "fits")
    for stage in plan.stages:
        fits = "yes" if stage.fits else "no"
        table.add_row(stage.name, f"{stage.memory_bytes / 1e9:,.2f} GB", duration(stage.seconds), fits)
    out.print(table)
    night = (
        f"{plan.night_bytes / 1e9:,.2f} GB, {duration(plan.night_seconds)} with the searches of a first night"
    )
    out.print(f"night, all trainings at once: {night}; disk {plan.disk_bytes / 1e9:,.0f} GB")
    best = "none of up to 64 cores and 512 GB" if plan.recommended is None else str(plan.recommended)
    out.print(f"one machine that does it in {hours:g} h: {best}")
    parts = plain_table("part", "engine", "on", "why")
    for one in plan.advice:
        on = "-" if one.engine == NO_ENGINE else f"{one.machines} x ({one.machine})"
        parts.add_row(one.part, one.engine, on, one.reason)
    out.print(parts)
    out.print(
        f"Estimates. Memory: to be free is {HEADROOM:g} times as much. Times: rates of `{COMMAND}` on {MACHINE}."
    )
