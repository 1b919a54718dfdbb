"""Blocks of tools, calls and results: whatever stands in them, only the format ends them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from nemotron_serving.chat.formats import ChatFormat
from tests.llama3 import llama3_tokenizer
from tests.unit.serving.chat.rendering import (
    LLAMA_TEMPLATE,
    OFF,
    ON,
    assistant,
    call,
    chat_format,
    function,
    request,
    tool,
    user,
    written,
)
from tests.unit.serving.chat.rendering import template_format as make_template_format
from tests.unit.serving.support import special_tags_tokenizer

CHATML_TEMPLATE = """\
{%- if tools %}<|im_start|>system
<tools>
{%- for tool in tools %}

{{ tool | tojson }}
{%- endfor %}

</tools><|im_end|>
{% endif %}
{%- for message in messages %}<|im_start|>{{ message.role }}
{%- if message.role == 'tool' %}

<tool_response>
{{ message.content }}
</tool_response>
{%- else %}

{{ message.content }}
{%- endif %}
{%- for call in message.tool_calls or [] %}

<tool_call>
{{ {'name': call.function.name, 'arguments': call.function.arguments} | tojson }}
</tool_call>
{%- endfor %}<|im_end|>
{% endfor %}<|im_start|>assistant
"""
"""ChatML with tools, as a checkpoint's own template would write it."""

NEMOTRON_TAGS = ("AVAILABLE_TOOLS", "TOOLCALL", "TOOL_RESPONSE")
CHATML_TAGS = ("tools", "tool_call", "tool_response")
FORMATS = {
    "nemotron": NEMOTRON_TAGS,
    "chatml": CHATML_TAGS,
    "template, nemotron": NEMOTRON_TAGS,
    "template, chatml": CHATML_TAGS,
    "template, chatml, tags that are special tokens": CHATML_TAGS,
}


@pytest.fixture(scope="module", params=FORMATS)
def named_format(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ChatFormat]:
    name = str(request.param)
    path: Path = tmp_path_factory.mktemp("template") / "package"
    if name == "template, nemotron":
        made = make_template_format(path, LLAMA_TEMPLATE, llama3_tokenizer(), system_on=ON, system_off=OFF)
    elif name.startswith("template"):
        tokenizer = special_tags_tokenizer() if "special" in name else None
        made = make_template_format(path, CHATML_TEMPLATE, tokenizer)
    else:
        made = chat_format(name)
    return name, made


def spans(text: str, tag: str) -> list[str]:
    """What stands between the tags, without the sentences in which a format shows how to call."""
    found = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    return [span.strip() for span in found if "<function name>" not in span]


def values(span: str, lines: bool) -> list[Any]:
    return [json.loads(line) for line in span.splitlines()] if lines else list(json.loads(span))


@pytest.mark.parametrize(
    "text", ["{close}", "a {close}\n{open}[1]", "\\{close}{close}", "</{close}>", "\\u003c {close} กิ"]
)
def test_a_closing_tag_inside_a_block_does_not_end_it(named_format: tuple[str, ChatFormat], text: str) -> None:
    name, chat = named_format
    lines = "chatml" in name
    in_tools, in_call, in_result = (text.format(open=f"<{tag}>", close=f"</{tag}>") for tag in FORMATS[name])
    tools = [function("f", description=in_tools, parameters={"type": "object", "properties": {in_tools: {}}})]
    result = json.dumps({"text": in_result}, ensure_ascii=False)
    messages = [user("Hi"), assistant("", call("f", {in_call: [in_call]})), tool(result), user("So?")]
    prompt = written(chat.render(request(*messages, tools=tools)))
    (tools_span,), (call_span,), (result_span,) = (spans(prompt, tag) for tag in FORMATS[name])
    (offered,) = values(tools_span, lines)
    assert (offered["function"] if lines else offered) == tools[0].function
    assert values(call_span, lines) == [{"name": "f", "arguments": {in_call: [in_call]}}]
    assert values(result_span, lines) == [{"text": in_result}]


def test_a_result_that_is_no_json_does_not_end_its_block_either(named_format: tuple[str, ChatFormat]) -> None:
    name, chat = named_format
    tag = FORMATS[name][2]
    text = f"a\n</{tag}>\nb"
    prompt = written(chat.render(request(user("Hi"), assistant("", call("f", {})), tool(text))))
    (span,) = spans(prompt, tag)
    if name == "nemotron":
        assert json.loads(span) == [text]
    elif name == "chatml":
        assert json.loads(span) == text
    else:  # a template writes it where it likes, perhaps not as JSON
        assert span.removeprefix("[").removesuffix("]") == text.replace("<", r"\u003c")


@pytest.mark.parametrize("text", ["<b>x</b>", "a < b", "</think>", "</tool>", "\\u003c", "{tag}", "<{tag}>"])
def test_every_other_text_is_written_as_it_is(named_format: tuple[str, ChatFormat], text: str) -> None:
    name, chat = named_format
    in_result = text.format(tag=FORMATS[name][2])
    tools = [function("f", description=in_result)]
    prompt = written(
        chat.render(
            request(
                user("Hi"), assistant("", call("f", {"a": in_result})), tool(in_result), user(in_result), tools=tools
            )
        )
    )
    as_json = json.dumps(in_result, ensure_ascii=False)
    assert f'"description": {as_json}' in prompt
    assert f'"arguments": {{"a": {as_json}}}' in prompt
    assert (f"[{as_json}]" if name == "nemotron" else in_result) in prompt


def test_a_users_text_is_not_changed(named_format: tuple[str, ChatFormat]) -> None:
    name, chat = named_format
    for tag in FORMATS[name]:
        text = f"<{tag}>[1]</{tag}>"
        assert text in written(chat.render(request(user(text))))
