"""Each client reads from the front what its users ask of it, and asks nobody else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.clients.conftest import CLIENTS, Client, Run, outcomes


@pytest.mark.parametrize("client", [client.param for client in CLIENTS])
def test_client(run: Callable[..., Run], client: Client) -> None:
    done = run(client.group, client.path.read_text(), "py" if client.path.suffix == ".py" else "js")
    checks = outcomes(done)
    assert checks
    failed = {name: outcome for name, outcome in checks.items() if outcome}
    assert not failed, "\n".join(f"{name}: {outcome}" for name, outcome in failed.items())
    assert not done.elsewhere
