"""Traces: the caller's goes on, through a span of the front's where the program uses OpenTelemetry."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from opentelemetry import propagate, trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from nemotron_client.testing import Fault, ScriptedReply
from tests.unit.front.caller import ask
from tests.unit.front.scripts import CHAT, HI, app_of

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], tuple[ReadableSpan, ...]]]:
    """What was exported so far. The provider of a process can be set once only, so it is replaced by hand."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    monkeypatch.setattr(propagate, "propagator", TraceContextTextMapPropagator())
    yield exporter.get_finished_spans
    provider.shutdown()


def test_the_client_s_span_is_within_the_front_s_and_that_within_the_caller_s(
    spans: Callable[[], list[ReadableSpan]],
) -> None:
    app, transport = app_of("Hello.")
    asyncio.run(ask(app, CHAT, HI, traceparent=PARENT))
    client, front = spans()
    assert front.context and client.context and front.parent and client.parent
    assert (front.name, front.kind) == (f"POST {CHAT}", trace.SpanKind.SERVER)
    assert (client.name, client.kind) == ("chat nemotron", trace.SpanKind.CLIENT)
    assert f"{front.context.trace_id:032x}" == TRACE
    assert f"{front.parent.span_id:016x}" == "b7ad6b7169203331"
    assert client.parent.span_id == front.context.span_id
    assert f"{client.context.span_id:016x}" in transport.requests[0].headers["traceparent"]
    assert front.attributes == {
        "http.request.method": "POST",
        "http.route": CHAT,
        "http.response.status_code": 200,
    }


@pytest.mark.parametrize(
    ("fault", "status", "code", "failed"),
    [
        (Fault.invalid("top_k: secret"), 400, "invalid_value", False),
        (Fault.internal("secret"), 500, "server_error", True),
    ],
)
def test_an_error_is_told_without_its_message(
    spans: Callable[[], list[ReadableSpan]], fault: Fault, status: int, code: str, failed: bool
) -> None:
    app, _ = app_of(ScriptedReply(fault=fault))
    asyncio.run(ask(app, CHAT, HI))
    front = spans()[-1]
    assert front.attributes is not None
    assert front.attributes["http.response.status_code"] == status
    assert front.attributes["error.type"] == code
    assert (front.status.status_code is trace.StatusCode.ERROR) is failed
    assert "secret" not in front.to_json()


def test_a_header_that_is_no_trace_begins_a_new_one(spans: Callable[[], list[ReadableSpan]]) -> None:
    app, _ = app_of("Hello.")
    assert asyncio.run(ask(app, CHAT, HI, traceparent="00-\xff")).status == 200
    assert spans()[-1].parent is None


def test_without_opentelemetry_the_trace_goes_on_as_it_came() -> None:
    code = f"""
import asyncio, sys
from tests.unit.front.caller import ask
from tests.unit.front.scripts import CHAT, HI, app_of
app, transport = app_of("Hello.")

async def run():
    await ask(app, CHAT, HI, traceparent="{PARENT}", tracestate="a=b")
    await ask(app, CHAT, HI, traceparent="no trace")
    await ask(app, CHAT, HI)

asyncio.run(run())
assert "opentelemetry" not in sys.modules
first, *others = (dict(one.headers) for one in transport.requests)
assert first.items() > {{"traceparent": "{PARENT}", "tracestate": "a=b"}}.items(), first
assert others == [{{}}, {{}}], others
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=180)
