"""Whatever JSON a body is made of, it is answered or refused: nothing ends in a failure of ours."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemotron_client.testing import ScriptedReply
from nemotron_front.app import APIS
from nemotron_front.tokens import bodies
from tests.unit.front.conftest import InProcess

PATHS = {**{api.path: api.fields for api in APIS}, **bodies(APIS)}
# The names and words that mean something somewhere, so that what is made of them goes deep.
WORDS = (
    *("role", "content", "type", "text", "input", "output", "name", "function", "tool_calls", "tools", "arguments"),
    *("parameters", "tool_use", "tool_result", "tool_use_id", "is_error", "function_call", "function_call_output"),
    *("call_id", "user", "assistant", "system", "tool", "message", "json_schema", "schema", "allowed_tools", "mode"),
    *(
        "reasoning",
        "thinking",
        "input_schema",
        "mode",
        "auto",
        "any",
        "required",
        "format",
        "x-anthropic-billing-header:",
    ),
)
SCALARS = (
    st.none() | st.booleans() | st.integers(-2, 2**33) | st.floats(-2, 2) | st.sampled_from(WORDS) | st.text(max_size=3)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4),
    max_leaves=12,
)


OBJECTS = st.lists(st.dictionaries(st.sampled_from(WORDS), VALUES, max_size=5), min_size=1, max_size=3)


@pytest.mark.parametrize("path", PATHS)
def test_any_body_is_answered_or_refused(path: str) -> None:
    names = sorted({row.name.partition(".")[0] for row in PATHS[path].rows if row.use == "honoured"} - {"model"})
    front = InProcess.alone(ScriptedReply("{}", times=None))

    @settings(max_examples=10, deadline=None)
    @given(st.dictionaries(st.sampled_from(names), VALUES | OBJECTS, max_size=4))
    def asked(body: dict[str, object]) -> None:
        response = front.post(path, body)
        assert response.status_code in (200, 400), (response.status_code, response.text)

    with front.http:
        asked()
