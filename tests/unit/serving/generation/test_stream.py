from __future__ import annotations

from pathlib import Path

from nemotron_serving.engine import Delta
from nemotron_serving.engine.simulated import SimulatedEngine
from nemotron_serving.generation.stream import Stream
from nemotron_serving.output.detokenizer import Vocabulary
from tests.unit.serving.support import Collector, RecordingEngine, ids_of, make_package, settings


def test_a_stream_that_was_cancelled_before_its_start_never_reaches_the_engine(tmp_path: Path) -> None:
    stream, engine = make_stream(tmp_path)
    stream.end("cancelled")
    stream.start()
    assert engine.requests == []
    assert stream.finish_reason == "cancelled"
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


def make_stream(directory: Path) -> tuple[Stream, RecordingEngine]:
    package = make_package(directory / "package")
    engine = RecordingEngine(SimulatedEngine(package))
    stream = Stream(
        stream_id=1,
        client_id="",
        prompt_ids=ids_of("Hi"),
        settings=settings(thinking=True, budget=(2, 1)),
        sink=Collector(),
        deadline=float("inf"),
        engine=engine,
        vocabulary=Vocabulary.load(package.tokenizer_path),
        new_id=lambda: 2,
        deliver=lambda *_: None,
    )
    return stream, engine
