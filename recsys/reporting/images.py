"""The training curves as images: complete SVG documents with their own colours, for pages that only link."""

from base64 import b64encode
from dataclasses import dataclass

from recsys.reporting.document import measured_metrics, models, rows
from recsys.reporting.sections.training import curve_plots
from recsys.types import Json

_STYLE = """<style>
svg { background: #ffffff; font: 11px system-ui, sans-serif; }
.m-als { --c: #2560c4 } .m-bpr { --c: #b1480f }
.line { fill: none; stroke: var(--c, #7a3fb0); stroke-width: 2 } .dashed { stroke-dasharray: 5 4 }
.dot { fill: var(--c, #7a3fb0) }
.grid { stroke: #e4e4de } .mark { stroke: #5a626c; stroke-dasharray: 2 3 }
text { fill: #5a626c } .end { text-anchor: end } .mid { text-anchor: middle }
</style>"""
_WIDTH, _HEIGHT = 840, 440


@dataclass(frozen=True)
class CurveImage:
    """One drawing: what it shows ("training loss", "validation"), its lines in words, the SVG document."""

    what: str
    legend: str
    svg: str


def training_curves(result: Json, model: str) -> list[CurveImage]:
    """Return the curves of one model, those with at least two points; a few kB each."""
    facts = models(result)[model]
    measured = measured_metrics(rows(facts, "history"))
    legends = {"validation": ", ".join(measured) + (" (dashed)" if len(measured) > 1 else "")}
    images = []
    for what, plot in curve_plots(model, facts).items():
        drawing = str(plot).partition("<svg ")[2].partition(">")
        head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" {drawing[0]}>'
        svg = f"{head}{_STYLE}{drawing[2]}"
        images.append(CurveImage(what, legends.get(what, "loss"), svg))
    return images


def data_uri(svg: str) -> str:
    """Return an SVG document as a data: URI, which a page can show without a request."""
    return f"data:image/svg+xml;base64,{b64encode(svg.encode()).decode()}"
