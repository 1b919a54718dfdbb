"""Writes dashboards/*.json: python -m deploy.monitoring.make_dashboards, at the root of the repository.

`$namespace` and `$instance` are the pickers at the top of a dashboard.
"""

from __future__ import annotations

import json
from pathlib import Path

from deploy.monitoring.grafana import Dashboard, Panel, Query, as_json

DASHBOARDS = Path(__file__).parent / "dashboards"

_QUANTILES = ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))


def ours(metric: str, more: str = "", window: str = "") -> str:
    """A metric in the namespace that was picked."""
    labels = ", ".join(part for part in ('namespace=~"$namespace"', more) if part)
    return f"{metric}{{{labels}}}{window}"


def rate(metric: str, more: str = "") -> str:
    """How fast a counter grows, a second."""
    return f"rate({ours(metric, more, '[$__rate_interval]')})"


def rate_by(label: str, metric: str, more: str = "") -> str:
    """The same, summed for each value of a label."""
    return f"sum by ({label}) ({rate(metric, more)})"


def quantiles(metric: str, more: str = "") -> list[Query]:
    """Those of a histogram of times, over all of its series."""
    buckets = rate_by("le", f"{metric}_bucket", more)
    return [Query(f"histogram_quantile({share}, {buckets})", name) for share, name in _QUANTILES]


def share(part: str, whole: str) -> str:
    """Part of a whole; 0 where there is nothing of the part."""
    return f"(sum({part}) or vector(0)) / sum({whole})"


def picked(metric: str, window: str = "") -> str:
    """A metric of the instances that were picked."""
    return ours(metric, _PICKED, window)


def envoy(metric: str) -> str:
    """A metric of Envoy."""
    return ours(f"envoy_{metric}", _ENVOY)


_PICKED = 'instance=~"$instance"'
_REQUESTS = "nemotron_requests_total"
_TOKENS = "nemotron_tokens_total"
_FRONT = "nemotron_front_requests_total"
_ASKED = 'endpoint!~"/health|/v1/health/.*|(/v1)?/metrics"'
_ENVOY = 'job="envoy"'
_HOSTS = "{{envoy_cluster_name}}"
_ALERTS = ours("ALERTS", 'alertname=~"Nemotron.*", alertstate="firing"')
_BUILD = f"max by (instance, version, package, engine, precision, device) ({picked('nemotron_build_info')})"


def _failing(outcome: str) -> str:
    return share(rate(_REQUESTS, f'outcome="{outcome}"'), rate(_REQUESTS))


def _kind(kind: str) -> str:
    return rate(_TOKENS, f'kind="{kind}"')


def _sum(metric: str) -> str:
    return f"sum({ours(metric)})"


