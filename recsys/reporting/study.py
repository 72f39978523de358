"""The report of a study: what was tried, what mattered, what it took, and whether the winner is better."""

from collections.abc import Mapping, Sequence
from typing import Any

from recsys.reporting import formats
from recsys.reporting.card import assemble_page
from recsys.reporting.document import label, number, rows, section, text
from recsys.reporting.markup import Markup, details, join, pair, panel, table, tag
from recsys.reporting.parallel import Strand, parallel_coordinates
from recsys.reporting.plots import Bar, Series, bars, interval_plot, line_plot
from recsys.types import Json

_GOOD_SHARE = 0.1  # of the trials are drawn as good
_MOST_BARS = 8
_MARKDOWN_TRIALS = 10


def render_study(result: Json) -> str:
    """Return the report of a study as an HTML page without external requests, from its result document."""
    sections = {
        "Winner and current settings": _comparison(result),
        "What was tried": _parallel(result),
        "What mattered": _importance(result),
        "Stages": _stages(result),
        "Time": _time(result),
        "Trials": _trials(result),
    }
    title = f"Tuning {label(text(result, 'model'))}: {text(result, 'space')}"
    return assemble_page(title, result, _banner(result), {k: v for k, v in sections.items() if v})


def render_study_markdown(result: Json) -> str:
    """Return the study in GitHub-flavoured Markdown: verdict, comparison, stages, the best trials."""
    model = label(text(result, "model"))
    parts = [f"# Tuning {model}: {text(result, 'space')}", text(result, "verdict")]
    parts.append(f"Study `{text(result, 'study_id')}`, data `{text(result, 'data_version')}`.")
    parts += [_pipes(*_comparison_rows(result)), "## Stages", _pipes(*_stage_rows(result))]
    head, body = _trial_rows(result, _best_first(result)[:_MARKDOWN_TRIALS])
    parts += [f"## Best {_MARKDOWN_TRIALS} trials", _pipes(head, body)]
    return "\n\n".join(parts) + "\n"


def _banner(result: Json) -> Markup:
    found = section(result, "comparison", text(result, "objective"))
    better = (number(found, "low") or 0.0) > 0
    head, _, told = text(result, "verdict").partition(". ")
    warnings = [tag("li", one) for one in rows(result, "warnings")]
    return tag(
        "div",
        tag("h2", head),
        tag("p", told),
        tag("ul", *warnings, class_="warnings") if warnings else None,
        class_=f"banner {'good' if better else 'warn'}",
    )


def _comparison(result: Json) -> Markup:
    objective = text(result, "objective")
    entries = []
    for where, found in (
        ("validation, current", section(result, "comparison", objective)),
        ("test, current", section(result, "final", "versus", "current", objective)),
        ("test, popularity", section(result, "final", "versus", "popularity", objective)),
    ):
        difference, low, high = (number(found, key) for key in ("difference", "low", "high"))
        if difference is not None and low is not None and high is not None:
            entries.append((where, difference, low, high, f"m-{text(result, 'model')}"))
    plot = interval_plot(f"Differences in {objective}", entries) if entries else None
    note = (
        "Winner minus other, paired over users. The winner is the best of many trials on validation, so its "
        "difference there is too high by chance; test was looked at once, after a retrain on train + validation."
    )
    current = section(result, "current", "settings")
    settings = [
        [path, formats.anything(value), formats.anything(current.get(path))]
        for path, value in section(result, "proposed").items()
    ]
    return join(
        [
            pair(
                [
                    panel(f"Differences in {objective}", plot, note=note),
                    panel("Settings", table("Settings", ["setting", "proposed", "current"], settings)),
                ]
            ),
            panel("Metrics", table("Metrics", *_comparison_rows(result))),
        ]
    )


def _comparison_rows(result: Json) -> tuple[list[str], list[list[str]]]:
    body = []
    for name in ("ndcg@10", "recall@10"):
        ours, theirs = (number(section(result, one, "metrics"), name) for one in ("winner", "current"))
        body.append(_compared(f"{name} on validation", ours, theirs, section(result, "comparison", name)))
        final = section(result, "final")
        if final:
            ours, theirs = (number(section(final, "metrics", one), name) for one in ("winner", "current"))
            body.append(_compared(f"{name} on test", ours, theirs, section(final, "versus", "current", name)))
    return ["metric", "winner", "current", "difference"], body


def _compared(what: str, ours: float | None, theirs: float | None, found: Json) -> list[str]:
    return [what, formats.metric(ours), formats.metric(theirs), _interval(found)]


