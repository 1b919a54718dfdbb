"""What the page asks the server for: settings, tools, formats, files; and the same as code."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.integration.conftest import Front
from tests.page.chat import Chat

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]
ALWAYS = {"model", "messages", "stream", "stream_options", "chat_template_kwargs", "max_tokens"}


def test_settings_go_along(chat: Chat) -> None:
    chat.set(
        System_prompt="Be brief.",
        Temperature="0.5",
        Top_p="0.9",
        Max_tokens="100",
        Seed="-7",
        Stop_strings="END\n\\n\\n",
    )
    body = chat.sent("Hello.")
    chat.done()
    assert body["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello."}]
    wanted = {"temperature": 0.5, "top_p": 0.9, "max_tokens": 100, "seed": -7, "stop": ["END", "\n\n"]}
    assert {name: body[name] for name in wanted} == wanted
    expect(chat.content).to_have_text("The first answer.")


def test_what_is_not_set_is_not_sent(chat: Chat) -> None:
    body = chat.sent("Hello.")
    chat.done()
    assert body.keys() == ALWAYS


def test_a_limit_that_nobody_set_leaves_room_for_the_prompt(front: Front, chat_of: Callable[..., Chat]) -> None:
    """What the package has for programs would cut a conversation short."""
    chat = chat_of(front)
    listed = {"data": [{"id": "m", "max_model_len": 8192}]}
    chat.page.route("**/v1/models", lambda route: route.fulfill(json=listed))
    chat.page.route("**/v1/chat/completions", lambda route: route.fulfill(status=400, json={"error": {"message": "-"}}))
    chat.open()
    expect(chat.page.get_by_text("m", exact=True)).to_be_visible()
    assert chat.sent("Hello.")["max_tokens"] == 4096
    chat.done()
    assert 256 <= chat.sent("x" * 6000)["max_tokens"] <= 8192 - 6000
    chat.done()
    assert "max_tokens" not in chat.sent("x" * 8000)
    chat.done()


def test_settings_belong_to_a_conversation_and_can_be_the_default(chat: Chat) -> None:
    chat.set(Temperature="0.5")
    chat.asked("Hello.")
    chat.button("New chat").click()
    assert "temperature" not in chat.sent("Hello again.")
    chat.done()
    chat.button("Settings").click()
    dialog = chat.page.get_by_role("dialog")
    dialog.get_by_label("Temperature").fill("0.25")
    dialog.get_by_role("button", name="Save as default for new chats").click()
    expect(dialog).to_be_hidden()
    chat.reload()
    # It is the setting of the conversation that was open, too.
    expect(chat.questions).to_have_text(["Hello again."])
    assert chat.sent("A third.")["temperature"] == 0.25
    chat.done()
    chat.button("New chat").click()
    assert chat.sent("A fourth.")["temperature"] == 0.25
    chat.done()
    chat.conversations.get_by_text("Hello.", exact=True).click()
    expect(chat.questions).to_have_text(["Hello."])
    assert chat.sent("Go on.")["temperature"] == 0.5
    chat.done()


SLOW_STORE = """() => {
    const get = IDBObjectStore.prototype.getKey;
    IDBObjectStore.prototype.getKey = function (key) {
        // A chain of other requests: this transaction's next answer comes late.
        for (let i = 0; i < 500; i++) this.count();
        return get.call(this, key);
    };
}"""


def test_what_is_shown_as_saved_is_there_after_a_reload_at_once(chat: Chat) -> None:
    """However slow the browser's store is."""
    chat.asked("Hello.")
    chat.page.evaluate(SLOW_STORE)
    chat.set(Temperature="0.5")
    expect(chat.page.get_by_role("dialog")).to_be_hidden()
    chat.reload()
    chat.page.evaluate(SLOW_STORE)
    assert chat.sent("[second] And?")["temperature"] == 0.5
    chat.done()
    chat.reload()
    expect(chat.content).to_have_text("The second answer.")
    expect(chat.answer).not_to_contain_text("The page was closed")


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"Temperature": "3"}, "Temperature: a number from 0 to 2 is expected."),
        ({"Max_tokens": "1.5"}, "Max tokens: a whole number of at least 1 is expected."),
        ({"Tools": "[{"}, "Tools: this is not JSON"),
        ({"Tools": "{}"}, "Tools: a list of"),
        ({"Answer_format": "json_schema", "JSON_schema": "[]"}, "JSON schema: an object is expected."),
        ({"Tools": json.dumps(TOOLS), "Answer_format": "json_object"}, "cannot be used together"),
    ],
)
def test_wrong_settings_are_told_and_not_saved(chat: Chat, fields: dict[str, str], wrong: str) -> None:
    chat.set(**fields)
    told = chat.page.get_by_role("dialog").get_by_role("alert")
    expect(told).to_contain_text(wrong)
    # The form is higher than the window, and the button always in it.
    expect(told).to_be_in_viewport(ratio=1)
    chat.page.keyboard.press("Escape")
    expect(chat.page.get_by_role("dialog")).to_have_count(0)
    assert chat.sent("Hello.").keys() == ALWAYS
    chat.done()


