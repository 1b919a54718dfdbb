"""Conversations: versions, the list, tabs, and what stays in the browser."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import expect

from tests.integration.conftest import Front
from tests.page.chat import Chat
from tests.page.exports import file_of, message_of


def test_history_is_there_after_a_reload(chat: Chat) -> None:
    chat.asked("What is the first thing?")
    chat.asked("[second] And the next?")
    chat.reload()
    expect(chat.questions).to_have_text(["What is the first thing?", "[second] And the next?"])
    expect(chat.answers.locator(".content")).to_have_text(["The first answer.", "The second answer."])
    thinking = chat.answers.first.locator("details.thinking summary")
    expect(thinking).to_be_visible()
    expect(thinking).to_contain_text("Thought for")
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
    expect(chat.page).to_have_url(f"{chat.front.url}/")


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


def test_without_room_one_can_talk_on_and_is_told(chat: Chat) -> None:
    chat.no_room()
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
        tab.nothing_kept()
        tab.reload()
        tab.nothing_kept()
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
    chat.until(lambda: other.content.inner_text() == chat.content.inner_text())
    # A tab that is gone says nothing.
    with chat.page.expect_request("**/v1/chat/completions"):
        chat.answer.get_by_role("button", name="Continue").click()
    other.reload()
    expect(other.answer).to_contain_text("This answer is being written in another tab.")
    chat.page.close()
    expect(other.answer).to_contain_text("The page was closed before this answer was whole.")
    expect(go_on).to_be_visible()
    assert other.faults == []


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
    files = [file_of(message_of(name, None, conversation=name), id=name, title=name) for name in ("long", "short")]
    chat.import_file(files[0] | {"conversations": [file["conversations"][0] for file in files]})
    expect(chat.conversations).to_have_count(2)
    chat.page.evaluate(
        """() => {
            const all = IDBIndex.prototype.getAll;
            IDBIndex.prototype.getAll = function (id) {
                const request = all.call(this, id);
                if (id !== "long") return request;
                const late = {};
                request.onsuccess = () => {
                    window.answerLate = () => {
                        window.answerLate = null;
                        late.result = request.result;
                        late.onsuccess();
                    };
                };
                return late;
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
        # Asked again from here: what waits within the page takes eval(), which the page's policy forbids.
        chat.until(lambda: chat.page.evaluate("Boolean(window.answerLate)"))
        # What follows from that is done once a timer is.
        chat.page.evaluate("answerLate(), new Promise((resolve) => setTimeout(resolve))")
        expect(heading).to_have_text(last)


def test_enter_in_the_search_opens_what_is_found(chat: Chat) -> None:
    """Not what stood there before it was looked for."""
    chat.asked("Cats and dogs")
    chat.button("New chat").click()
    chat.asked("[second] Trains")
    expect(chat.conversations).to_have_text(["[second] Trains", "Cats and dogs"])
    chat.button("New chat").click()
    chat.page.get_by_role("searchbox").evaluate(
        """(search) => {
            search.value = "dogs";
            search.dispatchEvent(new Event("input"));
            search.dispatchEvent(new KeyboardEvent("keydown", {key: "Enter"}));
        }"""
    )
    expect(chat.questions).to_have_text(["Cats and dogs"])


def test_a_press_counts_while_the_list_changes(chat: Chat, pictures: Path) -> None:
    """A button that is drawn anew between the two halves of a click would not hear of it."""
    chat.asked("Hello.")
    chat.button("New chat").click()
    chat.asked("[second] And?")
    other = Chat(chat.page.context.new_page(), chat.front, pictures).open()
    chat.conversations.get_by_text("Hello.").hover()
    chat.page.mouse.down()
    other.menu("[second] And?", "Rename")
    other.page.get_by_role("dialog").get_by_role("textbox").fill("Renamed")
    other.page.keyboard.press("Enter")
    expect(chat.conversations).to_have_text(["Renamed", "Hello."])
    chat.page.mouse.up()
    expect(chat.questions).to_have_text(["Hello."])
    assert other.faults == []


def test_a_selection_stays_where_more_is_asked(chat: Chat) -> None:
    chat.asked("Hello.")
    chat.page.locator("#thread").focus()
    chat.page.evaluate("getSelection().selectAllChildren(document.querySelector('.plain'))")
    chat.page.keyboard.press("Alt+KeyR")
    expect(chat.answer.get_by_text("2 of 2")).to_be_visible()
    assert chat.page.evaluate("getSelection().toString()") == "Hello."


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
