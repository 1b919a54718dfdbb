"""The chat page in a real browser, of a real front before a real server with the simulated engine. `make test-page`.

`make test` does not run this directory: it needs Debian's chromium, and playwright to drive it. A test fails where the
page asks another origin for anything, breaks its own policy, or writes an error to the console.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.conftest import Front, Server, fronting, serving, simulated_package
from tests.page.scripts import SCRIPTS

if TYPE_CHECKING:  # what lists the tests can do without playwright
    from playwright.sync_api import Browser

    from tests.page.chat import Chat

__all__ = ["simulated_package"]  # a fixture

_WIDTH, _HEIGHT = 1280, 800
_PICTURES = pytest.StashKey[Path]()


@pytest.fixture(scope="session")
def server(simulated_package: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Plays `SCRIPTS`, a token (one byte) every two milliseconds.

    There is room for what the test before has left: its answers end soon after its pages are closed.
    """
    script = tmp_path_factory.mktemp("script") / "script.json"
    script.write_text(json.dumps(SCRIPTS))
    limits = ["--max-batch-size", "8", "--max-waiting", "0"]
    package = simulated_package("--ttft-ms", "20", "--token-ms", "2", *limits, "--script", str(script))
    with serving(package, tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="session")
def front(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """Beside `server`."""
    with fronting(server, tmp_path_factory.mktemp("front")) as front:
        yield front


@pytest.fixture(scope="package")  # while it is there, asyncio.run() fails in this thread: not in other packages' tests
def browser() -> Iterator[Browser]:
    """Debian's chromium. Root may not have its sandbox, and the pages here are our own."""
    from playwright.sync_api import expect, sync_playwright

    from tests.page.chat import LIMIT_S

    program = shutil.which("chromium")
    assert program, "chromium is missing: run 'make setup-page'"
    expect.set_options(timeout=LIMIT_S * 1000)
    with sync_playwright() as playwright:
        # A wheel has moved the page once it has begun to.
        args = ["--no-sandbox", "--disable-smooth-scrolling"]
        browser = playwright.chromium.launch(executable_path=program, args=args, timeout=LIMIT_S * 1000)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def pictures(request: pytest.FixtureRequest) -> Path:
    """Where screenshots go, for a person to look at: a new directory, named at the end."""
    path = Path(tempfile.mkdtemp(prefix="chat-page-"))
    request.config.stash[_PICTURES] = path
    return path


@pytest.fixture
def chat_of(browser: Browser, pictures: Path) -> Iterator[Callable[..., Chat]]:
    """Opens the page of a front in a browser of its own: of a `width`, with a `theme` ("light" or "dark")."""
    from tests.page.chat import LIMIT_S, Chat

    opened: list[Chat] = []

    def make(front: Front, width: int = _WIDTH, theme: str = "light", **context: Any) -> Chat:
        window = browser.new_context(viewport={"width": width, "height": _HEIGHT}, color_scheme=theme, **context)
        window.set_default_timeout(LIMIT_S * 1000)
        opened.append(Chat(window.new_page(), front, pictures))
        return opened[-1]

    yield make
    for chat in opened:
        chat.page.context.close()
    assert [fault for chat in opened for fault in chat.faults] == []


@pytest.fixture
def chat(chat_of: Callable[..., Chat], front: Front) -> Chat:
    """The page of `front`, opened."""
    return chat_of(front).open().learnt()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Called by pytest."""
    if path := config.stash.get(_PICTURES, None):
        terminalreporter.write_line(f"Screenshots to look at: {path}")