def test_a_tool_is_called_and_its_result_goes_back(chat: Chat) -> None:
    chat.button("Thinking").click()
    chat.set(Tools=json.dumps(TOOLS))
    expect(chat.page.get_by_text("1 tool", exact=True)).to_be_visible()
    body = chat.sent("[tool] What is the weather in Bangkok?")
    assert (body["tools"], body["tool_choice"]) == (TOOLS, "auto")
    chat.done()
    call = chat.answer.get_by_role("region", name="Calls get_weather")
    expect(call.locator("pre")).to_have_text('{\n  "city": "Bangkok"\n}')
    # A message now would leave the call without its result.
    chat.ask("Never mind.")
    result = chat.page.get_by_label("Result of get_weather")
    expect(result).to_be_focused()
    result.fill('{"celsius": 31}')
    with chat.page.expect_request("**/v1/chat/completions") as request:
        chat.button("Send results").click()
    expect(chat.content).to_have_text("It is 31 °C in Bangkok.")
    _, calling, given = request.value.post_data_json["messages"]
    assert json.loads(calling["tool_calls"][0]["function"]["arguments"]) == {"city": "Bangkok"}
    assert given == {"role": "tool", "tool_call_id": calling["tool_calls"][0]["id"], "content": '{"celsius": 31}'}
    expect(chat.button("Send results")).to_have_count(0)
    # It is all there after a reload.
    chat.done()
    chat.reload()
    chat.conversations.first.click()
    expect(chat.page.get_by_role("article", name="Result of get_weather")).to_be_visible()


def test_a_required_call_is_not_required_again_with_its_result(chat: Chat) -> None:
    """The simulated engine cannot follow grammars, so a script plays the server."""
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    chat.set(Tools=json.dumps(TOOLS), Tool_choice="required")
    chat.plays({"delta": {"tool_calls": [call]}}, {"delta": {}, "finish_reason": "tool_calls"})
    assert chat.sent("Hello.")["tool_choice"] == "required"
    chat.done()
    chat.page.unroute("**/v1/chat/completions")
    chat.page.get_by_label("Result of get_weather").fill("31")
    with chat.page.expect_request("**/v1/chat/completions") as request:
        chat.button("Send results").click()
    assert request.value.post_data_json["tool_choice"] == "auto"
    chat.done()


