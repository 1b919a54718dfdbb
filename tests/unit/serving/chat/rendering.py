"""What the chat tests have in common: packages for each format, and prompts as text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from tokenizers import Tokenizer

from nemotron_serving.chat.formats import ChatFormat, ChatRequest, Control, PromptPart, open_chat_format
from nemotron_serving.chat.messages import Message, parse_messages
from nemotron_serving.chat.tools import Tool
from nemotron_serving.package import CHAT_TEMPLATE, Package
from tests.unit.serving.support import make_package, manifest, serving_config

ON, OFF = "detailed thinking on", "detailed thinking off"

LLAMA_TEMPLATE = """\
{{- bos_token }}
{%- for message in messages %}
    {%- if message.role == 'tool' %}
        {{- '<|start_header_id|>user<|end_header_id|>\\n\\n<TOOL_RESPONSE>[' + message.content + ']</TOOL_RESPONSE>' }}
    {%- else %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] }}
    {%- endif %}
    {%- if loop.first and tools %}
        {{- '\\n\\n<AVAILABLE_TOOLS>[' }}
        {%- for tool in tools %}
            {{- tool.function | tojson + (', ' if not loop.last else '') }}
        {%- endfor %}
        {{- ']</AVAILABLE_TOOLS>' }}
    {%- endif %}
    {%- if message.tool_calls %}
        {{- '<TOOLCALL>[' }}
        {%- for call in message.tool_calls %}
            {{- {'name': call.function.name, 'arguments': call.function.arguments} | tojson }}
            {%- if not loop.last %}{{ ', ' }}{% endif %}
        {%- endfor %}
        {{- ']</TOOLCALL>' }}
    {%- endif %}
    {{- '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
"""Nemotron's format as a template, for one tool result a turn."""


def chat_format(name: str, default_system_prompt: str = "", **policy: Any) -> ChatFormat:
    """A format that needs no files. `policy` changes fields of the thinking policy; Nemotron has its toggles."""
    if name == "nemotron":
        policy = {"system_on": ON, "system_off": OFF} | policy
    return open_chat_format(Package(Path(), manifest(), _serving(name, default_system_prompt, policy)))


def template_format(
    path: Path, source: str, tokenizer: Tokenizer | None = None, default_system_prompt: str = "", **policy: Any
) -> ChatFormat:
    """A format from a template, in a package that is written to `path`."""
    path.mkdir(parents=True)
    (path / CHAT_TEMPLATE).write_text(source, encoding="utf-8")
    package = make_package(path, tokenizer=tokenizer)
    return open_chat_format(Package(path, package.manifest, _serving("template", default_system_prompt, policy)))


def _serving(name: str, default_system_prompt: str, policy: dict[str, Any]) -> Any:
    config = serving_config(chat_format=name, default_system_prompt=default_system_prompt)
    return msgspec.structs.replace(config, thinking=msgspec.structs.replace(config.thinking, **policy))


def conversation(*messages: dict[str, Any]) -> list[Message]:
    """Messages as they come from a request."""
    return parse_messages(msgspec.json.encode(messages).decode())


def request(
    *messages: dict[str, Any], tools: Sequence[Tool] = (), thinking: bool = True, prefill: str = ""
) -> ChatRequest:
    """A request of messages in OpenAI's shape."""
    return ChatRequest(conversation(*messages), tuple(tools), thinking, prefill)


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def system(content: Any) -> dict[str, Any]:
    return {"role": "system", "content": content}


def assistant(content: Any, *calls: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, "tool_calls": list(calls), **more}


def call(name: str, arguments: Any, call_id: str = "1") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def tool(content: Any, call_id: str = "1") -> dict[str, Any]:
    return {"role": "tool", "content": content, "tool_call_id": call_id}


def function(name: str, **more: Any) -> Tool:
    """A tool to offer."""
    return Tool(name, {"name": name, **more})


def written(parts: Sequence[PromptPart]) -> str:
    """The prompt as one text."""
    return "".join(part.token if isinstance(part, Control) else part for part in parts)
