"""What each kind of workload asks, and how conversations go on."""

from __future__ import annotations

import itertools
import statistics
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nemotron_client import Reply, Timings, ToolCall, Usage
from nemotron_client._tools import tools_json
from nemotron_loadtest.errors import ScenarioError
from nemotron_loadtest.scenario import (
    Cancel,
    Chat,
    Exponential,
    Lines,
    Normal,
    Poisson,
    Rag,
    Scenario,
    Synthetic,
    Tools,
    Trace,
    TraceLengths,
    TraceReplay,
    Uniform,
    Workload,
)
from nemotron_loadtest.workload import ConversationSource, RequestSpec, open_workload
from nemotron_loadtest.workload.material import RESULTS, TOOLS
from nemotron_loadtest.workload.text import measure_of

MOONCAKE = """\
{"timestamp": 0, "input_length": 1200, "output_length": 30, "hash_ids": [1, 2, 3]}
{"timestamp": 5, "input_length": 1400, "output_length": 900, "hash_ids": [1, 2, 4]}
{"timestamp": 9, "input_length": 4, "output_length": 7, "hash_ids": [5]}
"""


def reply(content: str = "Yes.", *calls: str) -> Reply:
    made = tuple(ToolCall(f"call-{number}", name, "{}") for number, name in enumerate(calls))
    return Reply(content, "", made, "stop", False, Usage(1, 1, 0), Timings(1.0), "id")


def opened(workload: Workload, **fields: Any) -> ConversationSource:
    return open_workload(Scenario(workload=workload, **fields))


def firsts(source: ConversationSource, count: int, **worker: int) -> list[RequestSpec]:
    found = [one.next_request() for one in itertools.islice(source.conversations(**worker), count)]
    return [spec for spec in found if spec is not None]


def whole(source: ConversationSource, number: int = 0, *answers: Reply) -> list[RequestSpec]:
    """All requests of a conversation, answered by these and then always in the same way."""
    conversation = next(itertools.islice(source.conversations(), number, None))
    requests, previous = [], None
    replies = itertools.chain(answers, itertools.repeat(reply()))
    while (spec := conversation.next_request(previous)) is not None:
        requests.append(spec)
        previous = next(replies)
    return requests


def text_of(spec: RequestSpec) -> str:
    content = spec.messages[-1]["content"]
    assert isinstance(content, str)
    return content


def test_synthetic_lengths_are_measured_with_the_packages_tokenizer(llama3_package: Path) -> None:
    workload = Synthetic(input_tokens=Normal(mean=300, std=60, min=100, max=500), output_tokens=40)
    source = opened(workload, package=str(llama3_package))
    count = measure_of(str(llama3_package)).count
    lengths = [count(text_of(spec)) for spec in firsts(source, 200)]
    assert statistics.fmean(lengths) == pytest.approx(300, abs=4 * 60 / 200**0.5)
    assert 98 <= min(lengths) < max(lengths) <= 502
    assert source.measured_with == f"tokenizer of {llama3_package}"


def test_a_synthetic_conversation_is_one_message() -> None:
    (spec,) = whole(opened(Synthetic(input_tokens=50, output_tokens=40, options={"temperature": 0.5}), seed=3))
    assert [message["role"] for message in spec.messages] == ["user"]
    assert text_of(spec).endswith("\nWrite about this at length.")
    assert spec.options == {"temperature": 0.5, "max_tokens": 40, "min_tokens": 40}
    assert (spec.conversation, spec.turn, spec.wait_s, spec.cancel_after_s, spec.thinking) == (0, 0, 0, None, False)


@pytest.mark.parametrize(
    "workload", [Synthetic(exact_output=False), Synthetic(options={"response_format": {"type": "x"}})]
)
def test_the_model_may_stop_earlier_where_that_is_asked_for_or_has_to_be(workload: Workload) -> None:
    (spec,) = firsts(opened(workload), 1)
    assert spec.options["max_tokens"] == 128
    assert "min_tokens" not in spec.options


def test_a_share_of_conversations_thinks_with_limits_of_its_own() -> None:
    workload = Synthetic(
        thinking_share=0.3, max_thinking_tokens=Uniform(min=50, max=60), output_tokens=20, thinking_output_tokens=90
    )
    specs = firsts(opened(workload), 1000)
    thinking = [spec for spec in specs if spec.thinking]
    assert len(thinking) / 1000 == pytest.approx(0.3, abs=4 * (0.21 / 1000) ** 0.5)
    assert {spec.options["max_tokens"] for spec in thinking} == {90}
    budgets = {spec.options["max_thinking_tokens"] for spec in thinking}
    assert budgets == set(range(50, 61))
    plain = [spec for spec in specs if not spec.thinking]
    assert {spec.options["max_tokens"] for spec in plain} == {20}
    assert all("max_thinking_tokens" not in spec.options for spec in plain)


