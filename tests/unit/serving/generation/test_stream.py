from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from nemotron_serving.engine import Delta, TokenLogprob
from nemotron_serving.engine.simulated import SimulatedEngine
from nemotron_serving.generation.delivery import OwnOutlet
from nemotron_serving.generation.leaving import RequestName
from nemotron_serving.generation.settings import GenerationSettings
from nemotron_serving.generation.stream import Stream, Times
from nemotron_serving.guide import ForcedCalls, GuideSpec, ResponseFormat, StockGuide
from nemotron_serving.output.detokenizer import Vocabulary
from nemotron_serving.output.reasoning import Start
from tests.unit.serving.support import Collector, RecordingEngine, ids_of, make_package, settings, text_of


def test_the_engine_is_told_from_where_on_the_thinking_may_be_closed(tmp_path: Path) -> None:
    stream, engine = make_stream(tmp_path)
    stream.start()
    stream.accept(1, Delta(ids_of("01234")))
    assert [request.watched for request in engine.requests] == [(2, 6), None]
    assert engine.aborted == [1]
    engine.close()


def test_news_of_an_abandoned_phase_are_dropped(tmp_path: Path) -> None:
    stream, engine = make_stream(tmp_path)
    stream.start()
    stream.accept(1, Delta(ids_of("01234")))  # the budget is two tokens, the grace one
    assert [request.request_id for request in engine.requests] == [1, 2]
    stream.accept(1, Delta(ids_of("567"), "stop"))
    assert not stream.finished
    stream.accept(2, Delta(ids_of("A"), "stop"))
    [response] = stream.take_responses()
    assert response.token_ids == ids_of("012\n</think>\n\nA")
    engine.close()


def test_token_ids_that_the_tokenizer_does_not_have_are_passed_on(tmp_path: Path) -> None:
    # A model's embedding may be larger than its vocabulary.
    stream, engine = make_stream(tmp_path)
    stream.start()
    stream.accept(1, Delta([100_000, 100_000, 100_000]))
    assert stream.take_responses()[0].token_ids == [100_000] * 3 + ids_of("\n</think>\n\n")
    engine.close()


@pytest.mark.parametrize("wanted", [False, True])
def test_the_prompts_ids_are_returned_where_they_are_wanted(tmp_path: Path, wanted: bool) -> None:
    given = msgspec.structs.replace(settings(token_level=True, stream=False), include_prompt=wanted)
    stream, engine = make_stream(tmp_path, given)
    stream.start()
    stream.accept(1, Delta(ids_of("Yes"), "stop"))
    [response] = stream.take_responses()
    assert (text_of(response.prompt_ids), text_of(response.token_ids)) == ("Hi" if wanted else "", "Yes")
    assert response.num_output_tokens == 3
    engine.close()


GUIDE = 'root ::= "{}"'
THINKING = settings(thinking=True, budget=(50, 5), max_tokens=100)


def test_a_guide_holds_from_the_first_token_when_there_is_no_thinking(tmp_path: Path) -> None:
    starts: tuple[Start, ...] = ("answer", "closed", "detect")
    for number, start in enumerate(starts):
        stream, engine = make_stream(tmp_path / str(number), settings(start=start), GUIDE)
        stream.start()
        assert [request.guide for request in engine.requests] == [GUIDE]
        engine.close()


@pytest.mark.parametrize(
    ("fed", "sent"),
    [
        # The tokens that may come with the tag in one delta are not the answer: no grammar has held for them.
        (["Hm.</think>", "\n\nfree"], "Hm.</think>\n\n"),
        (["Hm.", "</thi", "nk>{"], "Hm.</think>\n\n"),
        (["Hm.</think>\n"], "Hm.</think>\n\n"),
    ],
)
def test_a_guided_answer_follows_the_end_of_the_thinking(tmp_path: Path, fed: list[str], sent: str) -> None:
    stream, engine = make_stream(tmp_path, THINKING, GUIDE)
    stream.start()
    for text in fed:
        stream.accept(1, Delta(ids_of(text)))
    stream.accept(1, Delta(ids_of("late"), "stop"))
    first, second = engine.requests
    assert (first.guide, second.guide) == (None, GUIDE)
    assert engine.aborted == [1]
    assert text_of(second.prompt_ids) == "Hi" + sent
    assert second.max_tokens == first.max_tokens - len(sent)
    stream.accept(2, Delta(ids_of("{}"), "stop"))
    assert text_of(stream.take_responses()[0].token_ids) == sent + "{}"
    assert stream.finish_reason == "stop"
    engine.close()


@pytest.mark.parametrize(
    ("pieces", "sent"),
    [
        # Tokens of real tokenizers hold a part of the tag and a part of what follows.
        (["Hm", ".</", "think", ">{"], "Hm.</think>\n\n"),
        (["Hm", ".</", "think", ">\n\n"], "Hm.</think>\n\n"),
        (["Hm", ".</", "think", ">\n"], "Hm.</think>\n\n"),
        (["Hm", ".</", "think", ">"], "Hm.</think>\n\n"),
    ],
)
def test_a_token_that_ends_the_tag_and_begins_the_answer_is_spelled_anew(
    tmp_path: Path, pieces: list[str], sent: str
) -> None:
    stream, engine = make_stream(tmp_path, settings(thinking=True, budget=(50, 5), logprobs=0), GUIDE)
    first_new = len(stream.vocabulary)
    stream.vocabulary.token_bytes.extend(piece.encode() for piece in pieces)
    stream.start()
    for number in range(len(pieces)):
        stream.accept(1, Delta([first_new + number], logprobs=(TokenLogprob(-1.0),)))
    assert engine.requests[1].prompt_ids[: len(pieces) + 1] == [
        *ids_of("Hi"),
        *range(first_new, first_new + len(pieces) - 1),
    ]
    assert stream.vocabulary.decode(engine.requests[1].prompt_ids) == "Hi" + sent
    # Special tokens have no text: none may have got in.
    assert not set(stream.vocabulary.special_ids.values()) & set(engine.requests[1].prompt_ids)
    [response] = stream.take_responses()
    assert stream.vocabulary.decode(response.token_ids) == sent
    assert len(response.logprobs) == len(response.token_ids)
    assert response.logprobs[0].logprob == -1.0
    engine.close()


