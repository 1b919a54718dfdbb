"""Makes the pictures plan.png, chat.svg, report.png and chat-page.png in docs/images anew: `make images`.

Needs a served demo package, whose address NEMOTRON_URL names, and what `make setup-page` installs. The other pictures
in that directory, request.svg and build.svg, are written by hand.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from nemotron_client import Client, ReasoningDelta, UserMessage
from nemotron_client.chat.screen import Screen

_IMAGES = Path(__file__).with_name("images")
_BIN = Path(sys.executable).parent
_QUESTION = "How do plants make food?"
_COLUMNS = 92
_REPORT_SIZE = "900,764"
_PAGE_SIZE = {"width": 1000, "height": 760}
# As even as a load can be, so that two minutes are enough to call it steady.
_SCENARIO = """
description = "A request every half second, a quarter of them with thinking"
duration_s = 130
warmup_s = 10
slo = "server"

[arrivals]
kind = "constant"
rate = 2.0

[workload]
kind = "synthetic"
input_tokens = 128
output_tokens = 32
thinking_share = 0.25
max_thinking_tokens = 16
"""
# What the chat draws for a moment and overwrites, and the codes that move the cursor.
_PASSING = re.compile(r"\x1b\[\?7l.*?\x1b\[\?7h\r(?:\x1b\[\d+A)?|\x1b\[\?\d+[hl]|\r ?(?:\x1b\[J)?\r?", re.DOTALL)


_EQUATION = "Solve x·(sin(x) + 2) = 0."
_SOLUTION = r"""A product is zero exactly when **one of its factors** is zero.

1. The first factor gives $x = 0$.
2. The second asks for $\sin x = -2$, which no real number satisfies, for $-1 \le \sin x \le 1$.

$$\boxed{x = 0}$$

To check it:

```python
from sympy import S, Symbol, sin, solveset

x = Symbol("x", real=True)
print(solveset(x * (sin(x) + 2), x, domain=S.Reals))  # {0}
```
"""
_THOUGHT = "A product is zero when a factor is. The sine is never -2 for a real number. " * 2


def main() -> None:
    """Write the pictures."""
    _plan(_IMAGES / "plan.png")
    _chat(_IMAGES / "chat.svg")
    _report(_IMAGES / "report.png")
    _page(_IMAGES / "chat-page.png")


def _plan(picture: Path) -> None:
    subprocess.run([_BIN / "nemotron-build", "plan", "--profile", "h100-fp8", "--plot", picture], check=True)


def _chat(picture: Path) -> None:
    """A real answer as nemotron-chat shows it, with its thinking folded."""
    file = io.StringIO()
    screen = Screen(Console(file=file, force_terminal=True, width=_COLUMNS, height=40), live=True)
    screen.show(f"> {_QUESTION}")
    view = screen.answer()
    with (
        Client() as client,
        client.stream_chat(
            [UserMessage(_QUESTION)], thinking=True, max_thinking_tokens=40, max_tokens=260, stop_words=["\n3"]
        ) as stream,
    ):
        for event in stream:
            if isinstance(event, ReasoningDelta):
                usage = stream.usage_so_far
                view.reasoning(event.text, usage.reasoning_tokens if usage else 0)
            else:
                view.content(getattr(event, "text", ""))
    view.end()
    shown = Console(record=True, file=io.StringIO(), width=_COLUMNS)
    shown.print(Text.from_ansi(_PASSING.sub("", file.getvalue())))
    shown.save_svg(str(picture), title="nemotron-chat --thinking --budget 40", theme=MONOKAI)


def _report(picture: Path) -> None:
    """The top of a load test's report, of the simulated engine, whose times do not depend on this machine."""
    with tempfile.TemporaryDirectory() as directory:
        package, scenario, results = (Path(directory) / name for name in ("simulated", "steady.toml", "steady"))
        scenario.write_text(_SCENARIO)
        simulated = [_BIN / "nemotron-build", "simulated", "-o", package, "--ttft-ms", "80", "--token-ms", "9"]
        subprocess.run(simulated, check=True)
        serve = [_BIN / "nemotron-serve", package, "--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]
        subprocess.run([*serve, "--", _BIN / "nemotron-bench", "run", scenario, "-o", results], check=True)
        options = ["--headless", "--no-sandbox", "--hide-scrollbars", f"--window-size={_REPORT_SIZE}"]
        page = (results / "report.html").as_uri()
        subprocess.run(["chromium", *options, f"--screenshot={picture}", page], check=True, stderr=subprocess.DEVNULL)


def _page(picture: Path) -> None:
    """The chat page with an answer of the simulated engine, which needs no model that can solve equations."""
    with tempfile.TemporaryDirectory() as directory:
        package, script = Path(directory) / "simulated", Path(directory) / "script.json"
        script.write_text(json.dumps([{"match": "", "thinking": _THOUGHT, "answer": _SOLUTION}]))
        simulated = [_BIN / "nemotron-build", "simulated", "-o", package, "--token-ms", "5", "--script", script]
        subprocess.run(simulated, check=True)
        ports = ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0", "--openai-port", "0"]
        ask = [sys.executable, __file__, "--ask-on-page", picture]
        subprocess.run([_BIN / "nemotron-serve", package, *ports, "--", *ask], check=True)


def _ask_on_page(picture: Path) -> None:
    """Ask in the browser, and wait for the answer; NEMOTRON_OPENAI_URL says where."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport=_PAGE_SIZE)
        page.goto(os.environ["NEMOTRON_OPENAI_URL"].removesuffix("/v1"))
        page.locator("#app:not([aria-busy])").wait_for()
        page.get_by_role("textbox", name="Message").fill(_EQUATION)
        page.keyboard.press("Enter")
        page.locator(".figures").wait_for()
        page.locator('.content[aria-busy="false"]').wait_for()
        page.screenshot(path=picture)
        browser.close()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--ask-on-page"]:
        _ask_on_page(Path(sys.argv[2]))
    else:
        main()
