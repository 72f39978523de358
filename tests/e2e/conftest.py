"""A headless Chromium for the tests that look at pages as people do."""

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
WAIT_MILLISECONDS = 120_000
_HAS_TEXTS = "texts => texts.every(t => document.body.innerText.replace(/\\s+/g, ' ').includes(t))"
_IMAGE_WIDTH = "Math.max(0, ...[...document.images].map(i => i.naturalWidth))"
_OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]


@dataclass
class Page:
    """A page of one server; keeps a screenshot of everything it looks at."""

    url: str
    screenshots: Path
    page: Any
    foreign_requests: list[str] = field(default_factory=list)

    def look(self, path: str, name: str, *, tab: str | None = None, expect: Sequence[str] = ()) -> str:
        """Return the text of a page, or of one of its tabs, once all texts of ``expect`` stand on it.

        Raises playwright's TimeoutError when one does not come. Runs of blanks count as one.
        """
        self.page.goto(f"{self.url}{path}", wait_until="networkidle", timeout=WAIT_MILLISECONDS)
        if tab is not None:
            self.page.get_by_text(tab, exact=True).first.click()
            self.page.wait_for_load_state("networkidle", timeout=WAIT_MILLISECONDS)
        self.page.wait_for_function(_HAS_TEXTS, arg=list(expect), timeout=WAIT_MILLISECONDS)
        self.page.wait_for_timeout(1500)  # transitions
        self.page.screenshot(path=self.screenshots / f"prefect-{name}.png")
        return str(self.page.inner_text("body"))

    def image_width(self) -> int:
        """Return the natural width in pixels of the largest image of the page, once there is one."""
        self.page.wait_for_function(f"{_IMAGE_WIDTH} > 0", timeout=WAIT_MILLISECONDS)
        return int(self.page.evaluate(_IMAGE_WIDTH))

    def note(self, request: Any) -> None:
        """Keep the address of a request that leaves the server."""
        if not request.url.startswith((self.url, "data:", f"blob:{self.url}")):
            self.foreign_requests.append(request.url)


@pytest.fixture
def chromium(tmp_path: Path) -> Iterator[Any]:
    """Return a function from a server's URL to its Page. RECSYS_SCREENSHOTS names a folder to keep pictures."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    screenshots = Path(os.environ.get("RECSYS_SCREENSHOTS") or tmp_path)
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=_OPTIONS, timeout=WAIT_MILLISECONDS)

        def open_page(url: str) -> Page:
            page = Page(url, screenshots, browser.new_page(viewport={"width": 1360, "height": 900}))
            page.page.on("request", page.note)
            return page

        yield open_page
        browser.close()
