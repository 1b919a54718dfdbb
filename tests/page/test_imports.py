"""Files of conversations: what is exported, imported, and refused."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import expect

from tests.integration.conftest import Front
from tests.page.chat import Chat
from tests.page.exports import file_of, message_of

SLOW_LIST = """() => {
    const all = IDBObjectStore.prototype.getAll;
    IDBObjectStore.prototype.getAll = function () {
        // The answer to the last of many requests comes after theirs.
        if (this.name === "conversations") for (let i = 0; i < 1000; i++) this.count();
        return all.call(this);
    };
}"""


def test_what_is_said_to_be_imported_is_in_the_list(chat: Chat) -> None:
    """However slow the browser's store is."""
    chat.page.evaluate(SLOW_LIST)
    for number, titles in ((1, ["By hand"]), (2, ["By hand", "By hand"])):
        chat.import_file(file_of(message_of(f"m{number}", None, conversation=f"c{number}"), id=f"c{number}"))
        chat.warned("1 conversation imported.")
        assert chat.conversations.all_inner_texts() == titles
        chat.quiet()


def test_an_export_is_imported_in_another_browser(chat: Chat, chat_of: Callable[..., Chat], tmp_path: Path) -> None:
    chat.asked("Take me along")
    chat.answer.get_by_role("button", name="Answer again").click()
    expect(chat.answer.get_by_text("2 of 2")).to_be_visible()
    chat.done()
    with chat.page.expect_download() as download:
        chat.button("Export all conversations").click()
    assert download.value.suggested_filename == "conversations.json"
    file = tmp_path / "export.json"
    download.value.save_as(file)
    assert json.loads(file.read_text())["conversations"][0]["title"] == "Take me along"

    other = chat_of(chat.front).open()
    for said in ("1 conversation imported.", "0 conversations imported, 1 were here already"):
        other.page.set_input_files("#import-file", file)
        other.warned(said)
    other.conversations.first.click()
    expect(other.content).to_have_text("The first answer.")
    expect(other.answer.get_by_text("2 of 2")).to_be_visible()


def test_another_file_is_not_imported(chat: Chat) -> None:
    for content in (
        b"no JSON",
        b"[]",
        b'{"format": "nemotron-chat-export", "version": 1, "conversations": [{"id": 1}]}',
    ):
        chat.page.set_input_files("#import-file", {"name": "a.json", "mimeType": "application/json", "buffer": content})
        chat.warned("This file holds no exported conversations" if b"id" not in content else "Nothing was imported")
        chat.quiet()
    chat.nothing_kept()


def _refused(chat: Chat, file: dict[str, Any], reason: str) -> None:
    chat.import_file(file)
    chat.warned(reason)
    chat.quiet()


def test_an_export_that_was_spoilt_is_not_imported(front: Front, chat_of: Callable[..., Chat]) -> None:
    """Each of these would break the page as it is opened, or take the place of something else."""
    chat = chat_of(front)
    # A question and its answer are of one millisecond, and an export has its messages in no order.
    chat.page.add_init_script("Date.now = () => 1e12")
    chat.open().asked("Hello.")
    whole = chat.exported()
    answer = {"calls": "x", "phase": "failed", "usage": 5, "rate": "fast", "reasoning": 5, "created": "now"}
    spoilt = [("assistant", name, value) for name, value in answer.items()] + [
        ("user", "files", 5),
        ("user", "parent", 5),
    ]
    files = []
    for role, name, value in spoilt:
        files.append(copy.deepcopy(whole))
        message = next(one for one in files[-1]["conversations"][0]["messages"] if one["role"] == role)
        message[name] = value
    for settings in ({"tools": 5}, {"tools": "no JSON"}, {"stop": "x"}, {"format": "other"}, 5):
        files.append(copy.deepcopy(whole))
        files[-1]["conversations"][0]["settings"] = settings
    files.append({**whole, "conversations": whole["conversations"] * 2})
    other = chat_of(chat.front).open()
    for file in files:
        _refused(other, file, "Nothing was imported")
    other.nothing_kept()
    # Under another name, the messages are still those of the conversation that is here.
    foreign = copy.deepcopy(whole)
    foreign["conversations"][0]["id"] = "another"
    for message in foreign["conversations"][0]["messages"]:
        message["conversation"] = "another"
    _refused(chat, foreign, "the identifier of another conversation's message")
    expect(chat.conversations).to_have_count(1)


