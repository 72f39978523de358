"""The report of a run as one self-contained HTML page, built from the result document alone."""

from collections.abc import Callable, Mapping
from importlib import resources
from string import Template

from recsys.reporting import formats
from recsys.reporting.document import canonical, text
from recsys.reporting.markup import Markup, join, tag
from recsys.reporting.sections import cold_start, drift, quality, run, training, verdict
from recsys.types import Json

_SECTIONS: Mapping[str, tuple[Callable[[Json], Markup | None], ...]] = {
    "Gates": (verdict.gates,),
    "Quality": (quality.metrics, quality.comparisons, quality.versus_champion),
    "Who is served well": (quality.strata, cold_start.cold_start),
    "Training": (training.curves, training.sampling, training.trials),
    "Scores": (training.scores,),
    "Data": (run.funnel, drift.drift),
    "Time and resources": (run.time, run.resources),
    "Lineage": (run.lineage, training.settings),
}


def render_html(result: Json) -> str:
    """Return the report of a run as an HTML page without external requests; missing parts are left out.

    Args:
        result: The document of a run, as the pipeline writes it. Every text in it is escaped.

    Returns:
        UTF-8 text, the same for the same document. About 100 kB for two models.
    """
    result = canonical(result)
    return render_page("Nightly training", result, verdict.banner(result), verdict.tiles(result))


def render_page(title: str, result: Json, *top: Markup | None) -> str:
    """Return the page with ``top`` above all sections that ``result`` has something for."""
    found: dict[str, Markup] = {}
    for name, parts in _SECTIONS.items():
        if content := join(part(result) for part in parts):
            found[name] = content
    return assemble_page(title, result, join(top), found)


def assemble_page(title: str, result: Json, top: Markup, found: Mapping[str, Markup]) -> str:
    """Return a page of ``found`` sections by name; time, data version and id come from ``result``."""
    links = tag("nav", *(tag("a", name, href=f"#{_anchor(name)}") for name in found), aria_label="Sections")
    sections = (tag("section", tag("h2", name), content, id=_anchor(name)) for name, content in found.items())
    return _template("report.html").substitute(
        title=join([f"{title}, {formats.moment(text(result, 'created_at'))}".rstrip(", ")]),
        style=_read("report.css"),
        heading=_heading(title, result),
        top=top,
        links=links if found else "",
        sections=join(sections),
    )


def _heading(title: str, result: Json) -> Markup:
    names = [text(result, key) for key in ("data_version", "run_id", "study_id")]
    when = formats.moment(text(result, "created_at"))
    return tag(
        "header",
        tag("p", "train-cf", class_="eyebrow"),
        tag("h1", title),
        tag("p", when, class_="when") if when else None,
        tag("p", *(tag("span", name) for name in names if name), class_="id"),
    )


def _anchor(name: str) -> str:
    return name.lower().replace(" ", "-")


def _template(name: str) -> Template:
    return Template(_read(name))


def _read(name: str) -> str:
    return (resources.files("recsys.reporting") / "templates" / name).read_text(encoding="utf-8")
