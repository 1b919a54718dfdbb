"""For whom the page is: keyboards, screen readers, phones, dark rooms; and those with a key."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Request, Route, expect

from tests.integration.conftest import Front, Server, fronting
from tests.page.chat import Chat
from tests.page.test_requests import TOOLS

WIDER = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
# Every element that can be used, and has neither text nor a label of its own.
NAMELESS = """() => [...document.querySelectorAll('button, input, textarea, select, summary, a[href]')]
    .filter(e => e.checkVisibility() && !e.textContent.trim() && !e.ariaLabel && !(e.labels && e.labels.length)
        && !e.ariaLabelledByElements?.length)
    .map(e => e.outerHTML)"""
# The contrast of each visible text with what is behind it, where it is less than WCAG 2.2 AA asks for.
FAINT = """() => {
    const parse = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
    const light = ([r, g, b]) => [r, g, b].map((c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = (e) => {
        for (; e; e = e.parentElement) {
            const [r, g, b, a = 1] = parse(getComputedStyle(e).backgroundColor);
            if (a === 1 && r !== undefined) return [r, g, b];
        }
        return [255, 255, 255];
    };
    const faint = [];
    for (const e of document.querySelectorAll('body *')) {
        const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
        if (!own || !e.checkVisibility({opacityProperty: true}) || e.closest(':disabled, .hidden, .skip')) continue;
        const pair = [light(parse(getComputedStyle(e).color)), light(behind(e))].sort((a, b) => b - a);
        const contrast = (pair[0] + 0.05) / (pair[1] + 0.05);
        if (contrast < 4.5) faint.push(`${contrast.toFixed(2)} ${e.className} ${e.textContent.slice(0, 40)}`);
    }
    return faint;
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_it_fits_and_can_be_read(front: Front, chat_of: Callable[..., Chat], width: int, theme: str) -> None:
    """In each state: no sideways scrolling, a name for each control, enough contrast. The pictures are for people."""
    chat = chat_of(front, width=width, theme=theme, reduced_motion="reduce").open()
    states = 0

    def check(state: str) -> None:
        nonlocal states
        states += 1
        chat.picture(f"{width}-{theme}-{states}-{state}")
        assert not chat.page.evaluate(WIDER), state
        assert chat.page.evaluate(NAMELESS) == [], state
        assert chat.page.evaluate(FAINT) == [], state

    check("welcome")
    chat.lengthy()
    chat.ask("[endless thinking] " + "word " * 60)
    expect(chat.button("Answer now")).to_be_visible()
    check("thinking")
    chat.button("Answer now").click()
    chat.done()
    chat.ask("[markdown] https://example.com/" + "x" * 300)
    chat.done()
    check("answer")
    chat.thinking.locator("summary").click()
    expect(chat.thinking.locator(".reasoning")).to_contain_text("A product is zero")
    check("thought")
    for name in ("Settings", "View as code"):
        chat.button(name).click()
        dialog = chat.page.get_by_role("dialog", name=name)
        expect(dialog).to_be_visible()
        check(name)
        chat.page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
    if width < 800:
        chat.button("Show conversations").click()
        expect(chat.conversations.first).to_be_in_viewport(ratio=1)
        check("conversations")


def test_the_theme_is_switched_and_kept(chat: Chat) -> None:
    color = "getComputedStyle(document.body).backgroundColor"
    light = chat.page.evaluate(color)
    chat.button("Light or dark").click()
    expect(chat.page.locator("body")).not_to_have_css("background-color", light)
    dark = chat.page.evaluate(color)
    chat.reload()
    expect(chat.page.locator("body")).to_have_css("background-color", dark)


SEEN = """(element) => {
    const {left, top, width, height} = element.getBoundingClientRect();
    return document.elementFromPoint(left + width / 2, top + height / 2) === element;
}"""


def test_a_phone_has_the_list_over_the_page(front: Front, chat_of: Callable[..., Chat]) -> None:
    chat = chat_of(front, width=360).open()
    chat.asked("Hello.")
    expect(chat.conversations.first).to_be_hidden()
    chat.button("Show conversations").click()
    expect(chat.page.get_by_role("searchbox")).to_be_focused()
    # What is said is over both.
    chat.import_file({})
    chat.warned("This file holds no exported conversations")
    assert chat.page.locator("#banner").evaluate(SEEN)
    chat.button("New chat").click()
    expect(chat.page.locator(".welcome")).to_be_visible()
    expect(chat.conversations.first).to_be_hidden()


def test_all_by_keyboard(chat: Chat) -> None:
    """From the first Tab to an answer that is stopped, copied, and given again."""
    press = chat.page.keyboard.press
    expect(chat.input).to_be_focused()
    chat.lengthy()
    press("/")
    chat.page.keyboard.type("First line")
    press("Shift+Enter")
    chat.page.keyboard.type("second line")
    expect(chat.input).to_have_value("First line\nsecond line")
    press("Enter")
    expect(chat.content).to_have_text("The first answer.")
    chat.done()
    expect(chat.input).to_be_focused()
    press("Alt+KeyR")
    expect(chat.answer.get_by_text("2 of 2")).to_be_visible()
    chat.done()
    press("Alt+KeyT")
    expect(chat.button("Thinking")).to_have_attribute("aria-pressed", "false")
    chat.page.keyboard.type("[endless]")
    press("Enter")
    expect(chat.content).to_contain_text("And on it goes to 1.")
    press("Escape")
    expect(chat.answer).to_contain_text("Stopped.")
    press("Alt+KeyN")
    expect(chat.page.locator(".welcome")).to_be_visible()
    press("Alt+KeyK")
    expect(chat.page.get_by_role("searchbox")).to_be_focused()
    chat.page.keyboard.type("second line")
    press("Enter")
    expect(chat.questions).to_have_count(2)
    press("Alt+KeyS")
    dialog = chat.page.get_by_role("dialog", name="Settings")
    expect(dialog).to_be_visible()
    press("Escape")
    expect(dialog).to_be_hidden()


def _tab_to(chat: Chat, button: str) -> None:
    """Go with Tab from the messages to a button of them."""
    chat.page.locator("#thread").focus()
    name = "(document.activeElement.ariaLabel ?? document.activeElement.textContent).trim()"
    for _ in range(20):
        chat.page.keyboard.press("Tab")
        if chat.page.evaluate(name) == button:
            break
    assert chat.page.evaluate(name) == button


def test_the_focus_goes_on_where_its_place_is_taken(chat: Chat) -> None:
    """From an answer given again to its versions, and from a question that is edited to the box for the next one."""
    press = chat.page.keyboard.press
    chat.asked("Hello.")
    _tab_to(chat, "Answer again")
    press("Enter")
    expect(chat.answer.get_by_text("2 of 2")).to_be_visible()
    chat.done()
    expect(chat.input).to_be_focused()
    press("Alt+KeyR")
    expect(chat.answer.get_by_text("3 of 3")).to_be_visible()
    chat.done()
    _tab_to(chat, "Previous version")
    press("Enter")
    expect(chat.answer.get_by_text("2 of 3")).to_be_visible()
    expect(chat.answer.get_by_role("button", name="Previous version")).to_be_focused()
    press("Enter")
    expect(chat.answer.get_by_text("1 of 3")).to_be_visible()
    expect(chat.answer.get_by_role("button", name="Next version")).to_be_focused()
    chat.lengthy()
    _tab_to(chat, "Edit")
    press("Enter")
    chat.page.keyboard.type("[endless]")
    press("Tab")
    press("Tab")
    press("Enter")
    expect(chat.content).to_contain_text("And on it goes to 1.")
    expect(chat.stop).to_be_focused()
    press("Enter")
    expect(chat.answer).to_contain_text("Stopped.")
    expect(chat.input).to_be_focused()


def test_the_focus_after_results_and_after_a_refusal(chat: Chat) -> None:
    chat.set(Tools=json.dumps(TOOLS))
    chat.ask("[tool] Weather?")
    chat.done()
    chat.page.get_by_label("Result of get_weather").fill("31")
    _tab_to(chat, "Send results")
    chat.page.keyboard.press("Enter")
    expect(chat.content).to_have_text("It is 31 °C in Bangkok.")
    chat.done()
    expect(chat.input).to_be_focused()
    chat.page.route("**/v1/chat/completions", lambda route: route.fulfill(status=500, body="no JSON"))
    chat.ask("And now?")
    expect(chat.answer.get_by_role("alert")).to_contain_text("The server answered HTTP 500")
    chat.page.unroute("**/v1/chat/completions")
    _tab_to(chat, "Try again")
    chat.page.keyboard.press("Enter")
    expect(chat.answer.get_by_text("2 of 2")).to_be_visible()
    chat.done()
    expect(chat.input).to_be_focused()


def test_escape_in_a_menu_or_in_the_search_leaves_the_answer_alone(chat: Chat) -> None:
    chat.lengthy()
    chat.ask("[endless]")
    expect(chat.content).to_contain_text("And on it goes to 1.")
    row = chat.page.locator("#conversations li")
    row.locator("summary").focus()
    chat.page.keyboard.press("Enter")
    expect(row.get_by_role("button", name="Rename")).to_be_visible()
    chat.page.keyboard.press("Tab")
    chat.page.keyboard.press("Escape")
    expect(row.get_by_role("button", name="Rename")).to_be_hidden()
    expect(row.locator("summary")).to_be_focused()
    chat.page.get_by_role("searchbox").fill("endless")
    chat.page.keyboard.press("Escape")
    expect(chat.page.get_by_role("searchbox")).to_have_value("")
    expect(chat.content).to_contain_text("And on it goes to 40.")
    expect(chat.answer).to_have_attribute("aria-busy", "true")
    chat.input.press("Escape")
    expect(chat.answer).to_contain_text("Stopped.")


def test_copying_where_there_is_nothing(chat: Chat) -> None:
    chat.page.keyboard.press("Alt+KeyC")
    chat.warned("There is no answer to copy yet.")


def test_the_ways_to_show_the_code_are_switched_by_keyboard(chat: Chat) -> None:
    chat.button("View as code").click()
    curl, python = chat.button("curl"), chat.button("Python")
    expect(curl).to_have_attribute("aria-pressed", "true")
    curl.focus()
    chat.page.keyboard.press("Tab")
    chat.page.keyboard.press("Enter")
    expect(python).to_have_attribute("aria-pressed", "true")
    expect(curl).to_have_attribute("aria-pressed", "false")
    expect(chat.page.locator("#code-text")).to_contain_text("from openai import OpenAI")


def test_the_order_of_the_focus(chat: Chat) -> None:
    chat.asked("Hello.")
    expect(chat.conversations).to_have_text(["Hello."])
    first = chat.page.locator("a[href], button, input, [tabindex]").first
    expect(first).to_have_text("Skip to the message box")
    first.focus()
    names = []
    for _ in range(40):
        chat.page.keyboard.press("Tab")
        name = chat.page.evaluate("(document.activeElement.ariaLabel ?? document.activeElement.textContent).trim()")
        names.append(name)
        if name == "Message":
            break
    wanted = ["New chat", "Search conversations", "Hello.", "View as code", "Settings", "Answer again", "Message"]
    assert [name for name in names if name in wanted] == wanted


def test_shortcuts_are_listed(chat: Chat) -> None:
    chat.page.locator("#thread").focus()
    chat.page.keyboard.press("?")
    dialog = chat.page.get_by_role("dialog", name="Keyboard shortcuts")
    expect(dialog.get_by_role("row")).to_have_count(12)
    chat.page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    chat.page.keyboard.press("/")
    expect(chat.input).to_be_focused()


HEAR = """() => {
    window.heard = [];
    new MutationObserver(() => window.heard.push(document.querySelector('#announce').textContent))
        .observe(document.querySelector('#announce'), {childList: true, characterData: true, subtree: true});
}"""


def test_screen_readers_hear_each_phase_once_and_the_whole_answer(chat: Chat) -> None:
    """However the answer is cut: a server that is busy would send the thinking along with what follows it."""
    thinking = [{"delta": {"reasoning_content": part}} for part in ("There is ", "not much ", "to think about.")]
    chat.plays(
        *thinking, {"delta": {"content": "The first "}}, {"delta": {"content": "answer."}, "finish_reason": "stop"}
    )
    chat.page.evaluate(HEAR)
    chat.asked("Hello.")
    assert chat.page.evaluate("window.heard") == [
        "The model is thinking.",
        "The model is answering.",
        "Answer: The first answer.",
    ]


def test_screen_readers_hear_once_that_the_server_is_full(chat: Chat) -> None:
    waits = ["2", "1"]

    def refuse(route: Route) -> None:
        if waits:
            route.fulfill(status=429, headers={"retry-after": waits.pop(0)}, body='{"error": {"message": "full"}}')
        else:
            route.continue_()

    chat.page.route("**/v1/chat/completions", refuse)
    chat.page.evaluate(HEAR)
    chat.asked("Hello.")
    heard = chat.page.evaluate("window.heard")
    assert [text for text in heard if "full" in text] == ["The server is full. Trying again in 2 s …"]
    assert heard[-1] == "Answer: The first answer."


def test_the_page_in_the_accessibility_tree(chat: Chat) -> None:
    chat.asked("Hello.")
    expect(chat.page.locator("body")).to_match_aria_snapshot(
        """
        - complementary "Conversations":
          - button "New chat"
          - searchbox "Search conversations"
          - navigation "Conversations":
            - list:
              - listitem:
                - button "Hello."
        - main:
          - heading "Hello." [level=1]
          - button "View as code"
          - button "Settings"
          - region "Messages":
            - article "You"
            - article "Assistant"
          - textbox "Message"
          - button "Attach text files"
          - button "Thinking" [pressed]
          - combobox "Limit of the thinking"
          - button "Send"
        - status
        """
    )


@pytest.fixture(scope="module")
def locked_front(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """Asks for a key: "right"."""
    directory = tmp_path_factory.mktemp("locked")
    keys = directory / "keys"
    keys.write_text("right\n")
    with fronting(server, directory, "--api-key-file", str(keys)) as front:
        yield front


def test_a_key_is_asked_for_once_and_kept_for_the_tab(locked_front: Front, chat_of: Callable[..., Chat]) -> None:
    chat = chat_of(locked_front)
    sent: list[str | None] = []

    def asked(request: Request) -> None:
        if request.resource_type == "fetch":
            sent.append(request.headers.get("authorization"))

    chat.page.on("request", asked)
    chat.open()
    dialog = chat.page.get_by_role("dialog", name="API key")
    for key in ("wrong", "right"):
        dialog.get_by_label("API key").fill(key)
        dialog.get_by_label("API key").press("Enter")
        if key == "wrong":
            expect(dialog).to_contain_text("The server did not take this key.")
    expect(dialog).to_be_hidden()
    assert chat.asked("Hello.") == "The first answer."
    sent.clear()
    chat.reload()
    assert chat.asked("Again.") == "The first answer."
    assert set(sent) == {"Bearer right"}
    chat.button("View as code").click()
    source = chat.page.locator("#code-text")
    expect(source).to_contain_text("$API_KEY")
    expect(source).not_to_contain_text("right")
    assert "right" not in chat.page.evaluate("JSON.stringify(localStorage)")


def test_without_a_key_the_refusal_is_shown(locked_front: Front, chat_of: Callable[..., Chat]) -> None:
    chat = chat_of(locked_front).open()
    cancel = chat.page.get_by_role("dialog").get_by_role("button", name="Cancel")
    cancel.click()
    chat.ask("Hello.")
    cancel.click()
    expect(chat.answer.get_by_role("alert")).to_contain_text("An API key is needed.")
