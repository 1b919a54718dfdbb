"""Answers by schemas from the real model, thinking and not: every one validates, and the thinking is free."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import jsonschema
import tritonclient.grpc.aio as aioclient

from tests.integration.conftest import Server
from tests.integration.triton_calls import Answer, stream
from tests.unit.serving.guide.fifty_schemas import FIFTY_SCHEMAS

AT_ONCE = 24
# A plain one, each kind of value among them, parts in others, one of two, and one that holds itself.
NAMES = ("book", "flight", "choice", "setting", "invoice", "library", "found", "comment")


async def ask_all(address: str, cases: Sequence[tuple[str, bool]]) -> list[Answer]:
    """An answer for each schema name and thinking flag, many at once."""
    places = asyncio.Semaphore(AT_ONCE)

    async def ask(client: aioclient.InferenceServerClient, name: str, thinking: bool) -> Answer:
        schema = {"name": name, "schema": FIFTY_SCHEMAS[name]}
        inputs: dict[str, Any] = {
            "text_input": f"Give me an example of a {name}.",
            "response_format": json.dumps({"type": "json_schema", "json_schema": schema}),
            "thinking": thinking,
            "max_tokens": 400,
            **({"max_thinking_tokens": 60} if thinking else {}),
        }
        async with places:
            return Answer([one async for one in stream(client, f"{name}-{thinking}", stream=True, **inputs)])

    async with aioclient.InferenceServerClient(address) as client:
        return await asyncio.gather(*(ask(client, *case) for case in cases))


def test_every_answer_validates_and_reasoning_is_free_text(demo_server: Server) -> None:
    cases = [(name, thinking) for name in NAMES for thinking in (False, True)]
    answers = asyncio.run(ask_all(demo_server.grpc_address, cases))
    thoughts, ended = [], 0
    for (name, thinking), answer in zip(cases, answers, strict=True):
        if answer.last["finish_reason"] == "stop":  # else it is as long as it may be
            ended += 1
            content = json.loads(answer.text("content"))
            jsonschema.validate(content, FIFTY_SCHEMAS[name], jsonschema.Draft202012Validator)
        reasoning = answer.text("reasoning_content")
        assert bool(reasoning) is thinking, name
        thoughts.append(reasoning)
    assert ended > len(cases) / 2
    assert not any(_is_json(thought) for thought in thoughts)
    assert demo_server.info["restarts"] == 0


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