def test_a_file_that_was_written_by_hand_is_imported_whole_or_not_at_all(chat: Chat) -> None:
    """Nothing of it, with the reason, where anything is wrong; and what is here stays as it is."""
    chat.asked("Hello.")
    before = chat.exported()["conversations"]
    question, answer = message_of("1", None), message_of("2", "1", "assistant", phase="done")
    good = file_of(question, answer)
    files = {
        "do not follow one another": [
            file_of(question, message_of("2", "3", "assistant"), message_of("3", "2")),  # a ring beside the tree
            file_of(message_of("1", "2"), message_of("2", "1", "assistant")),
            file_of(message_of("1", "1")),
            file_of(question, message_of("2", "missing", "assistant")),
            file_of(message_of("1", None, "assistant")),
            file_of(question, answer, leaf="missing"),
        ],
        "lacks a part": [
            file_of(question | {"content": 5}),
            file_of(question | {"created": "now"}),
            file_of(question | {"role": "system"}),
            file_of(question | {"conversation": "other"}),
            file_of(messages={}),
        ],
        "a title, a time": [
            file_of(title=None),
            file_of(updated="now"),
            file_of(leaf=5),
            file_of(id="<b>"),
            {**good, "conversations": [None]},
        ],
        "twice": [file_of(question, question), {**good, "conversations": good["conversations"] * 2}],
        "version 2": [{**good, "version": 2}],
        "no exported conversations": [{**good, "conversations": None}, {**good, "format": "other"}],
    }
    for reason, wrong in files.items():
        for file in wrong:
            _refused(chat, file, reason)
    # The first of these two is right.
    _refused(chat, {**good, "conversations": good["conversations"] + file_of(title=5)["conversations"]}, "a title")
    assert chat.exported()["conversations"] == before
    chat.import_file(good)
    chat.warned("1 conversation imported.")


def test_a_large_import_with_a_hostile_title_is_shown_as_text(chat: Chat) -> None:
    hostile = '<img src=x onerror="document.title=1"><script>document.title=2</script>'
    file = file_of(
        message_of("1", None), message_of("2", "1", "assistant", phase="done", content=hostile), title=hostile
    )
    large = message_of("3", None, conversation="d", content="word " * 1_000_000)
    file["conversations"] += file_of(large, id="d", title="Large", updated=0)["conversations"]
    chat.import_file(file)
    chat.warned("2 conversations imported.")
    expect(chat.conversations).to_have_text([hostile, "Large"])
    chat.conversations.first.click()
    expect(chat.page.get_by_role("heading", level=1)).to_have_text(hostile)
    expect(chat.content).to_have_text(hostile)
    expect(chat.page.locator("main img")).to_have_count(0)
    assert chat.page.title().startswith("<img")


def test_of_a_very_long_message_the_start_is_shown_and_all_of_it_on_demand(chat: Chat) -> None:
    """Millions of characters take a browser seconds to lay out."""
    question, code = "word " * 1_000_000, "x" * 300_000
    paragraphs = "\n\n".join(f"Paragraph **{number}** {'text ' * 600}" for number in range(100))
    messages = [
        message_of("1", None, content=question),
        message_of("2", "1", "assistant", phase="done", content=paragraphs),
    ]
    chat.import_file(file_of(*messages, message_of("3", "2", content="And?"), title="Long"))
    chat.warned("1 conversation imported.")
    chat.conversations.first.click()
    shown = chat.questions.first.locator(".plain")
    expect(shown).to_contain_text("word word")
    assert len(shown.inner_text()) < 100_000
    expect(shown.get_by_role("button")).to_have_text("Show all 5,000,000 characters")
    # The server renders it in pieces.
    expect(chat.content.locator("p strong")).to_have_text([str(number) for number in range(100)])
    # What is one block, and too long for it, is shown as it is.
    messages = [
        message_of(identifier, parent, role, conversation="d", phase="done", content=content)
        for identifier, parent, role, content in (("4", None, "user", "Code?"), ("5", "4", "assistant", code))
    ]
    chat.quiet()
    chat.import_file(file_of(*messages, id="d", title="Code", updated=2))
    chat.warned("1 conversation imported.")
    chat.conversations.first.click()
    expect(chat.content).to_contain_text("xxx")
    chat.content.get_by_role("button", name="Show all 300,000 characters").click()
    expect(chat.content.get_by_role("button")).to_have_count(0)
    assert chat.content.evaluate("element => element.textContent") == code


def test_without_room_nothing_is_half_imported(chat: Chat) -> None:
    chat.asked("Hello.")
    file = chat.exported()
    chat.no_room()
    file["conversations"][0].update(title="Newer", updated=file["conversations"][0]["updated"] + 1000)
    file["conversations"] += file_of(message_of("1", None))["conversations"]
    _refused(chat, file, "Nothing was imported: no room")
    expect(chat.conversations).to_have_text(["Hello."])
    expect(chat.content).to_have_text("The first answer.")


def test_a_newer_import_of_the_shown_conversation_is_shown_and_stays(chat: Chat) -> None:
    chat.asked("Hello.")
    file = chat.exported()
    [conversation] = file["conversations"]
    conversation.update(title="Newer", updated=conversation["updated"] + 1000)
    next(one for one in conversation["messages"] if one["role"] == "assistant")["content"] = "Another answer."
    chat.import_file(file)
    expect(chat.content).to_have_text("Another answer.")
    expect(chat.conversations).to_have_text(["Newer"])
    body = chat.sent("And then?")
    assert body["messages"][1]["content"] == "Another answer."
    chat.done()
    expect(chat.conversations).to_have_text(["Newer"])
