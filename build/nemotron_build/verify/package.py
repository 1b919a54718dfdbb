"""`nemotron-build verify` of a package: an altered byte is refused, then a tokenizer or an engine that does not fit it.

With `--run` it is served, and a handful of prompts have to be answered as the server promises; what the model says is
its own. `nemotron-serve` runs this module beside the server that it has started, which is known here by its HTTP
interface alone.
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

from nemotron_build.chat_format import check_tokenizer
from nemotron_build.checkpoint.shape import CONFIG
from nemotron_build.errors import BuildError, VerificationError
from nemotron_serving.chat.formats import TEMPLATE
from nemotron_serving.engine.tensorrt_llm.files import QUANTIZATION_CONFIG, EngineConfig, engine_file, read_config
from nemotron_serving.package import CHAT_TEMPLATE, Package
from nemotron_serving.paths import MANIFEST

_TIMEOUT_S = 300
_FAILED = VerificationError.exit_status
_URL = "NEMOTRON_HTTP_URL"
_QUESTION = "What is the capital of France? Answer in one sentence."


def is_package(path: Path) -> bool:
    """Whether a directory is a package, whole or not, rather than a converted checkpoint."""
    return (path / MANIFEST).exists() or not (path / CONFIG).exists()


def verify(path: Path) -> tuple[Package, list[str]]:
    """Check a package completely.

    Returns:
        The package, and what was checked beside its hashes, a line each.

    Raises:
        PackageError: it is damaged or altered, or does not fit this machine.
        VerificationError: its parts do not fit each other.
    """
    from tokenizers import Tokenizer

    package = Package.load(path)
    package.verify_files()
    if package.serving.chat_format == TEMPLATE and CHAT_TEMPLATE not in package.manifest.files:
        raise VerificationError(f"{path} has no {CHAT_TEMPLATE}, its chat format is 'template'. Build it again.")
    tokenizer, serving = Tokenizer.from_file(str(package.tokenizer_path)), package.serving
    checks = [check_tokenizer(tokenizer, serving.chat_format, serving.stop_token_ids)]
    if package.manifest.engine.kind == "tensorrt_llm":
        checks.append(_check_tensorrt_llm(package))
    if package.manifest.engine.kind == "openvino":
        from nemotron_build.cpu.to_openvino import ENGINE_FILES

        for name in ENGINE_FILES:
            if not (package.engine_path / name).is_file():
                raise VerificationError(f"{package.engine_path / name} is missing. Build the package again.")
    return package, checks


def compare_with_fp32(package: Package) -> str:
    """What a CPU's package loses to this CPU's arithmetic.

    Returns:
        The mean KL and the share of equal choices, as a line.

    Raises:
        VerificationError: logits that are not finite, or a model that OpenVINO cannot load.
    """
    from tokenizers import Tokenizer

    from nemotron_build.cpu.fidelity import measure_arithmetic, prompt_ids
    from nemotron_build.cpu.to_openvino import MODEL

    model = package.engine_path / MODEL
    try:
        figures = measure_arithmetic(model, prompt_ids(Tokenizer.from_file(str(package.tokenizer_path))))
    except RuntimeError as error:
        raise VerificationError(f"OpenVINO cannot load {model}: {' '.join(str(error).split())}") from error
    return (
        f"as served on this CPU: mean KL {figures.mean_kl:.2g} nats to FP32, the same choice at "
        f"{figures.top1_agreement:.1%} of the positions"
    )


def _check_tensorrt_llm(package: Package) -> str:
    engine, limits = package.engine_path, package.serving.limits
    config = _read(engine)
    if config.build_config is None or config.pretrained_config is None:
        _check_checkpoint(package, config)
        return "the checkpoint in engine/ has the positions that limits promise"
    version = package.manifest.engine.version
    if config.version != version:
        raise VerificationError(
            f"{engine / CONFIG}: version is {config.version!r}, the manifest says {version!r}. Build it again."
        )
    for name in ("max_batch_size", "max_seq_len"):
        held, promised = getattr(config.build_config, name), getattr(limits, name)
        if held < promised:
            raise VerificationError(
                f"{engine / CONFIG}: {name} is {held}, the package promises {promised}. Build the package again."
            )
    for rank in range(config.pretrained_config.mapping.world_size):
        if not (engine / engine_file(rank)).is_file():
            raise VerificationError(f"{engine / engine_file(rank)} is missing. Build the package again.")
    return f"the engine was built by {version} and holds what limits promise"


def _check_checkpoint(package: Package, config: EngineConfig) -> None:
    engine, limits = package.engine_path, package.serving.limits
    if not config.architectures or not any(engine.glob("*.safetensors")):
        raise VerificationError(f"{engine} is neither an engine nor a checkpoint. Build the package again.")
    if limits.max_seq_len > config.max_position_embeddings:
        raise VerificationError(
            f"serving.json: max_seq_len is {limits.max_seq_len}, the checkpoint knows "
            f"{config.max_position_embeddings} positions. Build the package again."
        )
    wants_fp8 = "fp8" in package.manifest.engine.precision
    if wants_fp8 != (engine / QUANTIZATION_CONFIG).is_file():
        there = "missing" if wants_fp8 else "there"
        raise VerificationError(
            f"{engine / QUANTIZATION_CONFIG} is {there}, the manifest says {package.manifest.engine.precision}. "
            "Build the package again."
        )


def _read(engine: Path) -> EngineConfig:
    try:
        return read_config(engine)
    except (OSError, ValueError) as error:
        raise VerificationError(f"{engine / CONFIG} cannot be used: {error}. Build the package again.") from error


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
    ask = [sys.executable, "-m", "nemotron_build.verify.package"]
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
