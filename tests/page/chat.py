"""The page as a test uses it: what a person sees and does."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import ConsoleMessage, Locator, Page, Request, expect

from tests.integration.conftest import Front

LIMIT_S = 60
"""What anything may take: a hundred times what it takes where nothing else runs."""


class Chat:
    """An opened page.

    Attributes:
        page: The browser's page.
        front: What it is of.
        faults: What it did that it must not, for the fixture to see.
    """

    def __init__(self, page: Page, front: Front, pictures: Path) -> None:
        self.page = page
        self.front = front
        self.faults: list[str] = []
        self._pictures = pictures
        page.on("request", self._asked)
        page.on("console", self._wrote)
        page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        page.on("popup", lambda popup: self.faults.append(f"opened {popup.url}"))
        page.on("dialog", lambda dialog: self.faults.append(f"dialog: {dialog.message}"))

    def open(self) -> Chat:
        """Load the page, and wait until it can be used."""
        self.page.goto(f"{self.front.url}/")
        self.ready()
        expect(self.page.locator(".welcome")).to_be_visible()
        return self

    def reload(self) -> Chat:
        """The same once more."""
        self.page.reload()
        return self.ready()

    def ready(self) -> Chat:
        """Wait until what is seen can be used: it is there before its scripts."""
        expect(self.page.locator("#app")).not_to_have_attribute("aria-busy", "true")
        return self

    def learnt(self) -> Chat:
        """Wait until the page knows the model, and so how long an answer may be: a test asks sooner than a person."""
        expect(self.page.locator("#model")).not_to_be_empty()
        return self

    @property
    def input(self) -> Locator:
        return self.page.get_by_role("textbox", name="Message", exact=True)

    @property
    def answers(self) -> Locator:
        return self.page.get_by_role("article", name="Assistant")

    @property
    def answer(self) -> Locator:
        """The last one."""
        return self.answers.last

    @property
    def content(self) -> Locator:
        """What the last answer says, without its thinking."""
        return self.answer.locator(".content")

    @property
    def thinking(self) -> Locator:
        return self.answer.locator("details.thinking")

    @property
    def questions(self) -> Locator:
        return self.page.get_by_role("article", name="You")

    @property
    def stop(self) -> Locator:
        return self.page.get_by_role("button", name="Stop", exact=True)

    @property
    def conversations(self) -> Locator:
        return self.page.locator("#conversations .open")

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def ask(self, text: str) -> None:
        """Send a message."""
        self.input.fill(text)
        self.input.press("Enter")

    def done(self) -> None:
        """Wait until the last answer is over, whatever became of it, and all of it is shown."""
        expect(self.answer).to_have_attribute("aria-busy", "false")
        expect(self.content).not_to_have_attribute("aria-busy", "true")

    def asked(self, text: str) -> str:
        """Send a message and wait for the whole answer; what it says."""
        self.ask(text)
        self.done()
        expect(self.content).not_to_be_empty()
        said: str = self.content.inner_text()
        return said

    def set(self, **fields: str) -> None:
        """Change settings, by the labels of their fields with _ for spaces."""
        self.button("Settings").click()
        dialog = self.page.get_by_role("dialog")
        for name, value in fields.items():
            field = dialog.get_by_label(name.replace("_", " "), exact=True)
            if field.evaluate("field => field.tagName") == "SELECT":
                field.select_option(value)
            else:
                field.fill(value)
        dialog.get_by_role("button", name="Save", exact=True).click()
        # It closes once all is kept, or says what is wrong.
        saved = self.page.locator("html:not(:has(dialog))")
        expect(saved.or_(dialog.locator("[role=alert]:not([hidden])"))).to_be_attached()

    def lengthy(self) -> None:
        """Let answers of this conversation be longer than a test takes: three minutes."""
        self.set(Max_tokens="90000")

    def plays(self, *choices: dict[str, Any], **fields: Any) -> None:
        """Answer the page's requests with these parts of a stream, each an event of its own, in the server's place."""
        events = [json.dumps({"id": "chatcmpl-1", **fields, "choices": [{"index": 0, **choice}]}) for choice in choices]
        body = "".join(f"data: {event}\n\n" for event in [*events, "[DONE]"])
        self.page.route(
            "**/v1/chat/completions", lambda route: route.fulfill(content_type="text/event-stream", body=body)
        )

    def sent(self, text: str) -> dict[str, Any]:
        """Send a message; the body of the request that it makes."""
        with self.page.expect_request("**/v1/chat/completions") as request:
            self.ask(text)
        body: dict[str, Any] = request.value.post_data_json
        return body

    def menu(self, title: str, entry: str) -> None:
        """Choose from the menu of a conversation."""
        row = self.page.locator("#conversations li", has_text=title)
        row.locator("summary").click()
        row.get_by_role("button", name=entry, exact=True).click()

    def exported(self) -> dict[str, Any]:
        """What is in the file of all conversations."""
        with self.page.expect_download() as download:
            self.button("Export all conversations").click()
        value: dict[str, Any] = json.loads(download.value.path().read_text())
        return value

    def import_file(self, value: dict[str, Any]) -> None:
        """Choose such a file to be imported."""
        file: Any = {"name": "a.json", "mimeType": "application/json", "buffer": json.dumps(value).encode()}
        self.page.set_input_files("#import-file", file)

    def no_room(self) -> None:
        """Let the browser have none left for this page."""
        self.page.evaluate(
            """() => {
                const full = () => { throw new DOMException("no room", "QuotaExceededError"); };
                Storage.prototype.setItem = full;
                const put = IDBObjectStore.prototype.put;
                IDBObjectStore.prototype.put = function (value) {
                    put.call(this, value);
                    if (this.name === "messages") full();
                };
            }"""
        )

    def warned(self, text: str) -> None:
        """Wait until the page says this above the messages, and to screen readers too."""
        banner = self.page.locator("#banner")
        expect(banner).to_be_visible()
        expect(banner).to_contain_text(text)
        expect(self.page.locator("#announce")).to_contain_text(text)

    def until(self, condition: Callable[[], object]) -> None:
        """Wait until something holds. What the page does is heard of meanwhile, which a test that sleeps would not."""
        deadline = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < deadline, f"not true within {LIMIT_S} s"
            self.page.wait_for_timeout(20)

    def grown(self) -> None:
        """Wait until the last answer says more than it does now."""
        length = len(self.content.inner_text())
        self.until(lambda: len(self.content.inner_text()) > length + 100)

    def nothing_kept(self) -> None:
        """Wait until the list of conversations is drawn, and empty."""
        expect(self.page.locator("#conversations .none")).to_be_attached()
        expect(self.conversations).to_have_count(0)

    def quiet(self) -> None:
        """Take away what `warned` waits for, so that the next time is one of its own."""
        self.page.evaluate("document.querySelector('#banner').hidden = true")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((f"{self.front.url}/", "blob:", "data:")):
            self.faults.append(f"asked {request.url}")

    def _wrote(self, message: ConsoleMessage) -> None:
        # The browser writes of each request that is refused, too: the page itself says so to the user.
        if message.type in ("error", "warning") and not message.text.startswith("Failed to load resource"):
            self.faults.append(f"console: {message.text}")

    def picture(self, name: str) -> None:
        """Keep a screenshot."""
        self.page.screenshot(path=self._pictures / f"{name}.png")