def test_a_trial_is_like_the_requests_without_their_text() -> None:
    workload = Synthetic(input_tokens=500, output_tokens=40, thinking_share=0.5, max_thinking_tokens=7)
    trial = ConversationSource(Scenario(workload=workload, cancel=Cancel(share=1.0))).trial()
    assert trial.messages == ({"role": "user", "content": "Hi"},)
    assert trial.options == {"max_tokens": 40, "min_tokens": 40, "max_thinking_tokens": 7}
    assert (trial.thinking, trial.cancel_after_s) == (True, None)
    assert not ConversationSource(Scenario(workload=Synthetic())).trial().thinking


def test_some_users_leave_after_a_while() -> None:
    source = opened(Synthetic(), cancel=Cancel(share=0.2, after_s=Exponential(mean=2)))
    delays = [spec.cancel_after_s for spec in firsts(source, 2000) if spec.cancel_after_s is not None]
    assert len(delays) / 2000 == pytest.approx(0.2, abs=4 * (0.16 / 2000) ** 0.5)
    assert statistics.fmean(delays) == pytest.approx(2, abs=4 * 2 / len(delays) ** 0.5)


def test_a_chat_remembers_its_turns_below_a_shared_system_prompt(byte_package: Path) -> None:
    workload = Chat(turns=3, systems=2, system_tokens=400, input_tokens=100, think_time_s=Uniform(min=1, max=2))
    source = opened(workload, package=str(byte_package))
    first, second, third = whole(source, 0, reply("One."), reply("Two."))
    roles = ["system", "user", "assistant", "user", "assistant", "user"]
    assert [message["role"] for message in third.messages] == roles
    assert third.messages[:4] == second.messages
    assert [message["content"] for message in third.messages if message["role"] == "assistant"] == ["One.", "Two."]
    assert [spec.turn for spec in (first, second, third)] == [0, 1, 2]
    assert first.wait_s == 0
    assert 1 <= second.wait_s <= 2
    systems = [spec.messages[0]["content"] for spec in firsts(source, 40)]
    assert len(set(systems)) == 2
    assert all(len(system) == pytest.approx(400, abs=2) for system in systems)


def test_a_conversation_without_an_answer_is_over() -> None:
    conversation = next(opened(Chat(turns=5)).conversations())
    assert conversation.next_request() is not None
    assert conversation.next_request(None) is None
    assert conversation.next_request(reply()) is None


def test_documents_are_shared_and_questions_are_not(byte_package: Path) -> None:
    workload = Rag(documents=3, document_tokens=Uniform(min=500, max=900), input_tokens=300, ask="What does it say?")
    contents = [text_of(spec) for spec in firsts(opened(workload, package=str(byte_package)), 60)]
    documents = {content.split("\n\n")[0] for content in contents}
    assert len(documents) == 3
    assert len({len(document) for document in documents}) == 3
    assert all(498 <= len(document) <= 902 for document in documents)
    assert len(set(contents)) == 60
    assert all(content.endswith("\nWhat does it say?") for content in contents)


def test_calls_get_results_and_the_model_another_turn() -> None:
    source = opened(Tools(tools=2, max_calls=2))
    first, second = whole(source, 0, reply("", "get_weather", "search_documents"))
    assert [tool["function"]["name"] for tool in first.options["tools"]] == ["get_weather", "search_documents"]
    assert "min_tokens" not in first.options
    assert [message["role"] for message in second.messages] == ["user", "assistant", "tool", "tool"]
    assert [message["tool_call_id"] for message in second.messages[2:]] == ["call-0", "call-1"]
    assert len(whole(source, 1)) == 1
    again = reply("", "get_weather")
    assert len(whole(source, 2, again, again, again, again)) == 3


def test_tools_have_the_shape_that_the_client_takes() -> None:
    assert tools_json(list(TOOLS)) == list(TOOLS)
    assert [tool["function"]["name"] for tool in TOOLS] == list(RESULTS)


def trace_scenario(directory: Path, package: Path, workload: TraceLengths, **fields: Any) -> Scenario:
    path = directory / "trace.jsonl"
    path.write_text(MOONCAKE)
    return Scenario(workload=workload, package=str(package), trace=Trace(path=str(path)), **fields)


@pytest.mark.parametrize("tokenizer", ["llama3_package", "byte_package"])
def test_a_trace_gives_lengths_and_shared_prefixes(
    tokenizer: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    package = request.getfixturevalue(tokenizer)
    count = measure_of(str(package)).count
    source = open_workload(trace_scenario(tmp_path, package, TraceLengths(ask="Go.")))
    first, second, third, again = firsts(source, 4)
    assert count(text_of(first)) == pytest.approx(1200, abs=2)
    assert count(text_of(second)) == pytest.approx(1400, abs=2)
    assert text_of(third).endswith("Go.")
    assert [spec.options["max_tokens"] for spec in (first, second, third, again)] == [30, 900, 7, 30]
    shared = len(next_common(text_of(first), text_of(second)))
    assert count(text_of(first)[:shared]) >= 1024 - 2
    assert text_of(again) == text_of(first)
    assert again.conversation == 3


def next_common(left: str, right: str) -> str:
    return "".join(a for a, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(left, right, strict=False)))