def test_an_end_inside_thinking_and_the_budget_both_lead_to_the_guided_answer(tmp_path: Path) -> None:
    for number, (delta, reached) in enumerate(
        [(Delta(ids_of("Hm."), "stop"), False), (Delta(ids_of("0123456789" * 6)), True)]
    ):
        stream, engine = make_stream(tmp_path / str(number), THINKING, GUIDE)
        stream.start()
        stream.accept(1, delta)
        assert [request.guide for request in engine.requests] == [None, GUIDE]
        assert text_of(engine.requests[1].prompt_ids).endswith("\n</think>\n\n")
        assert stream.take_responses()[0].states == ({"thinking_budget_reached": True} if reached else {})
        engine.close()


def test_thinking_that_leaves_no_token_for_a_guided_answer_ends_by_length(tmp_path: Path) -> None:
    stream, engine = make_stream(tmp_path, settings(thinking=True, budget=(5, 1), max_tokens=12), GUIDE)
    stream.start()
    stream.accept(1, Delta(ids_of("Hm.</think>")))
    [response] = stream.take_responses()
    assert (response.finish_reason, len(response.token_ids)) == ("length", 12)
    assert len(engine.requests) == 1
    engine.close()


def test_a_model_that_opens_its_thinking_itself_has_a_budget_too(tmp_path: Path) -> None:
    stream, engine = make_stream(tmp_path, settings(start="expected", budget=(12, 2)))
    stream.start()
    stream.accept(1, Delta(ids_of("<think>\n0123456789" * 2)))
    assert text_of(engine.requests[1].prompt_ids) == "Hi<think>\n012345\n</think>\n\n"
    engine.close()


def test_an_answer_without_the_expected_thinking_is_not_cut_by_the_budget(tmp_path: Path) -> None:
    stream, engine = make_stream(tmp_path, settings(start="expected", budget=(12, 2)))
    stream.start()
    stream.accept(1, Delta(ids_of("No need to think about so simple a question.")))
    assert len(engine.requests) == 1
    engine.close()


def test_a_loop_ends_the_output_with_its_own_reason(tmp_path: Path) -> None:
    for guarded in (True, False):
        stream, engine = make_stream(tmp_path / str(guarded), settings(repetition_guard=guarded, max_tokens=1000))
        stream.start()
        for _ in range(60):
            stream.accept(1, Delta(ids_of("so so ")))
        assert stream.finish_reason == ("repetition" if guarded else None)
        assert engine.aborted == ([1] if guarded else [])
        engine.close()


def test_log_probabilities_go_with_their_tokens_and_forced_tokens_are_certain(tmp_path: Path) -> None:
    stream, engine = make_stream(tmp_path, settings(thinking=True, budget=(2, 1), logprobs=2))
    stream.start()
    chosen = tuple(TokenLogprob(-float(number), ((65, -0.5),)) for number in range(1, 4))
    stream.accept(1, Delta(ids_of("012"), logprobs=chosen))
    [first] = stream.take_responses()
    assert first.token_ids == ids_of("012\n</think>\n\n")
    assert first.logprobs == [*chosen, *[TokenLogprob(0.0)] * len(ids_of("\n</think>\n\n"))]
    assert first.cum_log_prob == -6
    stream.accept(2, Delta(ids_of("A"), "stop", logprobs=(TokenLogprob(-0.25),), cached_tokens=14))
    [last] = stream.take_responses()
    assert (last.logprobs, last.cum_log_prob, last.num_cached_tokens) == ([TokenLogprob(-0.25)], -6.25, 14)
    engine.close()


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (ResponseFormat('{"type": "json_object"}'), "response_format"),
        (StockGuide("json", ""), "guided_decoding_guide_type"),
        (ForcedCalls((), "<a>", "</a>", single=True), "tool_choice"),
        (None, "bad_words"),
    ],
)
def test_a_form_that_cannot_be_prepared_is_the_callers_fault(
    tmp_path: Path, spec: GuideSpec | None, field: str
) -> None:
    stream, engine = make_stream(tmp_path, msgspec.structs.replace(settings(), guide=spec), GUIDE)
    stream.start()
    stream.accept(1, Delta([], error="it takes too long", refused=True))
    [response] = stream.take_responses()
    assert (response.error, response.refused) == (f"{field}: it takes too long", True)
    engine.close()


def make_stream(
    directory: Path, given: GenerationSettings | None = None, guide: str | None = None
) -> tuple[Stream, RecordingEngine]:
    package = make_package(directory / "package")
    engine = RecordingEngine(SimulatedEngine(package))
    stream = Stream(
        stream_id=1,
        names=(RequestName("", ""),),
        prompt_ids=ids_of("Hi"),
        settings=given or settings(thinking=True, budget=(2, 1)),
        guide=guide,
        outlet=OwnOutlet(Collector()),
        deadline=float("inf"),
        times=Times(0.0),
        engine=engine,
        vocabulary=Vocabulary.load(package.tokenizer_path),
        new_id=lambda: 2,
        deliver=lambda *_: None,
    )
    return stream, engine