SERVICE = Dashboard(
    "service",
    "Nemotron: service",
    [
        (
            "Now",
            [
                Panel("Replicas", "short", _sum("namespace:nemotron_replicas:serving"), "stat"),
                Panel(
                    "Places taken",
                    "percentunit",
                    f"{_sum('namespace:nemotron_requests_in_flight:sum')}"
                    f" / {_sum('namespace:nemotron_max_requests_in_flight:sum')}",
                    "stat",
                ),
                Panel("Waiting", "short", _sum("namespace:nemotron_requests_waiting:sum"), "stat"),
                Panel("Requests", "reqps", f"sum({rate(_REQUESTS)})", "stat"),
                Panel("TTFT, p95", "s", quantiles("nemotron_ttft_seconds")[1:2], "stat"),
                Panel("Failures", "percentunit", _failing("error"), "stat"),
            ],
        ),
        (
            "Requests",
            [
                Panel("Requests by outcome", "reqps", [Query(rate_by("outcome", _REQUESTS), "{{outcome}}")]),
                Panel("Requests by thinking", "reqps", [Query(rate_by("thinking", _REQUESTS), "{{thinking}}")]),
                Panel(
                    "Share that is refused, fails, is late",
                    "percentunit",
                    [Query(_failing(outcome), outcome) for outcome in ("refused", "error", "timeout")],
                ),
                Panel(
                    "In flight",
                    "short",
                    [
                        Query(_sum("nemotron_requests_running"), "running"),
                        Query(_sum("nemotron_requests_waiting"), "waiting"),
                        Query(_sum("nemotron_max_batch_size"), "most that run"),
                        Query(_sum("nemotron_max_requests_in_flight"), "most that are admitted"),
                    ],
                ),
            ],
        ),
        (
            "Times in the server",
            [
                Panel("Time to first token", "s", quantiles("nemotron_ttft_seconds")),
                Panel(
                    "First tokens by the time they took",
                    "s",
                    f"sum by (le) (increase({ours('nemotron_ttft_seconds_bucket', '', '[$__rate_interval]')}))",
                    "heatmap",
                ),
                Panel(
                    "Share of first tokens after more than 3 s",
                    "percentunit",
                    [
                        Query(ours(f"namespace:nemotron_ttft_slow:ratio_rate{window}"), window)
                        for window in ("5m", "30m", "1h", "6h")
                    ],
                    text="The objective is 1 %. Alerts look at 14.4 % of 1 h and 5 min, and at 6 % of 6 h and 30 min.",
                ),
                Panel("Wait for a place in the batch", "s", quantiles("nemotron_wait_seconds")),
                Panel("Between two tokens", "s", quantiles("nemotron_itl_seconds"), text="Means of whole answers."),
                Panel("Whole requests", "s", quantiles("nemotron_request_seconds")),
            ],
        ),
        (
            "Tokens",
            [
                Panel(
                    "Tokens a second",
                    "short",
                    [Query(rate_by("kind", _TOKENS), "{{kind}}")],
                    text="Of requests that are over. Cached are part of prompt, reasoning of output.",
                ),
                Panel(
                    "Shares",
                    "percentunit",
                    [
                        Query(share(_kind(part), _kind(whole)), f"{part} of {whole}")
                        for part, whole in (("cached", "prompt"), ("reasoning", "output"))
                    ],
                    most=1,
                ),
            ],
        ),
        ("Alerts", [Panel("Alerts that fire", "short", f"sum by (alertname, severity) ({_ALERTS})", "table")]),
    ],
)

REPLICAS = Dashboard(
    "replicas",
    "Nemotron: replicas",
    [
        (
            "Which",
            [
                Panel("What is served", "short", _BUILD, "table"),
                Panel("Answers", "short", ours("up", f'job="nemotron", {_PICKED}'), most=1),
                Panel("Drains", "short", picked("nemotron_draining"), most=1),
                Panel("Since its start", "s", f"time() - {picked('nemotron_start_time_seconds')}"),
                Panel("Starts within an hour", "short", f"changes({picked('nemotron_start_time_seconds', '[1h]')})"),
            ],
        ),
        (
            "Load",
            [
                Panel(
                    "Places taken",
                    "percentunit",
                    f"{picked('nemotron_requests_in_flight')} / {picked('nemotron_max_requests_in_flight')}",
                    most=1,
                ),
                Panel("Running", "short", picked("nemotron_requests_running")),
                Panel("Waiting", "short", picked("nemotron_requests_waiting")),
                Panel("KV cache in use", "percentunit", picked("nemotron_kv_cache_used_ratio"), most=1),
                Panel("KV cache, tokens", "short", picked("nemotron_kv_cache_tokens")),
                Panel("Sessions", "short", picked("nemotron_sessions")),
                Panel(
                    "Streams in postprocessing",
                    "short",
                    picked("nemotron_postprocessing_streams"),
                    text="0 where nothing is in flight; what stays above is a stream that nobody has ended.",
                ),
            ],
        ),
        (
            "Answers",
            [
                Panel("Requests", "reqps", rate_by("instance", _REQUESTS, _PICKED)),
                Panel(
                    "Refused, and failed",
                    "reqps",
                    [
                        Query(
                            rate_by("instance", _REQUESTS, f'outcome="{outcome}", {_PICKED}'),
                            "{{instance}} " + outcome,
                        )
                        for outcome in ("refused", "error")
                    ],
                ),
                Panel("Output tokens a second", "short", rate_by("instance", _TOKENS, f'kind="output", {_PICKED}')),
                Panel(
                    "Time to first token, p95",
                    "s",
                    f"histogram_quantile(0.95, {rate_by('le, instance', 'nemotron_ttft_seconds_bucket', _PICKED)})",
                ),
            ],
        ),
        (
            "Machine",
            [
                Panel("Processor", "percentunit", picked("nv_cpu_utilization"), most=1),
                Panel(
                    "Memory in use",
                    "bytes",
                    picked("nv_cpu_memory_used_bytes"),
                    text="Of the whole machine, as Triton sees it.",
                ),
                Panel(
                    "GPUs",
                    "percentunit",
                    [Query(picked("nv_gpu_utilization"), "{{instance}} {{gpu_uuid}}")],
                    text="Where there are GPUs.",
                    most=1,
                ),
                Panel(
                    "GPU memory in use",
                    "bytes",
                    [Query(picked("nv_gpu_memory_used_bytes"), "{{instance}} {{gpu_uuid}}")],
                    text="Where there are GPUs.",
                ),
            ],
        ),
    ],
    instances_of="nemotron_build_info",
)

