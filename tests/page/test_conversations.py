"""Conversations: versions, and what stays in the browser."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import expect

from tests.integration.conftest import Front
from tests.page.chat import Chat


def test_history_is_there_after_a_reload(chat: Chat) -> None:
    chat.asked("What is the first thing?")
    chat.asked("[second] And the next?")
    chat.reload()
    expect(chat.questions).to_have_text(["What is the first thing?", "[second] And the next?"])
    expect(chat.answers.locator(".content")).to_have_text(["The first answer.", "The second answer."])
    expect(chat.thinking.locator("summary")).to_contain_text("Thought for")
    # It goes on where it was.
    body = chat.sent("And then?")
    assert [message["role"] for message in body["messages"]] == ["user", "assistant"] * 2 + ["user"]
    assert body["messages"][3] == {"role": "assistant", "content": "The second answer."}
    chat.done()


def test_the_browsers_arrows_go_from_one_conversation_to_the_other(chat: Chat) -> None:
    chat.asked("Hello.")
    chat.button("New chat").click()
    chat.asked("[second] And?")
    chat.page.go_back()
    expect(chat.questions).to_have_text(["Hello."])
    chat.page.go_forward()
    expect(chat.questions).to_have_text(["[second] And?"])
    chat.page.goto(f"{chat.front.url}/#nothing")
    chat.ready()
    expect(chat.page.locator(".welcome")).to_be_visible()
    assert "#" not in chat.page.url


def test_thinking_is_not_sent_back(chat: Chat) -> None:
    chat.asked("Think about it.")
    expect(chat.thinking).to_be_visible()
    assert "not much to think about" not in json.dumps(chat.sent("Go on."))
    chat.done()


def test_search_finds_words_of_titles_and_of_messages(chat: Chat) -> None:
    chat.asked("Cats and dogs")
    chat.button("New chat").click()
    chat.asked("[second] Trains")
    search = chat.page.get_by_role("searchbox")
    for text, found in (("DOGS", ["Cats and dogs"]), ("second answer", ["[second] Trains"]), ("zebra", [])):
        search.fill(text)
        expect(chat.conversations).to_have_text(found)
    expect(chat.page.get_by_text("Nothing found for “zebra”.")).to_be_visible()
    search.fill("")
    expect(chat.conversations).to_have_text(["[second] Trains", "Cats and dogs"])


def test_a_conversation_is_renamed(chat: Chat) -> None:
    chat.asked("Old name")
    chat.menu("Old name", "Rename")
    name = chat.page.get_by_role("dialog").get_by_role("textbox")
    expect(name).to_be_focused()
    expect(name).to_have_value("Old name")
    name.fill("New <b>name</b>")
    name.press("Enter")
    expect(chat.conversations).to_have_text(["New <b>name</b>"])
    expect(chat.page.get_by_role("heading", level=1)).to_have_text("New <b>name</b>")
    chat.reload()
    expect(chat.conversations).to_have_text(["New <b>name</b>"])


def test_a_conversation_is_deleted_once_that_is_confirmed(chat: Chat) -> None:
    chat.asked("Keep me")
    chat.button("New chat").click()
    chat.asked("Delete me")
    chat.menu("Delete me", "Delete")
    chat.page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(chat.conversations).to_have_count(2)
    chat.menu("Delete me", "Delete")
    chat.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(chat.conversations).to_have_text(["Keep me"])
    expect(chat.page.locator(".welcome")).to_be_visible()
    chat.reload()
    expect(chat.conversations).to_have_text(["Keep me"])


def test_an_export_is_imported_in_another_browser(chat: Chat, chat_of: Callable[..., Chat], tmp_path: Path) -> None:
    chat.asked("Take me along")
    chat.answer.get_by_role("button", name="Answer again").click()
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
    expect(chat.conversations).to_have_count(0)


def _export(chat: Chat) -> dict[str, Any]:
    with chat.page.expect_download() as download:
        chat.button("Export all conversations").click()
    value: dict[str, Any] = json.loads(download.value.path().read_text())
    return value


def _import(chat: Chat, value: dict[str, Any]) -> None:
    buffer = json.dumps(value).encode()
    chat.page.set_input_files("#import-file", {"name": "a.json", "mimeType": "application/json", "buffer": buffer})


def _refused(chat: Chat, file: dict[str, Any], reason: str) -> None:
    _import(chat, file)
    chat.warned(reason)
    chat.quiet()


def test_an_export_that_was_spoilt_is_not_imported(front: Front, chat_of: Callable[..., Chat]) -> None:
    """Each of these would break the page as it is opened, or take the place of something else."""
    chat = chat_of(front)
    # A question and its answer are of one millisecond, and an export has its messages in no order.
    chat.page.add_init_script("Date.now = () => 1e12")
    chat.open().asked("Hello.")
    whole = _export(chat)
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
    expect(other.conversations).to_have_count(0)
    # Under another name, the messages are still those of the conversation that is here.
    foreign = copy.deepcopy(whole)
    foreign["conversations"][0]["id"] = "another"
    for message in foreign["conversations"][0]["messages"]:
        message["conversation"] = "another"
    _refused(chat, foreign, "the identifier of another conversation's message")
    expect(chat.conversations).to_have_count(1)


def _message(identifier: str, parent: str | None, role: str = "user", **fields: Any) -> dict[str, Any]:
    whole = {"id": identifier, "conversation": "c", "parent": parent, "created": 1, "role": role, "content": "Text"}
    return whole | fields


def _file(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    leaf = messages[-1]["id"] if messages else None
    whole = {"id": "c", "title": "By hand", "created": 1, "updated": 1, "leaf": leaf, "messages": [*messages]}
    return {"format": "nemotron-chat-export", "version": 1, "conversations": [whole | fields]}


def test_a_file_that_was_written_by_hand_is_imported_whole_or_not_at_all(chat: Chat) -> None:
    """Nothing of it, with the reason, where anything is wrong; and what is here stays as it is."""
    chat.asked("Hello.")
    before = _export(chat)["conversations"]
    question, answer = _message("1", None), _message("2", "1", "assistant", phase="done")
    good = _file(question, answer)
    files = {
        "do not follow one another": [
            _file(question, _message("2", "3", "assistant"), _message("3", "2")),  # a ring beside the tree
            _file(_message("1", "2"), _message("2", "1", "assistant")),
            _file(_message("1", "1")),
            _file(question, _message("2", "missing", "assistant")),
            _file(_message("1", None, "assistant")),
            _file(question, answer, leaf="missing"),
        ],
        "lacks a part": [
            _file(question | {"content": 5}),
            _file(question | {"created": "now"}),
            _file(question | {"role": "system"}),
            _file(question | {"conversation": "other"}),
            _file(messages={}),
        ],
        "a title, a time": [
            _file(title=None),
            _file(updated="now"),
            _file(leaf=5),
            _file(id="<b>"),
            {**good, "conversations": [None]},
        ],
        "twice": [_file(question, question), {**good, "conversations": good["conversations"] * 2}],
        "version 2": [{**good, "version": 2}],
        "no exported conversations": [{**good, "conversations": None}, {**good, "format": "other"}],
    }
    for reason, wrong in files.items():
        for file in wrong:
            _refused(chat, file, reason)
    # The first of these two is right.
    _refused(chat, {**good, "conversations": good["conversations"] + _file(title=5)["conversations"]}, "a title")
    assert _export(chat)["conversations"] == before
    _import(chat, good)
    chat.warned("1 conversation imported.")


def test_a_large_import_with_a_hostile_title_is_shown_as_text(chat: Chat) -> None:
    hostile = '<img src=x onerror="document.title=1"><script>document.title=2</script>'
    file = _file(_message("1", None), _message("2", "1", "assistant", phase="done", content=hostile), title=hostile)
    large = _message("3", None, conversation="d", content="word " * 1_000_000)
    file["conversations"] += _file(large, id="d", title="Large", updated=0)["conversations"]
    _import(chat, file)
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
        _message("1", None, content=question),
        _message("2", "1", "assistant", phase="done", content=paragraphs),
    ]
    _import(chat, _file(*messages, _message("3", "2", content="And?"), title="Long"))
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
        _message(identifier, parent, role, conversation="d", phase="done", content=content)
        for identifier, parent, role, content in (("4", None, "user", "Code?"), ("5", "4", "assistant", code))
    ]
    chat.quiet()
    _import(chat, _file(*messages, id="d", title="Code", updated=2))
    chat.warned("1 conversation imported.")
    chat.conversations.first.click()
    expect(chat.content).to_contain_text("xxx")
    chat.content.get_by_role("button", name="Show all 300,000 characters").click()
    expect(chat.content.get_by_role("button")).to_have_count(0)
    assert chat.content.evaluate("element => element.textContent") == code


def _no_room(chat: Chat) -> None:
    """Let the browser have none left for this page."""
    chat.page.evaluate(
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


def test_without_room_nothing_is_half_imported(chat: Chat) -> None:
    chat.asked("Hello.")
    file = _export(chat)
    _no_room(chat)
    file["conversations"][0].update(title="Newer", updated=file["conversations"][0]["updated"] + 1000)
    file["conversations"] += _file(_message("1", None))["conversations"]
    _refused(chat, file, "Nothing was imported: no room")
    expect(chat.conversations).to_have_text(["Hello."])
    expect(chat.content).to_have_text("The first answer.")


def test_without_room_one_can_talk_on_and_is_told(chat: Chat) -> None:
    _no_room(chat)
    assert chat.asked("Hello.") == "The first answer."
    banner = chat.page.locator("#banner")
    expect(banner).to_have_text("The conversation could not be kept in this browser: no room")
    chat.button("Light or dark").click()
    chat.warned("This could not be kept in this browser: no room")


def test_two_tabs_show_the_same(chat: Chat, pictures: Path) -> None:
    chat.asked("Hello.")
    other = Chat(chat.page.context.new_page(), chat.front, pictures).open()
    other.conversations.first.click()
    expect(other.content).to_have_text("The first answer.")
    chat.asked("[second] And?")
    expect(other.content).to_have_text("The second answer.")
    other.asked("Third.")
    expect(chat.answers).to_have_count(3)
    other.menu("Hello.", "Rename")
    other.page.get_by_role("dialog").get_by_role("textbox").fill("Together")
    other.page.keyboard.press("Enter")
    expect(chat.page.get_by_role("heading", level=1)).to_have_text("Together")
    # What is deleted in one does not come back from the other.
    chat.lengthy()
    chat.ask("[endless]")
    expect(chat.content).to_contain_text("And on it goes to 1.")
    other.menu("Together", "Delete")
    other.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    for tab in (chat, other):
        expect(tab.page.locator(".welcome")).to_be_visible()
        expect(tab.conversations).to_have_count(0)
        tab.reload()
        expect(tab.conversations).to_have_count(0)
    assert other.faults == []


def test_an_answer_that_runs_in_another_tab_is_not_offered_to_be_continued(chat: Chat, pictures: Path) -> None:
    chat.lengthy()
    chat.ask("[endless]")
    expect(chat.content).to_contain_text("And on it goes to 40.")
    other = Chat(chat.page.context.new_page(), chat.front, pictures).open()
    other.conversations.first.click()
    expect(other.answer).to_contain_text("This answer is being written in another tab.")
    expect(other.content).to_contain_text("And on it goes to 1.")
    go_on = other.answer.get_by_role("button", name="Continue")
    expect(go_on).to_have_count(0)
    other.reload()
    expect(other.answer).to_contain_text("This answer is being written in another tab.")
    expect(go_on).to_have_count(0)
    chat.stop.click()
    expect(other.answer).to_contain_text("Stopped.")
    expect(go_on).to_be_visible()
    chat.done()
    other.done()
    assert other.content.inner_text() == chat.content.inner_text()
    # A tab that is gone says nothing.
    with chat.page.expect_request("**/v1/chat/completions"):
        chat.answer.get_by_role("button", name="Continue").click()
    other.reload()
    expect(other.answer).to_contain_text("This answer is being written in another tab.")
    chat.page.close()
    expect(other.answer).to_contain_text("The page was closed before this answer was whole.")
    expect(go_on).to_be_visible()
    assert other.faults == []


def test_a_newer_import_of_the_shown_conversation_is_shown_and_stays(chat: Chat) -> None:
    chat.asked("Hello.")
    file = _export(chat)
    [conversation] = file["conversations"]
    conversation.update(title="Newer", updated=conversation["updated"] + 1000)
    next(one for one in conversation["messages"] if one["role"] == "assistant")["content"] = "Another answer."
    _import(chat, file)
    expect(chat.content).to_have_text("Another answer.")
    expect(chat.conversations).to_have_text(["Newer"])
    body = chat.sent("And then?")
    assert body["messages"][1]["content"] == "Another answer."
    chat.done()
    expect(chat.conversations).to_have_text(["Newer"])


def test_an_answer_given_again_stands_beside_the_old_one(chat: Chat) -> None:
    chat.asked("Hello.")
    chat.answer.get_by_role("button", name="Answer again").click()
    expect(chat.answer.get_by_text("2 of 2")).to_be_visible()
    chat.done()
    expect(chat.answers).to_have_count(1)
    chat.answer.get_by_role("button", name="Previous version").click()
    expect(chat.answer.get_by_text("1 of 2")).to_be_visible()
    expect(chat.content).to_have_text("The first answer.")


def test_an_edited_message_is_a_branch_and_the_old_one_stays(chat: Chat) -> None:
    chat.asked("First")
    chat.asked("And then?")
    chat.questions.first.hover()
    chat.questions.first.get_by_role("button", name="Edit").click()
    area = chat.page.get_by_role("textbox", name="Edit the message")
    expect(area).to_be_focused()
    area.fill("[second] instead")
    area.press("Enter")
    expect(chat.content).to_have_text("The second answer.")
    expect(chat.questions).to_have_count(1)
    chat.done()
    chat.questions.first.hover()
    chat.questions.first.get_by_role("button", name="Previous version").click()
    expect(chat.questions.locator(".plain")).to_have_text(["First", "And then?"])
    expect(chat.content).to_have_text("The first answer.")


def test_versions_keep_their_order_where_the_clock_stands_still(front: Front, chat_of: Callable[..., Chat]) -> None:
    chat = chat_of(front)
    chat.page.add_init_script("Date.now = () => 1e12")
    chat.open().asked("Hello.")
    chat.asked("And then?")
    for number in (2, 3):
        chat.answer.get_by_role("button", name="Answer again").click()
        expect(chat.answer.get_by_text(f"{number} of {number}")).to_be_visible()
        chat.done()
    chat.questions.last.hover()
    chat.questions.last.get_by_role("button", name="Edit").click()
    area = chat.page.get_by_role("textbox", name="Edit the message")
    area.fill("[second] instead")
    area.press("Enter")
    expect(chat.content).to_have_text("The second answer.")
    chat.done()
    chat.reload()
    expect(chat.questions.locator(".plain")).to_have_text(["Hello.", "[second] instead"])
    chat.questions.last.hover()
    chat.questions.last.get_by_role("button", name="Previous version").click()
    expect(chat.answer.get_by_text("3 of 3")).to_be_visible()


def test_the_conversation_that_was_chosen_last_is_shown(chat: Chat) -> None:
    """One that takes long to be read does not take its place."""
    for identifier in ("long", "short"):
        _import(chat, _file(_message(identifier, None, conversation=identifier), id=identifier, title=identifier))
        chat.warned("1 conversation imported.")
        chat.quiet()
    chat.page.evaluate(
        """() => {
            const all = IDBIndex.prototype.getAll;
            IDBIndex.prototype.getAll = function (id) {
                // The answer to the last of many requests comes after theirs.
                if (id === "long") for (let i = 0; i < 3000; i++) this.count();
                return all.call(this, id);
            };
        }"""
    )
    for last in ("short", "New chat"):
        chat.page.evaluate(
            """(names) => names.forEach((name) =>
                [...document.querySelectorAll("#conversations .open, #new-chat")]
                    .find((button) => button.textContent === name).click())""",
            ["long", last],
        )
        heading = chat.page.get_by_role("heading", level=1)
        expect(heading).to_have_text(last)
        chat.page.wait_for_timeout(1000)
        expect(heading).to_have_text(last)


def test_an_answer_runs_on_while_another_conversation_is_shown(chat: Chat) -> None:
    chat.ask("[paragraphs]")
    expect(chat.content).to_contain_text("Paragraph 1")
    chat.button("New chat").click()
    assert chat.asked("Hello.") == "The first answer."
    chat.conversations.get_by_text("[paragraphs]").click()
    chat.done()
    expect(chat.content).to_contain_text("Paragraph 59")


def test_a_browser_that_keeps_nothing_is_told_so(front: Front, chat_of: Callable[..., Chat]) -> None:
    chat = chat_of(front)
    chat.page.add_init_script("Object.defineProperty(window, 'indexedDB', {value: undefined})")
    chat.open()
    chat.warned("This browser keeps nothing for this page")
    assert chat.asked("Hello.") == "The first answer."
    expect(chat.conversations).to_have_text(["Hello."])
