"""Commands about data versions: list, show, go back to, verify, compare, import and remove them."""

import sys
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from recsys.cli.options import (
    ApplyOption,
    ConfigOption,
    DataVersionOption,
    JsonOption,
    SetOption,
    StoreOption,
)
from recsys.cli.output import console, emit, leave_with_findings, plain_table
from recsys.config.load import load_config
from recsys.errors import DataValidationError
from recsys.storage.open import open_store
from recsys.types import Json

versions = typer.Typer(
    help="Data versions: list, show, set-latest, verify, diff, gc, import-legacy.", no_args_is_help=True
)


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
def show_command(
    store: StoreOption,
    version: DataVersionOption = "latest",
    _json: Annotated[bool, typer.Option("--json", help="The statistics are JSON in any case.")] = True,
) -> None:
    """Print the statistics of a data version as JSON."""
    from recsys.cf.data.version import resolve_version, store_stats

    opened = open_store(store)
    name = resolve_version(opened, version)
    emit({"version": name, **store_stats(opened, name)})


@versions.command("set-latest")
def set_latest_command(
    version: Annotated[str, typer.Argument(help="A data version: an id or digits of its hash.")],
    store: StoreOption,
    as_json: JsonOption = False,
) -> None:
    """Make an intact data version the latest: what nights train on and what --append-to latest continues."""
    from recsys.cf.data.latest import choose_latest, latest_version
    from recsys.cf.data.version import newest_version, resolve_version, verify_version

    opened = open_store(store)
    name = resolve_version(opened, version)
    if findings := verify_version(opened, name):
        sentence = f"data version {name} is damaged, the latest stays: {'; '.join(findings)}"
        raise DataValidationError(sentence, tuple(findings))
    before = latest_version(opened)
    choose_latest(opened, name, newest_version(opened) or name)
    if as_json:
        emit({"version": name, "before": before})
    else:
        sys.stdout.write(f"{name} is the latest\n")


@versions.command("verify")
def verify_command(
    store: StoreOption, version: DataVersionOption = "latest", as_json: JsonOption = False
) -> None:
    """Re-hash every file of a data version and check every law of what they hold."""
    from recsys.cf.data.load import content_findings
    from recsys.cf.data.version import resolve_version, verify_version

    opened = open_store(store)
    name = resolve_version(opened, version)
    findings = verify_version(opened, name) or content_findings(opened, name)
    if as_json:
        emit({"ok": not findings, "version": name, "findings": findings})
    else:
        sys.stdout.write("\n".join(findings) + "\n" if findings else f"{name} is intact\n")
    if findings:
        leave_with_findings(DataValidationError, f"{name}: {len(findings)} finding(s); prepare it again")


@versions.command("diff")
def diff_command(
    before: Annotated[str, typer.Argument(help="A data version: latest, an id or digits of its hash.")],
    after: Annotated[str, typer.Argument(help="The one to compare with it.")],
    store: StoreOption,
    as_json: JsonOption = False,
) -> None:
    """Compare two data versions: sizes, stars, activity, popularity, in effect sizes."""
    from recsys.cf.data.drift import compare_versions

    drift = compare_versions(open_store(store), before, after)
    if as_json:
        emit(drift)
        return
    out = console()
    out.print(f"{drift['before']} -> {drift['after']}")
    table = plain_table("", "before", "after", "relative")
    for name in ("rows", "train_rows", "users", "items"):
        size = drift[name]
        table.add_row(name, f"{size['before']:,}", f"{size['after']:,}", f"{size['change']:+.1%}")
    for name in ("star_shares", "activity"):
        for key in drift[name]["before"]:
            pair = (drift[name][side][key] for side in ("before", "after"))
            table.add_row(f"{name} {key}", *(f"{share:.2%}" for share in pair), "")
    out.print(table)
    changes = plain_table("change (0 none, 1 all)", "")
    for name, change in drift["changes"].items():
        changes.add_row(name, f"{change:.4f}")
    out.print(changes)


@versions.command("gc")
def gc_command(
    store: StoreOption,
    apply: ApplyOption = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove old data versions; the latest and those of the champions and of running nights stay."""
    from recsys.cf.data.retention import plan_retention, remove_versions
    from recsys.pipeline.data_needed import is_needed, needed_data_versions

    rules, opened = load_config(config, overrides or ()).registry, open_store(store)
    now = datetime.now(UTC)
    old = plan_retention(
        opened,
        keep_versions=rules.keep_data_versions,
        cutoff=now - timedelta(hours=rules.grace_hours),
        protected=needed_data_versions(opened, now),
    )
    if apply:
        old = remove_versions(opened, old, lambda version: is_needed(opened, version, now))
    if as_json:
        items: list[Json] = [asdict(one) for one in old]
        emit({"dry_run": not apply, "n_bytes": sum(one.n_bytes for one in old), "items": items})
        return
    verb = "removed" if apply else "would remove"
    lines = [f"{verb} {one.version}: {one.n_bytes / 1e6:.1f} MB, {one.reason}" for one in old]
    sys.stdout.write("\n".join(lines or ["nothing to remove"]) + "\n")


@versions.command("import-legacy")
def import_legacy_command(
    directory: Annotated[Path, typer.Argument(help="Directory with X_train_confidence.npz and its kin.")],
    store: StoreOption,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Import matrices, pickled sets and mappings of the predecessor; pickles run nothing."""
    from recsys.cf.data.legacy import import_legacy

    version, stats = import_legacy(open_store(store), directory, load_config(config, overrides or ()).data)
    if as_json:
        emit({"version": version, "funnel": stats["funnel"], "sizes": stats["sizes"]})
        return
    sys.stdout.write(f"{version}\n")
    for step in stats["funnel"]:
        if step["rows"]:
            sys.stdout.write(f"dropped {step['rows']:,} rows: {step['reason']}\n")
