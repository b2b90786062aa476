"""The HTML report in a real browser: readable by itself, and the outage is in the drawing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rollback_playbook.report.rendering import render
from tests.unit.wrapper.record.builders import Workplace
from tests.unit.wrapper.record.story import full_rollback

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
_CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(_CHROMIUM is None, reason="no chromium: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(
            executable_path=_CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield chromium
        chromium.close()


@pytest.fixture
def report(workplace: Workplace, tmp_path: Path) -> Path:
    path = tmp_path / "report.html"
    path.write_text(render(full_rollback(workplace).folder, "html"), encoding="utf-8")
    return path


@pytest.fixture
def page(browser: Any, report: Path) -> Iterator[Any]:
    page = browser.new_page()
    page.console = []
    page.requested = []
    page.on("console", lambda message: page.console.append(message.text))
    page.on("pageerror", lambda error: page.console.append(str(error)))
    page.on("request", lambda request: page.requested.append(request.url))
    page.goto(report.as_uri())
    yield page
    page.close()


def test_html_report_makes_no_error_and_no_request_of_its_own(page: Any, report: Path) -> None:
    assert page.console == []
    assert [url for url in page.requested if not url.startswith("data:")] == [report.as_uri()]


def test_html_report_draws_the_outage_below_the_phases(page: Any) -> None:
    outage = page.locator("svg rect.outage")
    assert outage.count() == 1
    pause = page.locator("svg g.shape", has_text="Pause").first.locator("rect")
    box, above = outage.bounding_box(), pause.bounding_box()
    assert box["width"] > 10
    assert box["y"] > above["y"]
    assert box["x"] > above["x"]
    assert page.locator("svg rect.band").bounding_box()["height"] > 100
    assert "no service" in page.locator("svg g.shape:has(rect.outage) title").text_content()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_html_report_is_readable_in_light_and_dark(page: Any, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    colours = page.evaluate(
        "() => { const s = getComputedStyle(document.body); return [s.color, s.backgroundColor] }"
    )
    text, ground = (_luminance(colour) for colour in colours)
    assert (text < ground) is (scheme == "light")
    contrast = (max(text, ground) + 0.05) / (min(text, ground) + 0.05)
    assert contrast > 7


def test_html_report_prints_every_section(page: Any) -> None:
    assert len(page.pdf(format="A4")) > 10_000
    page.emulate_media(media="print")
    assert all(section.is_visible() for section in page.locator("section").all())


def test_html_report_fits_a_narrow_window(page: Any) -> None:
    page.set_viewport_size({"width": 400, "height": 800})
    overflow = page.evaluate("() => document.documentElement.scrollWidth - window.innerWidth")
    assert overflow <= 0


def _luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.1) of ``rgb(r, g, b)``."""
    parts = [int(part) / 255 for part in colour.strip("rgb()").split(",")[:3]]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
