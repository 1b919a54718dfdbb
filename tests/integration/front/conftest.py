"""openai-python beside the shared fronts."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

from tests.integration.conftest import Front


@pytest.fixture(scope="module")
def client(front: Front) -> Iterator[openai.OpenAI]:
    """For `front`; it tries once."""
    with openai.OpenAI(base_url=f"{front.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def demo_client(demo_front: Front) -> Iterator[openai.OpenAI]:
    """For `demo_front`; it tries once."""
    with openai.OpenAI(base_url=f"{demo_front.url}/v1", api_key="none", max_retries=0) as client:
        yield client
