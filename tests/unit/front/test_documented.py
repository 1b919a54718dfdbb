"""What docs/openai shows of answers is what the front sends: errors row by row, and the examples whole."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from nemotron_client.testing import Fault, ScriptedReply
from tests.unit.front.caller import Caller
from tests.unit.front.conftest import FrontOf
from tests.unit.front.scripts import CHAT, HI, app_of

DOCS = Path(__file__).parents[3] / "docs" / "openai"
ERRORS = (DOCS / "errors.md").read_text()
BLOCK = re.compile(r"^```(?:json)?\n(.*?)^```", re.MULTILINE | re.DOTALL)
CELL = re.compile(r"`([^`]*)`")
TOO_LONG = "text_input: 9000 tokens were given, but this model's maximum context length is 4096 tokens"


def table() -> list[tuple[int, str, str]]:
    """The status, type and code of each row of the table of errors, where empty cells go on with what stands above."""
    rows, status, kind = [], 0, ""
    for line in ERRORS.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| ") and len(cells) == 4 and cells[0] != "status":
            status, kind = int(cells[0] or status), cells[1].strip("`") or kind
            rows += [(status, kind, code) for code in CELL.findall(cells[2])]
    return rows


def faulty(fault: Fault) -> dict[str, Any]:
    return {"reply": ScriptedReply(fault=fault)}


KEYS: dict[str, Any] = {"api_key_file": "keys"}
CASES: dict[str, dict[str, Any]] = {
    "invalid_json": {"body": b"{"},
    "invalid_value": {"body": {**HI, "temperature": 9}},
    "unknown_parameter": {"body": {**HI, "foo": 1}},
    "unsupported_parameter": {"body": {**HI, "functions": [{"name": "f"}]}},
    "context_length_exceeded": faulty(Fault.invalid(TOO_LONG)),
    "invalid_api_key": {"options": KEYS},
    "forbidden": {"headers": {"origin": "https://example.org"}},
    "model_not_found": {"body": {**HI, "model": "x"}},
    "unknown_url": {"path": "/v1/nothing"},
    "method_not_allowed": {"method": "DELETE"},
    "request_timeout": {"options": {"body_seconds": 0.01}, "stuck": True},
    "request_too_large": {"options": {"max_body_mib": 1}, "headers": {"content_length": str(1 << 21)}},
    "unsupported_content_encoding": {"headers": {"content_encoding": "gzip"}},
    "server_overloaded": faulty(Fault.full()),
    "server_error": faulty(Fault.internal()),
    "upstream_authentication": faulty(Fault.unauthenticated()),
    "not_ready": faulty(Fault.not_ready()),
    "shutting_down": faulty(Fault.shutting_down()),
    "deadline_exceeded": {"reply": ScriptedReply("", finish_reason="timeout")},
}
"""By code, how the front comes to say it."""


def asked(
    *,
    reply: Any = "Hello.",
    options: Mapping[str, Any] = {},
    path: str = CHAT,
    body: Any = HI,
    headers: Mapping[str, str] = {},
    method: str = "POST",
    stuck: bool = False,
) -> Caller:
    async def run() -> Caller:
        app, _ = app_of(reply, **options)
        return await Caller(app, path, body, method=method, stuck=stuck, **headers).start().end()

    return asyncio.run(run())


ROWS = [row for row in table() if row[2] != "invalid_http"]  # what is no HTTP comes to no application


def test_each_error_that_can_be_brought_about_is_in_the_table() -> None:
    assert sorted(code for _, _, code in ROWS) == sorted(CASES)


@pytest.mark.parametrize(("status", "kind", "code"), ROWS)
def test_errors_are_as_the_table_says(status: int, kind: str, code: str, tmp_path: Path) -> None:
    case = CASES[code]
    if case.get("options") is KEYS:
        (tmp_path / "keys").write_text("first\n")
        case = {**case, "options": {"api_key_file": tmp_path / "keys"}}
    caller = asked(**case)
    assert (caller.status, caller.error["type"], caller.error["code"]) == (status, kind, code)
    # As "Trying again" says.
    again = status in (429, 503)
    assert caller.headers["x-should-retry"] == ("true" if again else "false")
    assert (("retry-after" in caller.headers), ("retry-after-ms" in caller.headers)) == (again, again)
    assert ("allow" in caller.headers) is (code == "method_not_allowed")
    assert caller.headers["x-request-id"]


def test_the_error_that_is_shown_is_the_one_that_comes() -> None:
    assert json.loads(BLOCK.findall(ERRORS)[0]) == asked(body={**HI, "temperature": 9}).json


def test_the_stream_that_is_shown_ends_as_one_that_fails() -> None:
    (shown,) = (block for block in BLOCK.findall(ERRORS) if block.startswith("data: "))
    body = asked(reply=ScriptedReply("It is", fault=Fault.internal()), body={**HI, "stream": True}).body.decode()
    request_id = re.search(r'"id":"chatcmpl-(\w+)"', body)
    assert request_id
    told, written = re.search("request id (.*?)[.]", shown), shown.strip().replace("3f2a…", request_id[1])
    assert told
    assert body.endswith(f"{written}\n\n")


def test_errors_of_messages_have_the_keys_that_are_shown() -> None:
    (shown,) = re.findall(r"^`(\{.*\})`\.$", ERRORS, re.MULTILINE)
    caller = asked(path="/v1/messages", body={**HI, "max_tokens": 9, "temperature": 9})
    error = caller.json["error"]
    assert json.loads(shown.replace("…", '""')) == {"type": "error", "error": dict.fromkeys(error, "")}


EXAMPLES = {"/v1/health/live": "deployment.md", "/v1/health/ready": "deployment.md", "/v1/models": "README.md"}


@pytest.mark.parametrize("path", EXAMPLES)
def test_answers_to_get_are_as_they_are_shown(front_of: FrontOf, path: str) -> None:
    page = (DOCS / EXAMPLES[path]).read_text()
    (shown,) = re.findall(rf"^`GET {path}` says.*\n\n```json\n((?:.*\n)*?)```", page, re.MULTILINE)
    answer, expected = front_of().get(path).json(), json.loads(shown)
    if path == "/v1/models":
        answer["data"] = answer["data"][:1]
        for (entry,) in (answer["data"], expected["data"]):
            entry["created"], entry["max_model_len"] = 0, 0
    assert answer == expected
