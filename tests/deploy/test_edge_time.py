"""What the edge of deploy/envoy waits for and for how long: a real Envoy before replicas that run nothing."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.balancer.echo import PART, SILENCE
from tests.balancer.envoy import CLUSTERS, Config, configuration, manager, routes
from tests.deploy.edge import CHAT, GENERATE, edge, held_open


def test_a_silence_cuts_nothing(tmp_path: Path) -> None:
    """In the middle of an answer, before it, and on a stream of gRPC: longer than each limit that there is.

    Envoy's own for an answer, where none is set, is 15 s. Those of the configuration are made shorter.
    """

    def short(config: Config) -> None:
        for name in ("http", "grpc"):
            options = manager(config, name)
            for limit in ("request_timeout", "request_headers_timeout"):
                if limit in options:
                    options[limit] = "5s"
            options["http2_protocol_options"]["connection_keepalive"] = {"interval": "3s", "timeout": "10s"}
        for cluster in config["static_resources"]["clusters"]:
            for found in cluster.get("typed_extension_protocol_options", {}).values():
                if "idle_timeout" in found.get("common_http_protocol_options", {}):
                    found["common_http_protocol_options"]["idle_timeout"] = "5s"

    with edge(tmp_path, short) as the_edge:
        silence = {SILENCE: "18"}

        def whole() -> None:
            assert the_edge.ask(CHAT, silence).json["path"] == CHAT

        def begun() -> None:
            answer = the_edge.ask(GENERATE, {**silence, PART: " "})
            assert (answer.status, answer.json["path"]) == (200, GENERATE)

        def over_a_stream() -> None:
            with held_open(the_edge, silence) as (messages, call):
                messages.put(b"second")
                assert json.loads(next(call))["length"] == len(b"second")

        failed: list[BaseException] = []

        def watched(work: Callable[[], None]) -> None:
            try:
                work()
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=watched, args=[work]) for work in (whole, begun, over_a_stream)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed
        assert len(the_edge.balancer.chosen()) == 2


def test_no_limit_of_time_is_set_for_an_answer(tmp_path: Path) -> None:
    """What nobody waits for in a test: Envoy's own are 15 s for an answer and 5 minutes of silence."""
    config = configuration(tmp_path)
    for name in ("http", "grpc"):
        options = manager(config, name)
        assert options["stream_idle_timeout"] == "0s"
        assert "max_stream_duration" not in json.dumps(options)
        assert options["http2_protocol_options"]["connection_keepalive"] == {"interval": "30s", "timeout": "10s"}
    to_replicas = [route["route"] for route in routes(config) if route.get("route", {}).get("cluster") in CLUSTERS]
    assert len(to_replicas) >= 8
    for route in to_replicas:
        assert route["timeout"] == "0s"
        assert not route.keys() & {"idle_timeout", "max_stream_duration"}
        assert "per_try" not in json.dumps(route.get("retry_policy", {}))
    assert "per_try" not in json.dumps(manager(config, "http")["route_config"])


def test_who_sends_slowly_is_cut_off(tmp_path: Path) -> None:
    def soon(config: Config) -> None:
        assert manager(config, "http")["request_timeout"] == "60s"
        assert [manager(config, name)["request_headers_timeout"] for name in ("http", "grpc")] == ["10s", "10s"]
        manager(config, "http")["request_timeout"] = "1s"

    def slowly() -> Iterator[bytes]:
        for _ in range(40):
            yield b"{"
            time.sleep(0.1)

    with edge(tmp_path, soon) as running:
        assert running.ask(body=slowly()).status == 408
        assert running.ask(headers={SILENCE: "2"}).status == 200  # of the answer it is no limit
        assert running.seen() == 1