EDGE = Dashboard(
    "edge",
    "Nemotron: fronts and Envoy",
    [
        (
            "Fronts",
            [
                Panel("Requests by outcome", "reqps", [Query(rate_by("outcome", _FRONT, _ASKED), "{{outcome}}")]),
                Panel(
                    "Requests by endpoint",
                    "reqps",
                    [Query(rate_by("endpoint, mode", _FRONT, _ASKED), "{{endpoint}} {{mode}}")],
                ),
                Panel("Time to first token, for callers", "s", quantiles("nemotron_front_ttft_seconds")),
                Panel("Time to first token of the answer", "s", quantiles("nemotron_front_first_answer_seconds")),
                Panel("Between two tokens", "s", quantiles("nemotron_front_itl_seconds")),
                Panel("Whole requests", "s", quantiles("nemotron_front_request_seconds", 'mode!="none"')),
                Panel("In hand", "short", ours("nemotron_front_in_flight")),
                Panel(
                    "Callers that left",
                    "reqps",
                    [Query(rate_by("endpoint", "nemotron_front_callers_left_total"), "{{endpoint}}")],
                ),
                Panel("Tokens a second", "short", [Query(rate_by("kind", "nemotron_front_tokens_total"), "{{kind}}")]),
            ],
        ),
        (
            "Envoy",
            [
                Panel(
                    "Healthy hosts",
                    "short",
                    [
                        Query(envoy("cluster_membership_healthy"), _HOSTS),
                        Query(envoy("cluster_membership_total"), f"{_HOSTS}, all"),
                    ],
                ),
                Panel("Ejected hosts", "short", [Query(envoy("cluster_outlier_detection_ejections_active"), _HOSTS)]),
                Panel(
                    "Answers by class",
                    "reqps",
                    [
                        Query(
                            rate_by("envoy_cluster_name, envoy_response_code_class", "envoy_cluster_upstream_rq_xx"),
                            f"{_HOSTS} {{{{envoy_response_code_class}}}}xx",
                        )
                    ],
                    text="A refusal over gRPC is 2xx: Triton says it in the message.",
                ),
                Panel("Requests in flight", "short", [Query(envoy("cluster_upstream_rq_active"), _HOSTS)]),
                Panel(
                    "Tried again, no room, no connection",
                    "reqps",
                    [
                        Query(f"sum({rate(f'envoy_cluster_upstream_{name}', _ENVOY)})", legend)
                        for name, legend in (
                            ("rq_retry", "tried again"),
                            ("rq_pending_overflow", "no room"),
                            ("cx_connect_fail", "no connection"),
                        )
                    ],
                ),
                Panel(
                    "Connections",
                    "short",
                    [
                        Query(envoy("http_downstream_cx_active"), "from {{envoy_http_conn_manager_prefix}}"),
                        Query(envoy("cluster_upstream_cx_active"), f"to {_HOSTS}"),
                    ],
                ),
            ],
        ),
    ],
)

ALL = (SERVICE, REPLICAS, EDGE)


def text_of(dashboard: Dashboard) -> str:
    """What the dashboard's file holds."""
    return json.dumps(as_json(dashboard), indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Write all of them."""
    DASHBOARDS.mkdir(exist_ok=True)
    for dashboard in ALL:
        (DASHBOARDS / f"{dashboard.name}.json").write_text(text_of(dashboard), encoding="utf-8")


if __name__ == "__main__":
    main()
