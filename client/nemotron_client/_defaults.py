"""Every default of the client, in one place."""

from __future__ import annotations

import os
from collections.abc import Sequence

URL = "grpc://127.0.0.1:8001"
URL_VARIABLE = "NEMOTRON_URL"
"""The environment variable that replaces `URL`: one URL, or several with commas between them."""

# Seconds. What a request may take, by part; see `Timeouts`.
CONNECT_TIMEOUT_S = 5.0
FIRST_TOKEN_TIMEOUT_S = 120.0
BETWEEN_TOKENS_TIMEOUT_S = 60.0
TOTAL_TIMEOUT_S = 600.0

MAX_RETRIES = 2
RETRY_FIRST_DELAY_S = 0.5
RETRY_FACTOR = 2.0
RETRY_MAX_DELAY_S = 8.0
RETRY_JITTER = 0.25  # the share of a delay that chance may take off

# How long a replica that failed is passed over: doubles with each failure in a row.
REPLICA_FIRST_PAUSE_S = 1.0
REPLICA_MAX_PAUSE_S = 60.0
REPLICA_LOG_S = 10.0  # so often at most the log says of one that it takes no requests

# A Triton that has nothing to send counts pings as abuse: it ends a connection at the fourth one within five minutes.
KEEPALIVE_TIME_S = 60.0
KEEPALIVE_TIMEOUT_S = 10.0

SESSIONS = 1  # for each gRPC server
SESSION_MAX_AGE_S = 1800.0
SESSION_AGE_JITTER = 0.2  # the share of the age that chance may take off
SESSION_ANSWER_S = 5.0  # a server that takes longer to open a session, once it is connected, is asked without

PROBE_TIMEOUT_S = 5.0
READY_TIMEOUT_S = 60.0
READY_POLL_S = 0.1
CANCEL_TIMEOUT_S = 5.0
TOKENIZE_TIMEOUT_S = 30.0  # long prompts wait for each other
CLOSE_TIMEOUT_S = 1.0  # what leaving a client waits at most for its cancels to be answered

METRICS_PORT = 8002
METRICS_URL_VARIABLE = "NEMOTRON_METRICS_URL"
"""The environment variable that goes with `URL_VARIABLE`: where that server has its metrics page."""

BATCH_CONCURRENCY = 16
MAX_TOOL_ROUNDS = 8


def urls(given: str | Sequence[str] | None) -> list[str]:
    """The servers to talk to: those given, else what the environment names, else the one default.

    Raises:
        ValueError: an empty list, or an environment variable without a URL.
    """
    if given is None:
        named = os.environ.get(URL_VARIABLE, URL)
        given = [url.strip() for url in named.split(",") if url.strip()]
        if not given:
            raise ValueError(f"{URL_VARIABLE} is {named!r}, expected a URL like {URL}; unset it for that one")
    found = [given] if isinstance(given, str) else list(given)
    if not found:
        raise ValueError(f"url: nothing was given, expected at least one URL like {URL}")
    return found
