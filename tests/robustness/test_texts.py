"""Texts that lack nothing: many at once, whichever way they come, each is what its tokens spell."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from nemotron_client import AsyncClient, ContentDelta, LogprobsDelta, Options, ReasoningDelta
from tests.integration.conftest import Front, Server, fronting, serving
from tests.integration.front.asking import Got

SECONDS = 1.5  # of each way
WORKERS = 24
MARKERS = ("[sim:unicode]", "[sim:random]", "[sim:think]", "no script")
STOPS = ("e", " th", "ก", "\ufffd", "never said")
WAYS: dict[str, dict[str, Any]] = {
    "a session": {},
    "sessions that end soon": {"sessions": 4, "session_max_age_s": 0.2},
    "the ensemble": {"sessions": 0},
}


@pytest.fixture(scope="module")
def quick_server(simulated_package: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """1 ms a token, and room for all workers."""
    package = simulated_package("--ttft-ms", "1", "--token-ms", "1", "--max-batch-size", "64", "--max-waiting", "64")
    with serving(package, tmp_path_factory.mktemp("quick")) as server:
        yield server


def spelled(entries: Sequence[Any]) -> str:
    """The text of these tokens, which are entries of log probabilities, the tags of the thinking included."""
    return b"".join(bytes(entry["bytes"]) for entry in entries).decode(errors="replace")


def parted(text: str, *, thinks: bool, stop: str) -> tuple[str, str]:
    """The thinking and the answer of a text that is whole; the answer ends before a stop string."""
    thinking = ""
    if thinks and text.startswith("<think>"):
        thinking, _, text = text.removeprefix("<think>").partition("</think>")
    if thinking or not thinks:
        text = text.lstrip("\n")
    return thinking.strip("\n"), text.partition(stop)[0] if stop else text


async def ask(client: AsyncClient, chance: random.Random) -> None:
    """Ask for something and hold each text against the tokens."""
    stop = chance.choice(STOPS) if chance.random() < 0.3 else ""
    thinks = chance.random() < 0.5
    options: Options = {
        "max_tokens": chance.choice((20, 40) if thinks else (1, 2, 8, 30)),
        "return_log_probs": True,
        "thinking": thinks,
        "seed": chance.randrange(1000),
    }
    if stop:
        options["stop_words"] = [stop]
    if thinks and chance.random() < 0.3:
        options["max_thinking_tokens"] = chance.randrange(1, 8)
    ends_thinking = chance.random() < 0.2
    texts: dict[type, str] = {ReasoningDelta: "", ContentDelta: ""}
    entries: list[Any] = []
    messages = [{"role": "user", "content": f"{chance.choice(MARKERS)} {chance.random()}"}]
    async with client.stream_chat(messages, **options) as stream:
        async for event in stream:
            if isinstance(event, LogprobsDelta):
                entries += event.entries
            elif isinstance(event, (ReasoningDelta, ContentDelta)):
                texts[type(event)] += event.text
            if ends_thinking:
                ends_thinking = False
                await stream.end_thinking()
        reply = await stream.get_final()
    whole = parted(spelled(reply.logprobs), thinks=thinks, stop=stop)
    assert (reply.reasoning_content, reply.content) == whole, (messages, options, reply)
    assert (texts[ReasoningDelta], texts[ContentDelta]) == (reply.reasoning_content, reply.content)
    assert entries == list(reply.logprobs)
    assert len(entries) == reply.usage.output_tokens


@pytest.mark.parametrize("way", WAYS)
def test_texts_are_what_their_tokens_spell(
    quick_server: Server, way: str, record_property: Callable[[str, object], None]
) -> None:
    asked = 0

    async def work(client: AsyncClient, number: int, end: float) -> None:
        nonlocal asked
        chance = random.Random(number)
        while time.monotonic() < end:
            await ask(client, chance)
            asked += 1

    async def run() -> None:
        async with AsyncClient(quick_server.grpc_url, **WAYS[way]) as client, asyncio.TaskGroup() as group:
            end = time.monotonic() + SECONDS
            for number in range(WORKERS):
                group.create_task(work(client, number, end))

    asyncio.run(run())
    record_property("asked", asked)
    assert asked


def ask_front(front: Front, chance: random.Random) -> None:
    """Ask for two completions at once, streamed or whole, of scripts whose tokens are a character each."""
    body = {"prompt": ["a", "[sim:think]"], "max_tokens": chance.choice((1, 8, 12)), "logprobs": 0}
    streamed = chance.random() < 0.5
    got = Got(*front.post("/v1/completions", {**body, "stream": streamed}))
    choices = [choice for chunk in (got.chunks if streamed else [got.json]) for choice in chunk["choices"]]
    for index in range(2):
        own = [choice for choice in choices if choice["index"] == index]
        tokens = [token for choice in own if choice["logprobs"] for token in choice["logprobs"]["tokens"]]
        assert "".join(choice["text"] for choice in own) == "".join(tokens), got.text
        assert len(tokens) == body["max_tokens"]
        assert own[-1]["finish_reason"] == "length"


@pytest.mark.parametrize("sessions", ["1", "0"], ids=["a session", "the ensemble"])
def test_completions_are_what_their_tokens_spell(quick_server: Server, tmp_path: Path, sessions: str) -> None:
    def work(number: int) -> None:
        chance = random.Random(number)
        while time.monotonic() < end:
            ask_front(front, chance)

    with fronting(quick_server, tmp_path, "--sessions", sessions) as front, ThreadPoolExecutor(WORKERS) as pool:
        end = time.monotonic() + SECONDS
        for _ in pool.map(work, range(WORKERS)):
            pass
