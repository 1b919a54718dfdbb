"""The load test for Locust's own command, with its web UI.

    locust -f loadtest/locustfile.py --scenario FILE [--host URL] [--processes N] [--result-dir DIR]

What is sent and when is in the scenario, the number of users too. See docs/loadtest.
"""

from nemotron_loadtest.run.plugin import register
from nemotron_loadtest.users.locust_users import GrpcStreamUser, HttpGenerateUser, HttpStreamUser

__all__ = ["GrpcStreamUser", "HttpGenerateUser", "HttpStreamUser"]

register()
