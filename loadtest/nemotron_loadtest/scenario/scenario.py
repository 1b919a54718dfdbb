"""The content of a scenario file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec

from nemotron_loadtest.scenario.arrivals import Arrivals, ClosedLoop, Trace, TraceReplay
from nemotron_loadtest.scenario.distributions import Delay, Seconds
from nemotron_loadtest.scenario.workload import Share, Synthetic, TraceLengths, Workload

UserKind = Literal["grpc_stream", "http_stream", "http_generate", "openai_stream"]
ThinkingAs = Literal["chat_template_kwargs", "reasoning_effort", "system", "nothing"]


class Cancel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Users who leave before the answer is whole.

    Attributes:
        share: Share of the requests whose users leave; 0 to 1.
        after_s: How long after the start they leave.
    """

    share: Share = 0.0
    after_s: Delay = 1.0


class OpenAI(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a server with OpenAI's API is spoken to.

    Attributes:
        model: Its name of the model; None is the first that it lists.
        api_key_file: A file with the key on a line. In a scenario it is relative to the scenario's directory. None is
            what NEMOTRON_API_KEY or OPENAI_API_KEY has, if anything.
        thinking: How thinking is switched: by `chat_template_kwargs.enable_thinking`; by `reasoning_effort`, `high` or
            `none`; by the line of the model's card in the system message; not at all.
        budget: How `max_thinking_tokens` is said: as `thinking_token_budget`, or in NIM's `nvext`.
        counts: Whether the server is asked for the token counts with `each` chunk, or at the `end`.
    """

    model: str | None = None
    api_key_file: str | None = None
    thinking: ThinkingAs = "chat_template_kwargs"
    budget: Literal["thinking_token_budget", "nvext"] = "thinking_token_budget"
    counts: Literal["each", "end"] = "each"


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A load test.

    Attributes:
        description: One line for the report.
        url: The server, or several with the same package; None is the client's default.
        user: Kind of user; a URL that ends in /v1 makes it `openai_stream`, see `at_servers`.
        sessions: For the users over gRPC, how many sessions of each process carry the requests to each server; 0 for a
            stream for each request.
        package: Directory of the package that is served: its tokenizer measures the prompts. In a file it is relative
            to the file's directory. None estimates from the number of bytes.
        duration_s: How long requests are sent, the warm-up included.
        warmup_s: What comes first and does not count.
        drain_s: How long running requests may take after that; what is left is incomplete.
        seed: Seed of all that is drawn by chance.
        slo: Name of the class that the run is judged by, or a TOML file, in a file relative to its directory; None
            judges nothing.
        arrivals: When requests are sent.
        workload: What is asked.
        openai: For the users of OpenAI's API.
        trace: For arrivals and workloads of the kind `trace`.
        cancel: Who leaves early.
        max_in_flight: Requests at once that no run goes beyond; an arrival that finds so many is counted as not sent.
    """

    description: str = ""
    url: str | Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] | None = None
    user: UserKind = "grpc_stream"
    sessions: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 1
    package: str | None = None
    duration_s: Annotated[float, msgspec.Meta(gt=0, le=604_800)] = 60.0
    warmup_s: Seconds = 5.0
    drain_s: Seconds = 30.0
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] = 1
    slo: str | None = None
    arrivals: Arrivals = ClosedLoop()
    workload: Workload = Synthetic()
    openai: OpenAI = OpenAI()
    trace: Trace | None = None
    cancel: Cancel = Cancel()
    max_in_flight: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1000

    def __post_init__(self) -> None:
        if self.warmup_s >= self.duration_s:
            raise ValueError(f"warmup_s is {self.warmup_s:g}, expected less than duration_s {self.duration_s:g}")
        for name, table in (("arrivals", self.arrivals), ("workload", self.workload)):
            if isinstance(table, (TraceReplay, TraceLengths)) and self.trace is None:
                raise ValueError(f"{name}.kind is 'trace', but there is no table [trace] with a path")


def speaks_openai(url: str) -> bool:
    """Whether a URL is that of OpenAI's API, which is known by its end."""
    return urlsplit(url).path.rstrip("/").endswith("/v1")


def at_servers(scenario: Scenario, urls: tuple[str, ...]) -> Scenario:
    """The scenario at these servers; at OpenAI's API its users are those who can speak it."""
    user: UserKind = "openai_stream" if any(map(speaks_openai, urls)) else scenario.user
    return msgspec.structs.replace(scenario, url=urls, user=user)


def without_texts(scenario: Scenario) -> Scenario:
    """The scenario with a length in the place of each text of a prompt; options hold whatever the client takes."""
    workload = msgspec.to_builtins(scenario.workload)
    texts = {name: _lengths(workload[name]) for name in ("ask", "options") if name in workload}
    return msgspec.structs.replace(scenario, workload=msgspec.structs.replace(scenario.workload, **texts))


def _lengths(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _lengths(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_lengths(inner) for inner in value]
    return f"({len(value):,} characters)" if isinstance(value, str) and value else value
