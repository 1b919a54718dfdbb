"""A package with a chat template of its own that always opens the thinking, and with tags that are special tokens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from nemotron_serving.engine.simulated import Script
from nemotron_serving.package import CHAT_TEMPLATE
from tests.integration.conftest import Server, serving
from tests.integration.triton_calls import ask
from tests.unit.serving.support import make_package, special_tags_tokenizer

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if tools %}<tool_call>{% endif %}<|im_start|>assistant\n{{ '<think>\\n' }}"
)
THOUGHT, ANSWER = "I reason first.", "Four."
CALL = '<tool_call>{"name": "f", "arguments": {"a": "</tool_call>"}}</tool_call>'
TOOLS = json.dumps([{"type": "function", "function": {"name": "f"}}])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("own")
    package = directory / "package"
    package.mkdir()
    (package / CHAT_TEMPLATE).write_text(TEMPLATE)
    scripts = (Script(match="call", thinking=THOUGHT, answer=CALL), Script(match="", thinking=THOUGHT, answer=ANSWER))
    make_package(package, *scripts, tokenizer=special_tags_tokenizer(), chat_format="template")
    with serving(package, directory) as running:
        yield running


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("thinking", [None, True, False])
def test_the_block_is_opened_once_and_read_off_the_prompt(server: Server, thinking: bool | None, stream: bool) -> None:
    said = {} if thinking is None else {"thinking": thinking}
    answer = asyncio.run(ask(server.grpc_address, text_input="2 + 2?", stream=stream, max_tokens=100, **said))
    assert answer.text("reasoning_content") == ("" if thinking is False else THOUGHT)
    assert answer.text("content") == ANSWER
    assert answer.last["finish_reason"] == "stop"


@pytest.mark.parametrize("stream", [True, False])
def test_calls_between_special_tokens_are_read(server: Server, stream: bool) -> None:
    inputs = {"text_input": "Please call.", "tools": TOOLS, "max_tokens": 200}
    answer = asyncio.run(ask(server.grpc_address, stream=stream, **inputs))
    (call,) = [call for response in answer.responses for call in json.loads(response["tool_calls"] or "[]")]
    assert json.loads(call["function"]["arguments"]) == {"a": "</tool_call>"}
    assert (answer.text("reasoning_content"), answer.text("content")) == (THOUGHT, "")
    assert answer.text() == f"{THOUGHT}\n</think>\n\n{CALL}"


def test_tags_that_a_user_writes_are_no_special_tokens(server: Server) -> None:
    counts = [
        server.generate(text_input=text, max_tokens=8)["num_input_tokens"] for text in ("-------", "<think>", "<tools>")
    ]
    assert len(set(counts)) == 1  # of single characters
