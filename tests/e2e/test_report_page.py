"""The report and the history as people open them: a real Chromium, light and dark, desk and phone."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from many_nights import many_nights
from report_example import example_result

from recsys.reporting.card import render_html
from recsys.reporting.history import render_history
from recsys.reporting.model_card import render_model_report

OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
MOST_BYTES = 2_000_000
SLOWEST_FIRST_PAINT_MILLISECONDS = 1000
SCREENS = {"desk": (1280, 900), "phone": (390, 844)}
PAINTS = "performance.getEntriesByName('first-contentful-paint')"
TOO_WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@dataclass
class Opened:
    """One page in one tab, and every request that was made for it."""

    tab: Any
    requests: list[str]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=program, args=OPTIONS, timeout=120_000)
        yield running
        running.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the pages by name, written as files."""
    written = {
        "report": render_html(example_result()),
        "model": render_model_report(
            example_result(),
            "als",
            {
                "model_id": "als_20261125T010203Z_ab12cd34",
                "status": "archived",
                "changes": [
                    {
                        "time": "2026-11-25T01:02:03Z",
                        "actor": "ops@host",
                        "action": "archive",
                        "reasons": ["old"],
                    }
                ],
            },
        ),
        "history": render_history(many_nights(60)),
        "years": render_history(many_nights(1500)),
    }
    folder = tmp_path_factory.mktemp("pages")
    for name, html in written.items():
        (folder / f"{name}.html").write_text(html, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in written}


def open_page(browser: Any, path: Path, screen: str, scheme: str) -> Opened:
    width, height = SCREENS[screen]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    opened = Opened(context.new_page(), [])
    opened.tab.on("request", lambda request: opened.requests.append(request.url))
    opened.tab.goto(path.as_uri(), wait_until="networkidle")
    return opened


def violations(tab: Any) -> list[str]:
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python"
    )
    found = axe.Axe().run(tab).response["violations"]
    return [
        f"{one['id']}: {node['target']} {node['failureSummary']}" for one in found for node in one["nodes"]
    ]


@pytest.mark.parametrize("name", ["report", "model", "history", "years"])
def test_a_page_is_small_quick_and_asks_for_nothing(browser: Any, pages: dict[str, Path], name: str) -> None:
    assert pages[name].stat().st_size < MOST_BYTES
    paints = []
    for _ in range(5):  # the page's own time, not that of what else runs here
        opened = open_page(browser, pages[name], "desk", "light")
        assert opened.requests == [pages[name].as_uri()]
        opened.tab.wait_for_function(f"{PAINTS}.length > 0", timeout=120_000)  # loaded is not painted yet
        paints.append(opened.tab.evaluate(f"{PAINTS}[0].startTime"))
        opened.tab.context.close()
    assert min(paints) < SLOWEST_FIRST_PAINT_MILLISECONDS


@pytest.mark.parametrize(("screen", "scheme"), [("desk", "light"), ("phone", "dark")])
@pytest.mark.parametrize("name", ["report", "model", "history"])
def test_a_page_is_accessible_and_fits(
    browser: Any, pages: dict[str, Path], name: str, screen: str, scheme: str
) -> None:
    opened = open_page(browser, pages[name], screen, scheme)
    assert opened.tab.evaluate(TOO_WIDE) <= 0
    opened.tab.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
    assert "\n".join(violations(opened.tab)) == ""
    opened.tab.context.close()


def test_dark_is_dark_and_light_is_light(browser: Any, pages: dict[str, Path]) -> None:
    brightness = {}
    for scheme in ("light", "dark"):
        opened = open_page(browser, pages["report"], "desk", scheme)
        color = opened.tab.evaluate("getComputedStyle(document.body).backgroundColor")
        brightness[scheme] = sum(int(part) for part in color.strip("rgb()").split(","))
        opened.tab.context.close()
    assert brightness["light"] > 700
    assert brightness["dark"] < 100


def test_the_checks_see_faults(browser: Any, tmp_path: Path) -> None:
    """A pale word, a picture from elsewhere, and a line too wide: each is found."""
    faulty = tmp_path / "faulty.html"
    faulty.write_text(
        '<html lang="en"><title>x</title><main><h1>x</h1><p style="color:#eee;width:2000px">pale</p>'
        '<img alt="" src="http://192.0.2.1/x.png"></main>',
        encoding="utf-8",
    )
    context = browser.new_context(viewport={"width": 390, "height": 844})
    context.route("http://**", lambda route: route.abort())
    tab, requests = context.new_page(), []
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto(faulty.as_uri(), wait_until="networkidle")
    assert "http://192.0.2.1/x.png" in requests
    assert tab.evaluate(TOO_WIDE) > 0
    assert any(found.startswith("color-contrast") for found in violations(tab))
    context.close()


def test_tables_scroll_by_keyboard_on_a_phone(browser: Any, pages: dict[str, Path]) -> None:
    opened = open_page(browser, pages["report"], "phone", "light")
    wide = opened.tab.locator(".scroll").evaluate_all(
        "all => all.filter(one => one.scrollWidth > one.clientWidth).map(one => one.tabIndex)"
    )
    assert wide
    assert set(wide) == {0}
    opened.tab.context.close()
