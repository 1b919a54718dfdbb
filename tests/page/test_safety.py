"""Model output is hostile: nothing in it runs, loads or sends anything. `chat_of` watches for the last two."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import expect

from tests.page.chat import Chat
from tests.unit.front.page.hostile import HOSTILE

# What is in the rendered text, other than the page's own buttons, and must not be.
FORBIDDEN = r"""() => {
    const elements = /^(script|style|link|meta|base|iframe|object|embed|form|input|button|img|svg|video|audio)$/i;
    const attributes = /^(on.*|style|srcdoc|id|name)$/i;
    const links = /^(https?|mailto):/;
    return [...document.querySelectorAll('.markdown *')].filter((e) => !e.closest('.code-bar')).flatMap((e) => [
        ...(elements.test(e.localName) ? [e.localName] : []),
        ...[...e.attributes].filter((a) => attributes.test(a.name)).map((a) => `${e.localName} ${a.name}`),
        ...(e.href === undefined || links.test(e.href.baseVal ?? e.href) ? [] : [`${e.localName} ${e.href}`]),
    ]);
}"""


@pytest.mark.timeout(1200)  # half a minute where little else runs
def test_hostile_answers_do_nothing(chat: Chat) -> None:
    for number in range(len(HOSTILE)):
        chat.ask(f"[hostile {number}]")
        expect(chat.answers).to_have_count(number + 1)
        chat.done()
        chat.thinking.locator("summary").click()
        expect(chat.thinking.locator(".reasoning")).not_to_be_empty()
    # Time for what would load or run later.
    chat.page.wait_for_timeout(500)
    assert chat.page.evaluate("typeof window.hit") == "undefined"
    assert chat.page.evaluate(FORBIDDEN) == []
    expect(chat.page).to_have_url(re.compile(f"^{re.escape(chat.front.url)}/#[0-9a-f]{{32}}$"))


@pytest.mark.parametrize("hostile", ["<img src=x onerror=window.hit=1>", "<script>window.hit=1</script>"])
def test_what_others_say_is_text(chat: Chat, hostile: str) -> None:
    """Messages, titles, files, names and arguments of calls, errors."""
    function = {"name": hostile, "arguments": json.dumps({hostile: hostile})}
    call = {"index": 0, "id": hostile, "type": "function", "function": function}
    finish = {"delta": {}, "finish_reason": "tool_calls"}
    chat.plays({"delta": {"tool_calls": [call]}}, finish, id=hostile, model=hostile)
    chat.page.set_input_files("#attach-file", {"name": hostile, "mimeType": "text/plain", "buffer": hostile.encode()})
    expect(chat.page.get_by_role("list", name="Attached files")).to_contain_text(hostile)
    chat.ask(hostile)
    chat.done()
    expect(chat.answer).to_contain_text(hostile)
    expect(chat.questions.first).to_contain_text(hostile)
    expect(chat.conversations.first).to_have_text(hostile)
    error = json.dumps({"error": {"message": hostile, "param": hostile, "code": hostile}})
    chat.page.route("**/v1/chat/completions", lambda route: route.fulfill(status=400, body=error))
    chat.answer.get_by_role("button", name="Answer again").click()
    expect(chat.answer.get_by_role("alert")).to_contain_text(hostile)
    assert chat.page.evaluate("typeof window.hit") == "undefined"


def test_a_hostile_import_is_text(chat: Chat) -> None:
    hostile = "<img src=x onerror=window.hit=1>"
    message = {"id": "m", "conversation": "c", "parent": None, "created": 1, "role": "user", "content": hostile}
    conversation = {"id": "c", "title": hostile, "created": 1, "updated": 1, "leaf": "m", "messages": [message]}
    export = json.dumps({"format": "nemotron-chat-export", "version": 1, "conversations": [conversation]})
    chat.page.set_input_files(
        "#import-file", {"name": "a.json", "mimeType": "application/json", "buffer": export.encode()}
    )
    chat.conversations.first.click()
    expect(chat.questions.first).to_have_text(hostile)
    assert chat.page.evaluate("typeof window.hit") == "undefined"


def test_the_policy_stops_what_got_through(chat: Chat) -> None:
    """The second wall: even HTML that no sanitizer has seen neither runs nor loads."""
    html = "<img src=x onerror=window.hit=1><img src=https://evil.example/x.png><p>shown</p>"
    rendered = json.dumps({"blocks": [html], "open": "", "consumed": 16})
    chat.page.route("**/page/render", lambda route: route.fulfill(content_type="application/json", body=rendered))
    chat.ask("Hello.")
    chat.done()
    expect(chat.content).to_contain_text("shown")
    stopped = ("Executing inline event handler violates", "Loading the image 'https://evil.example/x.png' violates")
    chat.until(lambda: all(any(words in fault for fault in chat.faults) for words in stopped))
    chat.page.wait_for_timeout(500)
    assert chat.page.evaluate("typeof window.hit") == "undefined"
    chat.faults.clear()
