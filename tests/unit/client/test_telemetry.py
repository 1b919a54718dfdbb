"""A span for each request where OpenTelemetry is used, and nothing of it where it is not."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry import baggage, context, propagate, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from nemotron_client import AsyncClient, Client, InvalidRequestError, ServerUnavailableError, UserMessage
from nemotron_client._transports import Call
from tests.unit.client.pretend import Answer, AsyncPretend, Pretend, last_text, says

SECRET = [UserMessage("a secret")]


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], tuple[ReadableSpan, ...]]]:
    """What was exported so far. The provider of a process can be set once only, so it is replaced by hand."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    propagators = CompositePropagator([TraceContextTextMapPropagator(), W3CBaggagePropagator()])
    monkeypatch.setattr(propagate, "propagator", propagators)
    yield exporter.get_finished_spans
    provider.shutdown()


def ask_sync(answer: Answer, **options: Any) -> Any:
    transport = Pretend(answer)
    with Client(transport=transport, headers={"x-mine": "1"}) as client:
        client.chat(SECRET, **options)
    return transport.calls


def ask_async(answer: Answer, **options: Any) -> Any:
    transport = AsyncPretend(answer)

    async def ask() -> None:
        async with AsyncClient(transport=transport, headers={"x-mine": "1"}) as client:
            await client.chat(SECRET, **options)

    asyncio.run(ask())
    return transport.calls


@pytest.fixture(params=[ask_sync, ask_async], ids=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Any:
    return request.param


def answering(call: Call) -> Any:
    return says(f"an answer to {last_text(call)}")


def test_a_span_tells_counts_and_settings_and_never_texts(ask: Any, spans: Any) -> None:
    ask(answering, max_tokens=50, temperature=0.5, stop_words=["secret"], request_id="mine")
    (span,) = spans()
    assert (span.name, span.kind) == ("chat nemotron", trace.SpanKind.CLIENT)
    attributes = dict(span.attributes)
    first = attributes.pop("gen_ai.response.time_to_first_chunk")
    assert 0 <= first <= (span.end_time - span.start_time) / 1e9 + 0.1
    assert attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "nemotron_triton",
        "gen_ai.request.max_tokens": 50,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.response.id": "mine",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 3,
        "gen_ai.usage.reasoning.output_tokens": 1,
        "server.address": "pretend",
        "server.port": 1,
    }
    assert "secret" not in span.to_json()
    assert span.status.is_unset


def test_the_trace_goes_on_in_the_headers(ask: Any, spans: Any) -> None:
    token = context.attach(baggage.set_baggage("tenant", "blue"))
    with trace.get_tracer("test").start_as_current_span("outer") as outer:
        (call,) = ask(answering)
    context.detach(token)
    inner = next(span for span in spans() if span.name == "chat nemotron")
    assert inner.parent.span_id == outer.get_span_context().span_id
    ids = inner.get_span_context()
    assert call.headers == {
        "x-mine": "1",
        "traceparent": f"00-{ids.trace_id:032x}-{ids.span_id:016x}-{ids.trace_flags:02x}",
        "baggage": "tenant=blue",
    }


def test_a_failure_is_told_by_its_kind(ask: Any, spans: Any) -> None:
    def refuse(call: Call) -> Any:
        raise InvalidRequestError("messages: secret", request_id=call.request_id, url="")

    with pytest.raises(InvalidRequestError):
        ask(refuse)
    (span,) = spans()
    assert span.attributes["error.type"] == "InvalidRequestError"
    assert span.status.status_code is trace.StatusCode.ERROR
    assert "secret" not in span.to_json()


def test_all_tries_share_a_span(spans: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nemotron_client._defaults.RETRY_FIRST_DELAY_S", 0.001)
    left = [ServerUnavailableError("gone", request_id="", url="")]

    def answer(call: Call) -> Any:
        if left:
            raise left.pop()
        return answering(call)

    first, second = ask_sync(answer)
    assert len(spans()) == 1
    assert first.headers["traceparent"] == second.headers["traceparent"]


def test_a_stream_that_is_left_early_is_cancelled_and_no_error(spans: Any) -> None:
    with Client(transport=Pretend()) as client, client.stream_chat([UserMessage("wait")]):
        assert spans() == ()
    (span,) = spans()
    assert span.attributes["gen_ai.response.finish_reasons"] == ("cancelled",)
    assert "error.type" not in span.attributes
    assert span.status.is_unset


def test_a_prompt_is_named_as_such(spans: Any) -> None:
    with Client(transport=Pretend(lambda _: says("5"))) as client:
        client.generate("secret")
    (span,) = spans()
    assert span.name == "text_completion nemotron"
    assert span.attributes["gen_ai.operation.name"] == "text_completion"
    assert "secret" not in span.to_json()


def test_calls_of_a_batch_belong_to_the_span_around_it(spans: Any) -> None:
    with Client(transport=Pretend()) as client, trace.get_tracer("test").start_as_current_span("outer") as outer:
        assert len(list(client.batch([SECRET] * 3, concurrency=2))) == 3
    inner = [span for span in spans() if span.name != "outer"]
    assert [span.parent.span_id for span in inner] == [outer.get_span_context().span_id] * 3


WITHOUT = """
import sys
{block}
from nemotron_client import Client, UserMessage
from tests.unit.client.pretend import Pretend
transport = Pretend()
with Client(transport=transport) as client:
    assert client.chat([UserMessage("Hi")]).content == "Hi"
assert transport.calls[0].headers == {{}}
print(sorted(name for name in sys.modules if name.startswith("opentelemetry") and sys.modules[name]))
"""
BLOCK = 'sys.modules["opentelemetry"] = sys.modules["opentelemetry.trace"] = None'


@pytest.mark.parametrize("block", ["", BLOCK], ids=["installed and not used", "not installed"])
def test_it_is_not_needed_and_not_imported(block: str) -> None:
    output = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(block=block)], capture_output=True, text=True, timeout=60, check=False
    )
    assert output.stdout == "[]\n", output.stderr


def test_without_a_tracer_it_costs_next_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    from nemotron_client._telemetry import Span

    call = Call("ensemble", "id", {}, ())
    best = min(_timed(lambda: _one(Span(), call)) for _ in range(5))
    assert best < 200e-6


def _one(span: Any, call: Call) -> None:
    assert span.headers(call, {}) == {}
    span.end("grpc://a:1", None, None)


def _timed(work: Callable[[], None], times: int = 200) -> float:
    begin = time.thread_time()
    for _ in range(times):
        work()
    return (time.thread_time() - begin) / times
