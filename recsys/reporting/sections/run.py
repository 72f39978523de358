"""What the run worked on and with: funnel of the data, time, resources, lineage."""

from collections.abc import Iterator

from recsys.reporting import formats
from recsys.reporting.document import label, models, number, rows, section, text
from recsys.reporting.markup import Markup, facts, panel, table, tag
from recsys.reporting.plots import Bar, bars
from recsys.types import Json


def funnel(result: Json) -> Markup | None:
    """Return the rows dropped at each step of preparation, and the sizes of what was left."""
    data = section(result, "data")
    read, kept = number(data, "rows_in"), number(data, "rows_out")
    steps = [step for step in rows(data, "funnel") if number(step, "rows")]
    entries = [Bar("rows read", read, formats.count(read), "m-popularity")] if read is not None else []
    left = read
    for step in steps:
        n_rows = number(step, "rows") or 0.0
        left = max(0.0, left - n_rows) if left is not None else None
        name = f"{text(step, 'step')}: {text(step, 'reason')}".strip(": ")
        entries.append(Bar(name, n_rows, f"−{formats.count(n_rows)}", "drop", start=left or 0.0))
    if kept is not None:
        entries.append(Bar("rows kept", kept, formats.count(kept), "keep"))
    names = ("users", "items", "train", "validation", "test_users")
    sizes = facts(
        (name.replace("_", " "), formats.count(number(data, name))) for name in names if name in data
    )
    warnings = [tag("li", str(warning)) for warning in rows(data, "warnings")]
    if not (entries or sizes or warnings):
        return None
    full = max((bar.start + bar.length for bar in entries), default=0.0)
    return panel(
        "From rows to a data version",
        tag("ul", *warnings, class_="warnings") if warnings else None,
        tag("div", bars(entries, full=full), class_="funnel") if entries else None,
        sizes,
    )


def time(result: Json) -> Markup | None:
    """Return when each model trained, on one clock, and the seconds of every stage."""
    timings = section(result, "timings")
    spans = list(_spans(result))
    chart = None
    if spans:
        full = max(bar.start + bar.length for bar in spans)
        chart = tag("div", tag("h4", "Training, on one clock"), bars(spans, full=full), class_="stratum")
    stages = [
        Bar(label(stage), value, formats.seconds(value), f"m-{stage}")
        for stage in sorted(timings, key=lambda stage: (stage not in models(result), stage))
        if stage != "total" and (value := number(timings, stage)) is not None
    ]
    by_stage = None
    if stages:
        longest = max(bar.length for bar in stages)
        by_stage = tag("div", tag("h4", "By stage"), bars(stages, full=longest), class_="stratum")
    if not (chart or by_stage):
        return None
    total, overlap = number(timings, "total"), number(result, "overlap_seconds")
    told = [f"{formats.seconds(total)} in all"] if total is not None else []
    told += [f"{formats.seconds(overlap)} of it with two models in training"] if overlap else []
    return panel("Time", chart, by_stage, note=", ".join(told) or None)


def resources(result: Json) -> Markup | None:
    """Return threads and peak memory of the run, and device and memory of each model."""
    body = [
        [
            label(name),
            text(model, "device") or formats.MISSING,
            formats.seconds(number(model, "seconds")),
            formats.n_bytes(number(model, "peak_memory_bytes")),
        ]
        for name, model in models(result).items()
    ]
    whole = facts(
        (name, shown)
        for name, shown in (
            ("threads", formats.count(number(result, "threads"))),
            ("machine", text(section(result, "code"), "machine") or formats.MISSING),
            ("peak memory", formats.n_bytes(number(result, "peak_memory_bytes"))),
        )
        if shown != formats.MISSING
    )
    if not (body or whole):
        return None
    listed = table("Resources", ["", "Device", "Time", "Peak memory"], body) if body else None
    return panel("Resources", whole, listed)


def lineage(result: Json) -> Markup | None:
    """Return ids, hashes and versions: what one needs to make the same models again."""
    code = section(result, "code")
    pairs: list[tuple[str, str | None]] = [
        ("run", text(result, "run_id")),
        ("data version", text(result, "data_version")),
        ("settings", text(result, "fingerprint")),
        ("created", text(result, "created_at")),
        ("train-cf", text(code, "version")),
        ("git commit", text(code, "git_commit")),
        ("Python", text(code, "python")),
        ("packages", ", ".join(f"{name} {version}" for name, version in section(code, "packages").items())),
        ("champion before", text(section(result, "champion_before"), "model_id")),
    ]
    for name, model in models(result).items():
        pairs.append((f"{label(name)} model", text(model, "model_id")))
        pairs.append((f"{label(name)} resumed from", text(model, "resumed_from")))
        pairs += [
            (f"{label(name)} {k} sha256", text(section(model, "factors_sha256"), k)) for k in ("U", "V")
        ]
    pairs += [
        (f"{label(name)} artifacts", str(uri)) for name, uri in section(result, "artifacts").items() if uri
    ]
    listed = facts(pairs)
    return tag("div", panel("Lineage", listed), class_="lineage") if listed else None


def _spans(result: Json) -> Iterator[Bar]:
    """Yield a bar for each model from its start to its end, in seconds after the first start."""
    found = []
    for name, model in models(result).items():
        instants = [formats.instant(str(moment)) for moment in rows(model, "intervals")]
        if len(instants) == 2 and instants[0] is not None and instants[1] is not None:
            found.append((name, instants[0], instants[1]))
    first = min((start for _, start, _ in found), default=None)
    for name, start, end in found:
        seconds = (end - start).total_seconds()
        offset = (start - first).total_seconds() if first else 0.0
        yield Bar(label(name), max(0.0, seconds), formats.seconds(seconds), f"m-{name}", start=offset)
