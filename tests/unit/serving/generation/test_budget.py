from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemotron_serving.errors import InvalidRequestError
from nemotron_serving.generation.budget import ThinkingBudget, resolve_budget
from nemotron_serving.package import ThinkingPolicy
from tests.unit.serving.support import serving_config

CLOSE_IDS = (7, 8, 9)
POLICY = serving_config(max_thinking_tokens=50, min_answer_tokens=10).thinking
FREE = serving_config(max_thinking_tokens=None, min_answer_tokens=10).thinking


def resolved(wanted: int | None, policy: ThinkingPolicy, max_tokens: int, *, needed: bool = False) -> int | None:
    budget = resolve_budget(wanted, policy, max_tokens, CLOSE_IDS, needed=needed)
    assert budget is None or budget.grace_tokens == budget.max_tokens // 10
    return budget.max_tokens if budget else None


def test_the_callers_budget_goes_before_the_packages_and_there_may_be_none() -> None:
    assert [resolved(wanted, POLICY, 1000) for wanted in (None, 80)] == [50, 80]
    assert [resolved(wanted, FREE, 1000) for wanted in (None, 80)] == [None, 80]
    # What there is room for: ten elevenths of 113 - 10 - 3, the rest is the grace.
    assert resolved(None, FREE, 113, needed=True) == 90


def test_too_few_tokens_to_think_and_answer_are_refused_where_a_budget_was_asked_for() -> None:
    assert [resolved(None, POLICY, max_tokens) for max_tokens in (4, 5)] == [None, 1]
    for wanted, needed in ((80, False), (None, True)):
        with pytest.raises(InvalidRequestError, match=r"^max_tokens: 4 is too few to think and answer; send 5$"):
            resolved(wanted, POLICY, 4, needed=needed)


@given(st.integers(1, 3000), st.integers(14, 3000))
def test_grace_tag_and_the_answers_reserve_fit_in_max_tokens(wanted: int, max_tokens: int) -> None:
    budget = resolve_budget(wanted, POLICY, max_tokens, CLOSE_IDS, needed=False)
    assert budget is not None
    used = budget.max_tokens + budget.grace_tokens + len(CLOSE_IDS)
    assert used + POLICY.min_answer_tokens <= max_tokens


@pytest.mark.parametrize(
    ("num_tokens", "ends_line", "mid_character", "over"),
    [
        (19, True, False, False),
        (20, True, False, True),
        (20, False, False, False),
        (21, True, True, True),
        (22, False, False, True),  # the end of the grace
        (22, False, True, False),  # a character has begun
        (24, False, True, False),
        (25, False, True, True),  # no character needs more
    ],
)
def test_when_it_is_over(num_tokens: int, ends_line: bool, mid_character: bool, over: bool) -> None:
    budget = ThinkingBudget(20, 2)
    assert budget.is_over(num_tokens, ends_line=ends_line, mid_character=mid_character) is over
    assert budget.watched == (20, 25)
