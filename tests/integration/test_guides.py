"""Guides on the real engine: every grammar compiles, and what the model ends by itself is what was asked for.

That a grammar admits only what its schema says is shown in tests/unit/serving/guide, on more texts and with no model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import psutil
import pytest
from tokenizers import Tokenizer

from nemotron_serving.engine import Engine, EngineRequest, Sampling, open_engine
from nemotron_serving.guide import response_guide, tool_guide
from nemotron_serving.host import HostOptions
from nemotron_serving.package import Package
from tests.unit.serving.guide.fifty_schemas import FIFTY_SCHEMAS
from tests.unit.serving.guide.schemas import ORDER, PATTERNS, PERSON, SCHEMAS, integer, record, string
from tests.unit.serving.support import Deltas

ENGINE = "nemotron_serving.engine.openvino.worker"
ONE_IN = 6  # grammars is written by; of the others there is one token, so they compile
MAX_TOKENS = 120  # enough for most of them to come to an end
HOT = 2.0  # with no guide the model writes nonsense at this temperature
COMPILE_S = 2.0  # of CPU time; 0.2 s are usual


@pytest.fixture(scope="module")
def package(demo_package: Path) -> Package:
    return Package.load(demo_package)


@pytest.fixture(scope="module")
def engine(package: Package) -> Iterator[Engine]:
    engine = open_engine(package, HostOptions(package=package.path, kv_cache_gib=1))
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def writer(engine: Engine, package: Package) -> Writer:
    return Writer(engine, Tokenizer.from_file(str(package.tokenizer_path)))


class Writer:
    """Asks the engine for texts."""

    def __init__(self, engine: Engine, tokenizer: Tokenizer) -> None:
        self._engine = engine
        self._tokenizer = tokenizer
        self._prompt = tokenizer.encode("<|im_start|>user\nTell me more.<|im_end|>\n<|im_start|>assistant\n").ids
        self._requests = 0

    def begin(self, guide: str | None, count: int, max_tokens: int = MAX_TOKENS) -> list[Deltas]:
        """Ask for some texts at once, each with a seed of its own."""
        return [self._submit(guide, seed, max_tokens) for seed in range(count)]

    def finished(self, begun: list[Deltas]) -> list[str]:
        """Those of the texts that the model ended by itself."""
        texts = []
        for deltas in begun:
            last = deltas.wait(240)
            assert last.error is None
            if last.finish_reason == "stop":
                texts.append(self._tokenizer.decode(deltas.ids))
        return texts

    def first_token_s(self, guide: str | None) -> float:
        """Seconds of CPU time that the engine's process takes for it."""
        (engine,) = [child for child in psutil.Process().children() if ENGINE in child.cmdline()]
        begin = engine.cpu_times()
        self._submit(guide, 0, 1).wait(240)
        end = engine.cpu_times()
        return float(end.user + end.system - begin.user - begin.system)

    def _submit(self, guide: str | None, seed: int, max_tokens: int) -> Deltas:
        self._requests += 1
        deltas = Deltas()
        sampling = Sampling(temperature=HOT, seed=seed)
        stop = frozenset((0, 2))
        self._engine.submit(EngineRequest(self._requests, self._prompt, max_tokens, sampling, stop, guide), deltas)
        return deltas


def json_schema(schema: object) -> str | None:
    return response_guide(json.dumps({"type": "json_schema", "json_schema": {"name": "t", "schema": schema}}))


@pytest.fixture(scope="module")
def begun(writer: Writer) -> dict[str, list[Deltas]]:
    """A text for each entry of the tables, written side by side."""
    schemas = {name: json_schema(schema) for name, schema in SCHEMAS.items()}
    patterns = {pattern: response_guide(json.dumps({"type": "regex", "regex": pattern})) for pattern in PATTERNS}
    guides = (schemas | patterns).items()
    return {
        name: writer.begin(guide, 1, 1 if number % ONE_IN else MAX_TOKENS)
        for number, (name, guide) in enumerate(guides)
    }


@pytest.mark.parametrize("name", SCHEMAS)
def test_answers_validate(writer: Writer, begun: dict[str, list[Deltas]], name: str) -> None:
    for text in writer.finished(begun[name]):
        jsonschema.Draft202012Validator(SCHEMAS[name]).validate(json.loads(text))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_answers_match(writer: Writer, begun: dict[str, list[Deltas]], pattern: str) -> None:
    for text in writer.finished(begun[pattern]):
        assert re.fullmatch(pattern.replace("(?<name>", "(?P<name>"), text), repr(text)


def test_enough_texts_come_to_an_end_for_the_others_to_say_something(
    writer: Writer, begun: dict[str, list[Deltas]]
) -> None:
    ended = [len(writer.finished(texts)) for texts in begun.values()]
    assert sum(ended) > len(ended) / ONE_IN / 3


def test_what_applications_send_compiles(writer: Writer) -> None:
    begun = [writer.begin(json_schema(schema), 1, max_tokens=1) for schema in FIFTY_SCHEMAS.values()]
    for (deltas,) in begun:
        assert deltas.wait(240).error is None
        assert len(deltas.ids) == 1


@pytest.mark.parametrize("schema", [integer(), integer(format="int32"), integer(maximum=10**10)], ids=str)
def test_an_integer_comes_to_its_end(writer: Writer, schema: dict[str, object]) -> None:
    """Each has at most 15 digits and a sign, so 40 tokens are enough whatever the model writes."""
    texts = writer.finished(writer.begin(json_schema(schema), 4, 40))
    assert len(texts) == 4
    for text in texts:
        assert len(text.lstrip("-")) <= 15
        assert -(2**31) <= int(text) < 2**31 or "format" not in schema
        jsonschema.validate(json.loads(text), schema)


def test_a_choice_is_taken(writer: Writer) -> None:
    choices = ["yes", "no", "日本 or naïve"]
    texts = writer.finished(writer.begin(response_guide(json.dumps({"type": "choice", "choice": choices})), 8))
    assert len(texts) == 8
    assert set(texts) <= set(choices)


def test_tool_calls_are_well_formed(writer: Writer) -> None:
    tools = [("get_weather", {**record(city=string(maxLength=20)), "required": ["city"]}), ("save", PERSON)]
    schemas = tuple((name, json.dumps(schema)) for name, schema in tools)
    for text in writer.finished(writer.begin(tool_guide(schemas, "<TOOLCALL>", "</TOOLCALL>", single=True), 6)):
        (call,) = json.loads(text.removeprefix("<TOOLCALL>").removesuffix("</TOOLCALL>"))
        jsonschema.Draft202012Validator(dict(tools)[call["name"]]).validate(call["arguments"])


@pytest.mark.parametrize(
    "schema",
    [
        ORDER,
        record(**{f"property_{number}": string() for number in range(350)}),
        {"enum": [f"value number {number}" for number in range(1200)]},
        record(**{f"p{number}": string(maxLength=number) for number in (15, 16, 17, 18)}),
        record(**{f"p{number}": string(pattern=f"^[ -~]{{0,{number}}}$") for number in (14, 15, 16)}),
    ],
    ids=["order", "350 properties", "1200 values", "maxLength", "patterns"],
)
def test_the_largest_grammars_compile_in_time(writer: Writer, schema: object) -> None:
    plain = writer.first_token_s(None)
    assert writer.first_token_s(json_schema(schema)) - plain < COMPILE_S
