"""The page of an evaluation in a real browser, on a broad screen and on a phone, light and dark."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nemotron_evals.card import CARD, MODES
from nemotron_evals.logs import Sample
from nemotron_evals.page import page_html
from nemotron_evals.report import make_report
from tests.evals import streams
from tests.page.chat import LIMIT_S

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a run of every benchmark, with an answer to read whose lines are long."""
    run = streams.run(
        *(
            streams.measured(
                of,
                mode,
                {metric.name: [[metric.card[mode] * metric.unit] * 2] * of.questions for metric in of.metrics},
                weights=[1.0] * of.questions,
                categories=["simple"] * of.questions if of.name == "bfcl" else None,
            )
            for of in CARD
            for mode in MODES
        ),
        judge="gpt-4",
    )
    long = Sample("one", 0, {"accuracy": 0.0}, False, True, 32768, "question", "x" * 3000, "<b>bold</b>", "why")
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page_html(make_report(run), run, {("math500", "on"): [long]}), encoding="utf-8")
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "shown", "hidden"), [(1280, "broad", "narrow"), (375, "narrow", "broad")])
def test_the_page_fits_and_asks_nobody(
    browser: Browser, page_file: Path, pictures: Path, width: int, shown: str, hidden: str, scheme: str
) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    context.set_default_timeout(LIMIT_S * 1000)
    try:
        page = context.new_page()
        said: list[str] = []
        asked: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(page_file.as_uri())
        page.locator("details").evaluate_all("all => all.forEach(one => one.open = true)")
        page.screenshot(path=pictures / f"evaluation-{width}-{scheme}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert said == []
        assert asked == [page_file.as_uri()]
        assert page.locator(f"svg.{shown}:visible").count() == 2
        assert page.locator(f"svg.{hidden}:visible").count() == 0
        assert page.locator("b", has_text="bold").count() == 0
        background, text = (
            sum(map(int, re.findall(r"\d+", page.evaluate(f"getComputedStyle(document.body).{name}"))))
            for name in ("backgroundColor", "color")
        )
        assert (background < text) == (scheme == "dark")
    finally:
        context.close()