def _parallel(result: Json) -> Markup | None:
    trials = [one for one in rows(result, "trials") if one.get("state") == "complete"]
    varied = _varied(trials)
    if len(trials) < 2 or not varied:
        return None
    objective, best = text(result, "objective"), _best_first(result)
    good = {one["number"] for one in best[: max(1, round(_GOOD_SHARE * len(best)))]}
    winner = section(result, "winner").get("trial")
    strands = [
        Strand(
            {**one["settings"], objective: round(one["value"], 4)},
            f"trial {one['number']}: {objective} {formats.metric(one['value'])}",
            "best" if one["number"] == winner else "good" if one["number"] in good else "",
        )
        for one in trials
    ]
    plot = parallel_coordinates("Trials by setting", [*varied, objective], strands)
    return panel(
        "A line per trial",
        plot,
        note="The winner thick, the best tenth in colour. Values at equal distances in their order.",
    )


def _importance(result: Json) -> Markup | None:
    shares = list(section(result, "importance").items())[:_MOST_BARS]
    if not shares:
        return None
    model = text(result, "model")
    drawn = bars(
        [
            Bar(path.rpartition(".")[2].replace("_", " "), share, formats.percent(share), f"m-{model}")
            for path, share in shares
        ],
        full=1.0,
    )
    note = (
        "Share of the objective's variance over the trials that lies between the values of one setting "
        "(correlation ratio); what is left are interactions."
    )
    return panel("Variance explained", drawn, note=note)


def _stages(result: Json) -> Markup:
    return panel("Best per stage", table("Stages", *_stage_rows(result)))


def _stage_rows(result: Json) -> tuple[list[str], list[list[str]]]:
    body = [
        [
            text(stage, "stage"),
            formats.count(number(stage, "n_trials")),
            ", ".join(f"{count} {state}" for state, count in section(stage, "states").items()),
            formats.metric(number(stage, "best_value")),
            _settings(section(stage, "best_settings")),
            formats.seconds(number(stage, "seconds")),
        ]
        for stage in rows(result, "stages")
    ]
    return ["stage", "trials", "ended", text(result, "objective"), "best settings", "time of its fits"], body


def _time(result: Json) -> Markup | None:
    trials = rows(result, "trials")
    best, line = 0.0, []
    for place, one in enumerate(trials, start=1):
        best = max(best, number(one, "value") or 0.0)
        line.append((float(place), best))
    model = text(result, "model")
    slowest = sorted(trials, key=lambda one: -(number(one, "seconds") or 0.0))[:_MOST_BARS]
    longest = max((number(one, "seconds") or 0.0 for one in slowest), default=0.0)
    drawn = bars(
        [
            Bar(f"trial {one['number']}", one["seconds"], formats.seconds(one["seconds"]), f"m-{model}")
            for one in slowest
        ],
        full=longest,
    )
    total = sum(number(one, "seconds") or 0.0 for one in trials)
    progress = line_plot("Best so far", "trials", [Series("best so far", line, f"m-{model}")])
    slow = panel("Slowest trials", drawn, note=f"{formats.seconds(total)} of fits in all.")
    return pair([panel("Best so far", progress), slow] if len(line) > 1 else [slow])


def _trials(result: Json) -> Markup:
    head, body = _trial_rows(result, _best_first(result))
    return details(f"All {len(body)} trials, best first", table("Trials", head, body))


def _trial_rows(result: Json, trials: Sequence[Json]) -> tuple[list[str], list[list[str]]]:
    varied = _varied(rows(result, "trials"))
    body = [
        [
            str(one["number"]),
            text(one, "stage"),
            text(one, "state"),
            *(formats.anything(one["settings"].get(path)) for path in varied),
            formats.metric(number(section(one, "metrics"), "ndcg@10")),
            formats.metric(number(section(one, "metrics"), "recall@10")),
            formats.anything(one.get("best_iteration")),
            formats.seconds(number(one, "seconds")),
        ]
        for one in trials
    ]
    names = [path.rpartition(".")[2].replace("_", " ") for path in varied]
    return ["trial", "stage", "ended", *names, "ndcg@10", "recall@10", "best step", "time"], body


def _best_first(result: Json) -> list[Json]:
    return sorted(
        rows(result, "trials"),
        key=lambda one: (one.get("state") != "complete", -(number(one, "value") or 0.0)),
    )


def _varied(trials: Sequence[Json]) -> list[str]:
    """Return the settings that differ between trials."""
    values: dict[str, list[Any]] = {}
    for one in trials:
        for path, value in one["settings"].items():
            known = values.setdefault(path, [])
            if value not in known:
                known.append(value)
    return [path for path, known in values.items() if len(known) > 1]


def _settings(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{path.rpartition('.')[2]} {formats.anything(one)}" for path, one in settings.items())


def _interval(found: Json) -> str:
    return formats.interval(*(number(found, key) for key in ("difference", "low", "high")))


def _pipes(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
