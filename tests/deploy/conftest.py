"""What the tests of deployments share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.deploy import podman as podman_module
from tests.deploy.podman import Podman


@pytest.fixture(scope="session")
def podman() -> Iterator[Podman]:
    """podman with the image of this checkout (`tests.deploy.podman.IMAGE`), and a network without a way out."""
    with podman_module.session() as podman:
        yield podman
