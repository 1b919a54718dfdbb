"""POST /page/render: what it takes and gives, and what is shown where rendering fails."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import psutil
import pytest

from nemotron_front.page.markdown import render
from nemotron_front.page.rendering import MAX_LENGTH, Rendering
from nemotron_front.page.styles import stylesheet
from tests.unit.front.conftest import FrontOf

TEXT = "# Title\n\nSome **text** 😀\n\nand"


def processes() -> list[psutil.Process]:
    """Those that render for this one."""
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):  # it has ended
            found += [child] if child.cmdline()[-1] == "nemotron_front.page" else []
    return found


def test_text_becomes_html(front_of: FrontOf) -> None:
    front = front_of()
    answer = front.post("/page/render", {"text": TEXT})
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "blocks": ["<h1>Title</h1>\n"],
        "open": "<p>Some <strong>text</strong> 😀</p>\n<p>and</p>\n",
        "consumed": 9,
    }
    whole = front.post("/page/render", {"text": TEXT, "final": True}).json()
    assert whole == {"blocks": render(TEXT, final=True).blocks, "open": "", "consumed": len(TEXT) + 1}
    assert front.post("/page/render", {"text": "", "final": True}).json() == {"blocks": [], "open": "", "consumed": 0}


@pytest.mark.parametrize(
    ("body", "status", "param", "code"),
    [
        ({}, 400, "text", "invalid_value"),
        ({"text": 5}, 400, "text", "invalid_value"),
        ({"text": "a", "final": "yes"}, 400, "final", "invalid_value"),
        ({"text": "a", "style": 1}, 400, "style", "unknown_parameter"),
        ({"text": "a" * (MAX_LENGTH + 1)}, 413, "text", "request_too_large"),
        (b"{", 400, None, "invalid_json"),
    ],
)
def test_what_it_does_not_take(front_of: FrontOf, body: Any, status: int, param: str | None, code: str) -> None:
    answer = front_of().post("/page/render", body)
    assert answer.status_code == status
    assert (answer.json()["error"]["param"], answer.json()["error"]["code"]) == (param, code)
    assert not processes()


def test_where_rendering_fails_the_text_is_shown_as_it_is() -> None:
    async def run() -> None:
        rendering = Rendering()
        assert json.loads(await rendering.render("**a**", final=True))["blocks"] == ["<p><strong>a</strong></p>\n"]
        (process,) = processes()
        process.kill()
        process.wait()
        plain = '<pre class="plain">😀 &lt;b&gt; **a**</pre>\n'
        assert json.loads(await rendering.render("😀 <b> **a**", final=False)) == {
            "blocks": [],
            "open": plain,
            "consumed": 0,
        }
        assert json.loads(await rendering.render("**a**", final=True))["blocks"] == ["<p><strong>a</strong></p>\n"]
        await rendering.close()
        assert not processes()

    asyncio.run(run())


def test_texts_do_not_mix() -> None:
    async def run() -> list[bytes]:
        rendering = Rendering()
        answers = await asyncio.gather(*(rendering.render(f"{number} *a*", final=True) for number in range(20)))
        left = asyncio.create_task(rendering.render("left", final=True))
        await asyncio.sleep(0)
        left.cancel()
        answers.append(await rendering.render("20 *a*", final=True))
        await rendering.close()
        return answers

    answers = asyncio.run(run())
    assert [json.loads(answer)["blocks"] for answer in answers] == [[f"<p>{n} <em>a</em></p>\n"] for n in range(21)]


def test_the_style_sheet_has_both_themes_and_loads_nothing() -> None:
    css = stylesheet()
    assert ":root[data-theme=dark]" in css
    assert "prefers-color-scheme: dark" in css
    assert css.count("{") == css.count("}")
    assert "url(" not in css
    assert "@import" not in css


def test_every_class_is_styled_or_is_the_pages() -> None:
    css = stylesheet()
    html = "".join(
        render("\\[\\boxed{\\begin{aligned}a&=\\cancel{b}\\end{aligned}}\\]\n```py\nx = 1\n```", final=True).blocks
    )
    for name in ("math-block", "m-right", "m-left", "m-tight-left", "n", "mi"):
        assert name in html
        assert f".{name} {{" in css
