"""A handful of prompts that a served package has to answer as the server promises; what the model says is its own.

`nemotron-serve` runs this module beside a server that it has started (`verify --run`). It knows the server by its
HTTP interface alone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from nemotron_build.errors import BuildError, VerificationError

_TIMEOUT_S = 300
_FAILED = VerificationError.exit_status
_URL = "NEMOTRON_HTTP_URL"
_QUESTION = "What is the capital of France? Answer in one sentence."


class Answer(msgspec.Struct):
    """The outputs of the ensemble that are looked at."""

    content: str
    reasoning_content: str
    finish_reason: str
    num_output_tokens: int
    num_reasoning_tokens: int


@dataclass(frozen=True)
class Golden:
    """A request and what has to hold for its answer.

    Attributes:
        what: For people to read.
        request: Inputs of the ensemble.
        wrong: What is wrong with an answer; "" if nothing is.
    """

    what: str
    request: dict[str, Any]
    wrong: Callable[[Answer], str]


def run_golden(package: Path) -> None:
    """Serve a package on free ports and ask it. What it answers goes to the terminal.

    Raises:
        VerificationError: an answer is not as it has to be.
        BuildError: the package could not be served.
    """
    # Beside this Python first: that is the same installation.
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    program = shutil.which("nemotron-serve", path=places)
    if program is None:
        raise BuildError(
            "nemotron-serve was not found. Install it in this project's checkout: pip install '.[server]'."
        )
    ports = [f"--{name}-port=0" for name in ("http", "grpc", "metrics")]
    ask = [sys.executable, "-m", "nemotron_build.verify.golden"]
    # What the server and the answers say is no product of ours: it goes where messages go.
    with subprocess.Popen([program, str(package), *ports, "--", *ask], stdout=sys.stderr) as process:
        try:
            status = process.wait()
        except BaseException:
            process.terminate()  # it stops the server
            raise
    if status == _FAILED:
        raise VerificationError(f"{package} does not answer as it has to; what was wrong stands above.")
    if status:
        raise BuildError(f"{package} could not be served: nemotron-serve ended with status {status}, see above.")


def main(url: str) -> int:
    """Ask all of it, and say what came.

    Returns:
        The exit status.
    """
    failed = 0
    for golden in goldens():
        wrong, answer = _ask(url, golden)
        failed += bool(wrong)
        sys.stdout.write(f"{'FAIL' if wrong else 'ok'}  {golden.what}{': ' if wrong else ''}{wrong}  {answer!r}\n")
    return _FAILED if failed else 0


def goldens() -> list[Golden]:
    """The prompts, greedy. Nothing compares two answers: a warm prefix cache may turn a near tie the other way."""
    greedy: dict[str, Any] = {"text_input": _QUESTION, "temperature": 0.0, "max_tokens": 48}
    scripts = {**greedy, "text_input": "ไทย 日本語 ελληνικά 🙂?"}
    return [
        Golden("thinking off answers and does not think", {**greedy, "thinking": False}, _plain),
        Golden("thinking on answers, or is cut off in its thinking", {**greedy, "thinking": True}, _some_text),
        Golden("max_tokens 1 ends with 'length'", {**greedy, "thinking": False, "max_tokens": 1}, _one_token),
        Golden(
            "messages with a system text",
            {"messages": _messages(), "temperature": 0.0, "max_tokens": 48, "thinking": False},
            _plain,
        ),
        Golden("other scripts come through", {**scripts, "thinking": False}, _plain),
    ]


def _ask(url: str, golden: Golden) -> tuple[str, str]:
    request = urllib.request.Request(  # noqa: S310 - the URL is that of the server that started us
        f"{url}/v2/models/ensemble/generate", msgspec.json.encode(golden.request)
    )
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:  # noqa: S310
            answer = msgspec.json.decode(response.read(), type=Answer)
    except (OSError, ValueError) as error:
        return str(error), ""
    return golden.wrong(answer), answer.content or answer.reasoning_content


def _plain(answer: Answer) -> str:
    if answer.reasoning_content or answer.num_reasoning_tokens:
        return f"it thought {answer.num_reasoning_tokens} tokens"
    return _some_text(answer)


def _some_text(answer: Answer) -> str:
    if not (answer.content or answer.reasoning_content).strip():
        return "it is empty"
    expected = "length" if answer.num_output_tokens >= 48 else "stop"
    if answer.finish_reason not in ("stop", expected):
        return f"finish_reason is {answer.finish_reason!r} after {answer.num_output_tokens} tokens"
    return ""


def _one_token(answer: Answer) -> str:
    if answer.num_output_tokens != 1 or answer.finish_reason not in ("length", "stop"):
        return f"{answer.num_output_tokens} tokens, finish_reason {answer.finish_reason!r}"
    return ""


def _messages() -> str:
    content = [{"role": "system", "content": "You are brief."}, {"role": "user", "content": _QUESTION}]
    return msgspec.json.encode(content).decode()


if __name__ == "__main__":
    sys.exit(main(os.environ[_URL]))