def test_an_answer_that_follows_a_schema_is_asked_for(chat: Chat) -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    chat.set(Answer_format="json_schema", JSON_schema=json.dumps(schema))
    expect(chat.page.locator("#extras").get_by_text("JSON schema", exact=True)).to_be_visible()
    body = chat.sent("Hello.")
    assert body["response_format"] == {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    chat.done()


def test_text_files_are_attached(chat: Chat) -> None:
    inside = "before\n```\nfenced\n```\nafter\n"
    files: list[Any] = [
        {"name": "notes.md", "mimeType": "text/markdown", "buffer": inside.encode()},
        {"name": "other.txt", "mimeType": "text/plain", "buffer": b"gone"},
    ]
    chat.page.set_input_files("#attach-file", files)
    chat.button("Remove other.txt").click()
    content = chat.sent("What does it say?")["messages"][0]["content"]
    assert content == f"notes.md:\n````\n{inside}````\n\nWhat does it say?"
    chat.done()
    file = chat.questions.last.locator("details.file")
    expect(file).to_contain_text("notes.md")
    file.locator("summary").click()
    expect(file.locator("pre")).to_have_text(inside)


def test_files_are_dropped(chat: Chat) -> None:
    transfer = chat.page.evaluate_handle(
        "() => { const t = new DataTransfer(); t.items.add(new File(['dropped text'], 'drop.txt')); return t; }"
    )
    for event in ("dragenter", "dragover", "drop"):
        chat.page.dispatch_event("main", event, {"dataTransfer": transfer})
    expect(chat.page.get_by_role("list", name="Attached files")).to_contain_text("drop.txt")
    assert "dropped text" in chat.sent("Read it.")["messages"][0]["content"]
    chat.done()


PASTE = """(area, text) => {
    const clipboardData = new DataTransfer();
    clipboardData.setData("text/plain", text);
    const event = new ClipboardEvent("paste", {clipboardData, bubbles: true, cancelable: true});
    return area.dispatchEvent(event);
}"""


def test_a_very_long_text_that_is_pasted_becomes_a_file(chat: Chat) -> None:
    """In the box it would hold up the browser."""
    attached = chat.page.get_by_role("list", name="Attached files")
    assert chat.input.evaluate(PASTE, "short")  # is left to the browser
    assert not chat.input.evaluate(PASTE, "long line\n" * 20_000)
    expect(attached).to_contain_text("pasted.txt")
    assert not chat.input.evaluate(PASTE, "long line\n" * 200_000)
    chat.warned("“pasted.txt” has 1953 kB; files up to 512 kB can be attached.")
    expect(attached.get_by_role("listitem")).to_have_count(1)
    expect(chat.input).to_have_value("")


def test_what_is_no_text_is_not_attached(chat: Chat) -> None:
    for content in (b"\xff\xfe\x00", b"a\0b"):
        files: Any = {"name": "data.bin", "mimeType": "application/octet-stream", "buffer": content}
        chat.page.set_input_files("#attach-file", files)
        chat.warned("is no text in UTF-8")
        chat.quiet()
    expect(chat.page.get_by_role("list", name="Attached files")).to_be_hidden()


def test_the_next_request_is_shown_as_code(chat: Chat) -> None:
    chat.set(Temperature="0.5", Tools=json.dumps(TOOLS))
    sent = chat.sent('It\'s a "test"\n$HOME `x` é')
    chat.done()
    chat.input.fill("And this?")
    chat.button("View as code").click()
    dialog = chat.page.get_by_role("dialog")
    source = dialog.locator("#code-text")
    curl = source.inner_text()
    head, _, rest = curl.partition("<<'JSON'\n")
    assert f"curl -N {chat.front.url}/v1/chat/completions" in head
    body = json.loads(rest.removesuffix("\n").removesuffix("JSON"))
    assert body["messages"] == [
        *sent["messages"],
        {"role": "assistant", "content": "The first answer."},
        {"role": "user", "content": "And this?"},
    ]
    dialog.get_by_role("button", name="Python", exact=True).click()
    program = ast.parse(source.inner_text())
    (create,) = [
        node
        for node in ast.walk(program)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "create"
    ]
    given = {keyword.arg: ast.literal_eval(keyword.value) for keyword in create.keywords}
    extra = given.pop("extra_body")
    assert {**given, **extra} == body
    assert given["temperature"] == 0.5


def test_answers_and_code_are_copied(front: Front, chat_of: Callable[..., Chat]) -> None:
    chat = chat_of(front, permissions=["clipboard-read", "clipboard-write"]).open()
    chat.asked("Hello.")
    copied = "navigator.clipboard.readText()"
    chat.answer.get_by_role("button", name="Copy", exact=True).click()
    chat.until(lambda: chat.page.evaluate(copied) == "The first answer.")
    chat.ask("[markdown]")
    chat.done()
    chat.answer.get_by_role("button", name="Copy code").first.click()
    chat.until(lambda: re.match(r"from sympy import .*\n\nx = Symbol", chat.page.evaluate(copied)))
    assert not chat.page.evaluate(copied).endswith("\n")