def test_a_trace_is_cut_to_what_the_model_can_take(byte_package: Path, tmp_path: Path) -> None:
    workload = TraceLengths(max_input_tokens=700, max_output_tokens=100, ask="Go.")
    specs = firsts(open_workload(trace_scenario(tmp_path, byte_package, workload)), 3)
    assert [spec.options["max_tokens"] for spec in specs] == [30, 100, 7]
    assert [len(text_of(spec)) for spec in specs] == [pytest.approx(700, abs=2)] * 2 + [3]


def test_a_trace_is_checked_before_the_load_starts(byte_package: Path, tmp_path: Path) -> None:
    scenario = trace_scenario(tmp_path, byte_package, TraceLengths())
    with (tmp_path / "trace.jsonl").open("a") as file:
        file.write('{"timestamp": 60000}\n')
    with pytest.raises(ScenarioError, match=r"trace.jsonl, line 4: Object missing required field `input_length`"):
        open_workload(scenario)
    open_workload(msgspec.structs.replace(scenario, arrivals=TraceReplay(), duration_s=0.002, warmup_s=0))


OWN = """\
{"messages": [{"role": "user", "content": "One"}]}

{"raw_prompt": "<|user|>Two", "max_tokens": 3, "thinking": true, "max_thinking_tokens": 2}
{"messages": [{"role": "user", "content": "Drei 🙂"}], "temperature": 0.5}
"""


def own(directory: Path, text: str) -> str:
    path = directory / "own.jsonl"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "byte order mark"])
def test_requests_of_ones_own_are_sent_as_they_are(tmp_path: Path, mark: str) -> None:
    source = opened(Lines(path=own(tmp_path, mark + OWN), options={"max_tokens": 9, "temperature": 0.0}))
    one, two, three, again = firsts(source, 4)
    assert one.messages == ({"role": "user", "content": "One"},)
    assert one.options == {"max_tokens": 9, "temperature": 0.0}
    assert (two.prompt, two.messages, two.thinking) == ("<|user|>Two", (), True)
    assert two.options == {"max_tokens": 3, "max_thinking_tokens": 2, "temperature": 0.0}
    assert text_of(three) == "Drei 🙂"
    assert three.options == {"max_tokens": 9, "temperature": 0.5}
    assert again.messages == one.messages
    assert source.measured_with is None


def test_lines_in_any_order(tmp_path: Path) -> None:
    source = opened(Lines(path=own(tmp_path, OWN), order="random"))
    specs = firsts(source, 300)
    shares = [sum(spec.prompt is not None for spec in specs) / 300, sum(spec.options != {} for spec in specs) / 300]
    assert shares == pytest.approx([1 / 3, 2 / 3], abs=0.12)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "Input data was truncated"),
        ("[1]", "Expected `object`, got `array`"),
        ("{}", "expected one of messages and raw_prompt"),
        ('{"messages": [], "raw_prompt": "x"}', "expected one of messages and raw_prompt"),
        ('{"messages": "hello"}', "messages is no list of messages, like"),
        ('{"raw_prompt": 3}', "raw_prompt is no text"),
        ('{"raw_prompt": "x", "temprature": 1}', "'temprature' is no option: did you mean temperature"),
        ('{"raw_prompt": "x", "max_tokens": "9"}', r"options: Expected `int \| null`, got `str` - at `\$.max_tokens`"),
    ],
)
def test_a_broken_line_is_named(line: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=rf"own.jsonl, line 5: {complaint}"):
        opened(Lines(path=own(tmp_path, f"{OWN}{line}\n")))


def test_a_file_without_requests_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="there is no request in it"):
        opened(Lines(path=own(tmp_path, "\n")))
    with pytest.raises(ScenarioError, match=r"No such file or directory, expected requests; workload.path names them"):
        opened(Lines(path=str(tmp_path / "nowhere")))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"temprature": 1}, "'temprature' is no option"),
        ({"seed": "x"}, r"Expected `int \| null`, got `str` - at `\$.seed`"),
    ],
)
def test_options_are_those_of_the_client(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ScenarioError, match=rf"workload.options: .*{complaint}"):
        opened(Synthetic(options=options))


@pytest.mark.parametrize(
    "workload",
    [Synthetic(thinking_share=0.5), Chat(turns=Uniform(min=1, max=5)), Rag(), Tools()],
    ids=lambda workload: type(workload).__name__,
)
@pytest.mark.parametrize("workers", [1, 3])
def test_the_workers_conversations_together_are_those_of_one(workload: Workload, workers: int) -> None:
    fields: dict[str, Any] = {"seed": 9, "cancel": Cancel(share=0.5), "arrivals": Poisson(rate=1)}
    alone = firsts(opened(workload, **fields), 12)
    parts = [
        firsts(opened(workload, **fields), 12 // workers, worker=worker, workers=workers) for worker in range(workers)
    ]
    assert [spec for group in zip(*parts, strict=True) for spec in group] == alone
    assert alone != firsts(opened(workload, **{**fields, "seed": 10}), 12)
