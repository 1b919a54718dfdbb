"""Every default of the client, in one place."""

from __future__ import annotations

URL = "grpc://127.0.0.1:8001"

CONNECT_TIMEOUT_S = 5.0
KEEPALIVE_TIME_S = 30.0
KEEPALIVE_TIMEOUT_S = 10.0
