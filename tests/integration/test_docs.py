"""What README and docs show is run: Python and curl against a real server, and the options of every command exist."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from _pytest.mark import ParameterSet

from tests.integration.conftest import BIN, ROOT, Front, Server

AT_ONCE = 4
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(
    r"^(?:\$ )?(nemotron-(?:bench|chat|front|serve|build)(?: container)?"
    r"(?: (?:build|capacity|check|compare|compile|convert|demo|package|plan|profiles|quantize|report|run|scenarios"
    r"|self-test|serve|simulated|sweep|verify|wheels)\b)?)(.*)",
    re.MULTILINE,
)
JQ = re.compile(r" \|\s+jq [^|]*?$", re.MULTILINE)  # for people; whether it is installed is nothing to a test
LINK = re.compile(r"\]\(([^)#]+\.md)")


def blocks(language: str) -> list[ParameterSet]:
    return [
        pytest.param(text, id=f"{page.name}-{number}")
        for page in PAGES
        for number, (found, text) in enumerate(BLOCK.findall(page.read_text()))
        if found == language
    ]


def at(server: Server, front: Front, text: str) -> str:
    """The example with the test server's addresses, and those of the front beside it."""
    text = text.replace("127.0.0.1:9000", urlsplit(front.url).netloc)
    for port, name in (("8000", "http_url"), ("8001", "grpc_url"), ("8002", "metrics_url")):
        text = text.replace(f"127.0.0.1:{port}", urlsplit(server.info[name]).netloc)
    return text


def run(command: list[str], environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done


def json_objects(text: str) -> Iterator[dict[str, object]]:
    """The objects in a text, whatever stands between them."""
    decoder, position = json.JSONDecoder(), 0
    while (begin := text.find("{", position)) >= 0:
        found, position = decoder.raw_decode(text, begin)
        yield found


Begun = dict[str, Future[subprocess.CompletedProcess[str]]]


@pytest.fixture(scope="module")
def begun(demo_server: Server, demo_front: Front) -> Iterator[Begun]:
    """All examples, some at a time: a model writes several answers at once in little more time than one."""
    commands = {str(code.values[0]): [sys.executable, "-c"] for code in blocks("python")}
    commands |= {str(script.values[0]): ["bash", "-ec"] for script in blocks("bash")}
    # A copy: pytest changes its own for each test, and a program that a thread starts just then may fail.
    environment = dict(os.environ)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {
            text: pool.submit(
                run,
                [*command, at(demo_server, demo_front, JQ.sub("", text) if command[0] == "bash" else text)],
                environment,
            )
            for text, command in commands.items()
        }
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("code", blocks("python"))
def test_python_examples_run(begun: Begun, code: str) -> None:
    assert begun[code].result().stdout.strip()


@pytest.mark.parametrize("script", blocks("bash"))
def test_curl_examples_run(begun: Begun, script: str) -> None:
    answers = list(json_objects(begun[script].result().stdout))
    assert answers
    # The one example of an error shows its answer too.
    shown = [answer for answer in answers if answer.get("error")]
    assert len(shown) == script.count('"max_tokens": -1')


@pytest.mark.parametrize("text", blocks("json"))
def test_json_examples_are_json(text: str) -> None:
    json.loads(text)


def test_the_error_that_is_shown_is_the_one_that_comes(demo_server: Server) -> None:
    _, body = demo_server.post("/v2/models/ensemble/generate", {"text_input": "Hi", "max_tokens": -1})
    assert body in (ROOT / "docs" / "requests.md").read_text()


@functools.cache
def help_of(command: str) -> str:
    program, *sub = command.split()
    return run([str(BIN / program), *sub, "--help"]).stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_have_the_options_that_are_shown(page: Path) -> None:
    for command, rest in COMMAND.findall(page.read_text()):
        text = help_of(command)
        ours = rest.partition(" -- ")[0]
        for option in re.findall(r"(?<=\s)--?[a-z][\w-]*", ours):
            assert option in text, f"{command} has no {option}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        assert (page.parent / target).is_file(), target
