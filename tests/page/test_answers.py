"""Asking: streaming, thinking, answer now, stop, figures, errors."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from playwright.sync_api import Route, expect

from tests.integration.conftest import Front, Server
from tests.page.chat import Chat


def test_an_answer_is_streamed_into_the_page(chat: Chat) -> None:
    chat.lengthy()
    chat.ask("[endless]")
    for number in (1, 20, 40):
        expect(chat.content).to_contain_text(f"And on it goes to {number}.")
        expect(chat.answer).to_have_attribute("aria-busy", "true")
    chat.stop.click()
    chat.done()


def test_what_is_whole_stays_as_it_is_while_the_rest_grows(chat: Chat) -> None:
    """An element that is replaced loses what a reader has selected in it, and jumps."""
    chat.lengthy()
    chat.ask("[endless paragraphs]")
    expect(chat.content.get_by_text("Paragraph 2 of the answer.")).to_be_visible()
    chat.page.evaluate("document.querySelector('.content .block').marked = true")
    chat.grown()
    assert chat.page.evaluate("document.querySelector('.content .block').marked")
    chat.stop.click()
    chat.done()
    assert chat.page.evaluate("document.querySelector('.content .block').marked")


def test_a_reader_at_the_end_stays_there_and_one_above_is_left_alone(chat: Chat) -> None:
    chat.lengthy()
    chat.ask("[endless paragraphs]")
    thread = chat.page.locator("#thread")
    place = "thread => thread.scrollTop"
    distance = "thread => thread.scrollHeight - thread.scrollTop - thread.clientHeight"
    expect(chat.content.get_by_text("Paragraph 25 of the answer.")).to_be_visible()
    chat.until(lambda: thread.evaluate(distance) < 5)
    chat.grown()
    chat.until(lambda: thread.evaluate(distance) < 5)
    thread.hover()
    before = thread.evaluate(place)
    chat.page.mouse.wheel(0, -300)
    # What grows takes the reader along until the wheel is heard of.
    chat.until(lambda: thread.evaluate(place) < before)
    top = thread.evaluate(place)
    chat.grown()
    assert thread.evaluate(place) == top
    chat.stop.click()
    chat.done()
    assert thread.evaluate(place) == top
    chat.button("Go to the end").click()
    chat.until(lambda: thread.evaluate(distance) < 5)
    expect(chat.button("Go to the end")).to_be_hidden()


def test_markdown_code_tables_and_math_are_rendered(chat: Chat) -> None:
    chat.ask("[markdown]")
    chat.done()
    content = chat.content
    expect(content.get_by_role("heading", level=2)).to_contain_text("Solving")
    expect(content.locator("strong")).to_have_text("one of its factors")
    expect(content.locator("ol > li")).to_have_count(2)
    expect(content.locator("table tr")).to_have_count(3)
    assert content.locator("math").count() >= 6
    expect(content.locator("pre code span").first).to_be_visible()
    expect(content.get_by_role("link")).to_have_attribute("rel", re.compile("noopener"))
    assert "$" not in content.inner_text()


def test_thinking_is_folded_with_its_time_and_tokens(chat: Chat) -> None:
    chat.ask("[markdown]")
    chat.done()
    summary = chat.thinking.locator("summary")
    expect(summary).to_have_text(re.compile(r"Thought for [\d.]+ s · [\d,]+ tokens"))
    expect(chat.thinking.locator(".reasoning")).to_be_hidden()
    summary.click()
    expect(chat.thinking.locator(".reasoning")).to_contain_text("A product is zero when one of its factors is.")
    expect(chat.content).not_to_contain_text("A product is zero when one")


def test_thinking_is_switched_and_limited(chat: Chat) -> None:
    body = chat.sent("Hello.")
    assert body["chat_template_kwargs"] == {"enable_thinking": True}
    assert "thinking_token_budget" not in body
    chat.done()
    chat.page.get_by_label("Limit of the thinking").select_option("256 tokens")
    assert chat.sent("Again.")["thinking_token_budget"] == 256
    chat.done()
    expect(chat.content).to_have_text("The first answer.")
    switch = chat.button("Thinking")
    switch.click()
    expect(switch).to_have_attribute("aria-pressed", "false")
    body = chat.sent("Without.")
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    assert "thinking_token_budget" not in body
    chat.done()
    expect(chat.thinking).to_be_hidden()


def test_thinking_without_a_limit(chat: Chat) -> None:
    chat.page.get_by_label("Limit of the thinking").select_option("No limit")
    assert chat.sent("Hello.")["thinking_token_budget"] == -1
    chat.done()
    expect(chat.content).to_have_text("The first answer.")
    chat.set(Seed="1")
    expect(chat.page.get_by_label("Limit of the thinking")).to_have_value("-1")


def test_a_model_that_was_not_known_at_first_is_learnt_with_an_answer(
    chat_of: Callable[..., Chat], front: Front
) -> None:
    chat = chat_of(front)
    chat.page.route("**/v1/models", lambda route: route.abort())
    chat.open()
    assert "model" not in chat.sent("Hello.")
    chat.done()
    chat.page.unroute("**/v1/models")
    chat.asked("Again.")
    expect(chat.page.locator("#model")).not_to_be_empty()
    expect(chat.page.locator("#context")).to_contain_text(" of ")
    body = chat.sent("And again.")
    assert body["model"]
    assert body["max_tokens"]
    chat.done()


def test_answer_now_ends_the_thinking(chat: Chat) -> None:
    chat.lengthy()
    chat.ask("[endless thinking]")
    expect(chat.thinking.locator("summary")).to_contain_text("Thinking")
    chat.button("Answer now").click()
    expect(chat.content).to_have_text("That is enough thinking.")
    chat.done()
    expect(chat.button("Answer now")).to_be_hidden()
    expect(chat.thinking).not_to_contain_text("limit reached")


def test_thinking_that_the_user_ended_is_no_reached_limit_however_late_the_server_says_so(chat: Chat) -> None:
    held: list[Route] = []

    def hold(route: Route) -> None:
        route.fetch()
        held.append(route)

    chat.page.route("**/v1/chat/completions/control", hold)
    chat.lengthy()
    chat.ask("[endless thinking]")
    chat.button("Answer now").click()
    expect(chat.content).to_have_text("That is enough thinking.")
    chat.done()
    expect(chat.thinking).to_contain_text("Thought for")
    expect(chat.thinking).not_to_contain_text("limit reached")
    for route in held:
        route.fulfill(json={})


def test_stop_frees_the_place_on_the_server(chat: Chat, server: Server) -> None:
    chat.lengthy()
    chat.ask("[endless]")
    expect(chat.content).to_contain_text("And on it goes to 1.")
    chat.until(lambda: server.metric("nemotron_requests_running") == 1)
    chat.stop.click()
    chat.until(lambda: server.metric("nemotron_requests_running") == 0)
    expect(chat.answer).to_contain_text("Stopped.")
    expect(chat.content).to_contain_text("And on it goes to 1.")
    expect(chat.button("Send")).to_be_visible()


def test_a_page_that_is_closed_frees_the_place_and_keeps_what_was_said(chat: Chat, server: Server) -> None:
    chat.lengthy()
    chat.ask("[endless]")
    # What there is is kept twice a second.
    chat.until(lambda: "And on it goes to 1." in json.dumps(chat.exported()))
    chat.reload()
    chat.until(lambda: server.metric("nemotron_requests_running") == 0)
    chat.conversations.first.click()
    expect(chat.content).to_contain_text("And on it goes to 1.")
    expect(chat.answer).to_contain_text("The page was closed before this answer was whole.")


def test_an_answer_that_was_cut_off_goes_on_in_its_place(chat: Chat) -> None:
    chat.button("Thinking").click()
    chat.set(Max_tokens="18")
    chat.ask("[seam]")
    chat.done()
    expect(chat.answer).to_contain_text("Cut off at the limit of output tokens.")
    expect(chat.content).to_have_text("This text is **not")
    chat.button("Thinking").click()
    chat.set(Max_tokens="")
    with chat.page.expect_request("**/v1/chat/completions") as request:
        chat.answer.get_by_role("button", name="Continue").click()
    body = request.value.post_data_json
    assert body["continue_final_message"] is True
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    assert body["messages"][-1] == {"role": "assistant", "content": "This text is **not"}
    expect(chat.content.locator("p")).to_have_text(["This text is not one paragraph.", "It is two."])
    chat.done()
    expect(chat.content.locator("strong")).to_have_text("not one")
    expect(chat.answer.get_by_role("button", name="Continue")).to_have_count(0)
    expect(chat.answer).not_to_contain_text("Cut off")
    # The counts are those of the whole: 18 tokens and 29 more, with the end or without.
    expect(chat.answer.locator(".figures")).to_have_text(re.compile(r" \+ 4[78] tokens"))
    chat.reload()
    chat.conversations.first.click()
    expect(chat.answers).to_have_count(1)
    expect(chat.content.locator("p")).to_have_text(["This text is not one paragraph.", "It is two."])


def test_what_goes_on_is_stopped_and_goes_on_again(chat: Chat, server: Server) -> None:
    chat.button("Thinking").click()
    chat.set(Max_tokens="40")
    chat.ask("[endless]")
    chat.done()
    cut = chat.content.inner_text()
    chat.lengthy()
    for _ in range(2):
        chat.answer.get_by_role("button", name="Continue").click()
        chat.until(lambda: len(chat.content.inner_text()) > len(cut) + 100)  # noqa: B023 - is done before it changes
        chat.stop.click()
        expect(chat.answer).to_contain_text("Stopped.")
        chat.until(lambda: server.metric("nemotron_requests_running") == 0)
        chat.done()
        assert chat.content.inner_text().startswith(cut)
        cut = chat.content.inner_text()


def test_what_cannot_go_on_keeps_its_text(chat: Chat) -> None:
    chat.button("Thinking").click()
    chat.set(Max_tokens="40")
    chat.ask("[endless]")
    chat.done()
    cut = chat.content.inner_text()
    chat.page.route("**/v1/chat/completions", lambda route: route.fulfill(status=500, body="broken"))
    chat.answer.get_by_role("button", name="Continue").click()
    expect(chat.answer.get_by_role("alert")).to_be_visible()
    expect(chat.content).to_have_text(cut)
    expect(chat.answer.get_by_role("button", name="Continue")).to_be_visible()


def test_thinking_that_took_all_tokens_is_tried_with_more(chat: Chat) -> None:
    chat.set(Max_tokens="40")
    chat.ask("[endless thinking]")
    chat.done()
    expect(chat.answer).to_contain_text("The thinking took all the output tokens")
    expect(chat.answer.get_by_role("button", name="Continue")).to_have_count(0)
    with chat.page.expect_request("**/v1/chat/completions") as request:
        chat.button("Answer again with 80 tokens").click()
    assert request.value.post_data_json["max_tokens"] == 80
    expect(chat.answer.get_by_text("2 of 2")).to_be_visible()
    chat.done()


def test_figures_of_an_answer(chat: Chat) -> None:
    chat.lengthy()
    chat.ask("[endless]")
    expect(chat.content).to_contain_text("And on it goes to 1.")
    # There is no rate of what comes at once.
    chat.page.wait_for_timeout(500)
    chat.grown()
    chat.stop.click()
    chat.done()
    expect(chat.answer.locator(".figures")).to_have_text(
        re.compile(r"[\d.]+ tokens/s.*first token [\d.]+ m?s.*[\d,]+ \+ [\d,]+ tokens")
    )
    expect(chat.page.locator("#context")).to_have_text(re.compile(r"[\d,]+ tokens of [\d,]+"))


def test_a_refusal_says_why_and_can_be_tried_again(chat: Chat) -> None:
    """The simulated engine follows no grammar, and says so."""
    chat.set(Answer_format="json_object")
    chat.ask("Hello.")
    chat.done()
    error = chat.answer.get_by_role("alert")
    expect(error).to_contain_text("response_format")
    chat.set(Answer_format="text")
    error.get_by_role("button", name="Try again").click()
    expect(chat.content).to_have_text("The first answer.")
    expect(chat.answer.get_by_text("2 of 2")).to_be_visible()


def test_an_error_in_the_middle_keeps_what_came(chat: Chat) -> None:
    chat.ask("[fail]")
    chat.done()
    expect(chat.answer.get_by_role("alert")).to_be_visible()
    expect(chat.content).to_contain_text("This answer")
    expect(chat.answer.get_by_role("button", name="Try again")).to_be_visible()


def test_a_full_server_is_asked_again(chat: Chat) -> None:
    full = [True]

    def refuse(route: Route) -> None:
        error = {"message": "full", "type": "rate_limit_error", "param": None, "code": "server_overloaded"}
        if full:
            route.fulfill(status=429, headers={"retry-after": "1"}, body=json.dumps({"error": error}))
        else:
            route.continue_()

    chat.page.route("**/v1/chat/completions", refuse)
    chat.ask("Hello.")
    expect(chat.answer).to_contain_text("The server is full. Trying again in 1 s")
    full.clear()
    expect(chat.content).to_have_text("The first answer.")


def test_a_server_that_restarts_is_waited_for(chat: Chat) -> None:
    down = [True]

    def refuse(route: Route) -> None:
        error = {"message": "draining", "type": "server_error", "param": None, "code": "shutting_down"}
        if down:
            route.fulfill(status=503, headers={"retry-after": "1"}, body=json.dumps({"error": error}))
        else:
            route.continue_()

    chat.page.route("**/v1/chat/completions", refuse)
    chat.page.route("**/v1/health/ready", refuse)
    chat.ask("Hello.")
    expect(chat.answer).to_contain_text("The server is restarting.")
    down.clear()
    expect(chat.content).to_have_text("The first answer.")


def test_a_server_that_is_gone_is_waited_for_until_the_user_stops(chat: Chat) -> None:
    chat.page.route("**/v1/**", lambda route: route.abort())
    chat.ask("Hello.")
    expect(chat.answer).to_contain_text("Waiting for it")
    chat.stop.click()
    expect(chat.answer).to_contain_text("Stopped.")


def test_a_connection_that_breaks_is_an_error(chat: Chat) -> None:
    """Half an answer must not look like a whole one."""
    chunk = {"id": "chatcmpl-1", "choices": [{"index": 0, "delta": {"content": "Half an"}, "finish_reason": None}]}
    body = f"data: {json.dumps(chunk)}\n\n"
    chat.page.route("**/v1/chat/completions", lambda route: route.fulfill(content_type="text/event-stream", body=body))
    chat.ask("Hello.")
    expect(chat.answer.get_by_role("alert")).to_contain_text("The connection was lost")
    expect(chat.content).to_have_text("Half an")
    # Once the line is there again, it goes on from there.
    chat.page.unroute("**/v1/chat/completions")
    chat.answer.get_by_role("button", name="Continue").click()
    expect(chat.content).to_have_text("Half anThe first answer.")
    chat.done()
    expect(chat.answer.get_by_role("alert")).to_have_count(0)


def test_without_rendering_the_text_is_shown_as_it_is(chat: Chat) -> None:
    chat.page.route("**/page/render", lambda route: route.fulfill(status=500, body="broken"))
    chat.ask("[markdown]")
    chat.done()
    expect(chat.content).to_contain_text("## Solving $x")
