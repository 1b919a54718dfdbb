from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from nemotron_serving.errors import EngineError, InvalidRequestError, UnavailableError
from nemotron_serving.stages.unary import MOST_CALLS, UnaryFront, triton_code
from tests.unit.serving.support import eventually


class Call:
    """A call whose answer comes when the test says so, and that notices misuse."""

    def __init__(self, *, fails: bool = False) -> None:
        self.answerable = threading.Event()
        self.gone = threading.Event()
        self.asked = threading.Event()
        self.stops = 0
        self.ends: list[str] = []
        self.questions = 0
        self._fails = fails

    def ask(self) -> str:
        self.asked.set()
        assert self.answerable.wait(10)
        if self._fails:
            raise EngineError("broken")
        return "yes"

    def is_cancelled(self) -> bool:
        assert not self.ends, "asked after its end"
        self.questions += 1
        return self.gone.is_set()

    def stop(self) -> None:
        self.stops += 1
        self.answerable.set()

    def answer(self, answer: str) -> None:
        self.ends.append(answer)

    def confirm_cancel(self) -> None:
        self.ends.append("cancelled")

    def fail(self, error: Exception) -> None:
        self.ends.append(str(error))


def ends(call: Call, *expected: str) -> bool:
    return eventually(lambda: call.ends == list(expected))


@pytest.fixture
def front() -> Iterator[UnaryFront]:
    front = UnaryFront(admitted=3)
    yield front
    front.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("nemotron-unary")]


def test_calls_wait_at_the_same_time_and_end_in_any_order(front: UnaryFront) -> None:
    calls = [Call(), Call(), Call(fails=True)]
    for call in calls:
        front.submit(call)
    assert all(call.asked.wait(5) for call in calls)
    for call, end in zip(reversed(calls), ("broken", "yes", "yes"), strict=True):
        assert not call.ends
        call.answerable.set()
        assert ends(call, end)


def test_one_too_many_is_refused_at_once_and_room_comes_back(front: UnaryFront) -> None:
    calls = [Call() for _ in range(3)]
    for call in calls:
        front.submit(call)
    with pytest.raises(UnavailableError, match="3 unary requests in flight"):
        front.submit(Call())
    calls[0].answerable.set()
    assert ends(calls[0], "yes")
    fourth = Call()
    front.submit(fourth)
    assert fourth.asked.wait(5)
    for call in (*calls, fourth):
        call.answerable.set()


def test_a_caller_that_left_is_stopped_once_and_the_others_go_on(front: UnaryFront) -> None:
    leaving, staying = Call(), Call()
    front.submit(leaving)
    front.submit(staying)
    assert eventually(lambda: staying.questions > 0)
    leaving.gone.set()
    assert ends(leaving, "cancelled")
    seen = staying.questions
    assert eventually(lambda: staying.questions > seen)
    assert (leaving.stops, staying.stops, staying.ends) == (1, 0, [])
    staying.answerable.set()
    assert ends(staying, "yes")


def test_a_question_or_a_stop_that_fails_does_not_end_the_watch(front: UnaryFront) -> None:
    class Broken(Call):
        def is_cancelled(self) -> bool:
            raise RuntimeError("no answer from Triton")

    class Unstoppable(Call):
        def stop(self) -> None:
            super().stop()
            raise RuntimeError("refused")

    calls = [Broken(), Unstoppable(), Call()]
    for call in calls:
        front.submit(call)
    for call in calls[1:]:
        call.gone.set()
        assert ends(call, "cancelled")
    calls[0].answerable.set()
    assert ends(calls[0], "yes")


def test_an_answer_that_cannot_be_delivered_frees_its_place() -> None:
    class Undeliverable(Call):
        def answer(self, answer: str) -> None:
            super().answer(answer)
            raise RuntimeError("the receiver is gone")

    front = UnaryFront(admitted=1)
    for call in (Undeliverable(), Call()):
        call.answerable.set()
        front.submit(call)
        assert ends(call, "yes")
    front.close()


def test_closing_waits_for_the_answers() -> None:
    front, call = UnaryFront(admitted=1), Call()
    front.submit(call)
    timer = threading.Timer(0.2, call.answerable.set)
    timer.start()
    front.close()
    assert call.ends == ["yes"]
    timer.join()


def test_a_machine_without_threads_costs_no_place(front: UnaryFront, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    refused = Call()
    with monkeypatch.context() as without:
        without.setattr("threading.Thread.start", start)
        for _ in range(4):
            with pytest.raises(UnavailableError, match="no more threads"):
                front.submit(refused)
    calls = [Call() for _ in range(3)]
    for call in calls:
        front.submit(call)
        call.answerable.set()
        assert ends(call, "yes")
    assert not refused.asked.is_set() and not refused.ends


def test_a_package_may_admit_more_than_can_wait_here() -> None:
    front = UnaryFront(admitted=10 * MOST_CALLS)
    calls = [Call() for _ in range(MOST_CALLS)]
    for call in calls:
        front.submit(call)
    with pytest.raises(UnavailableError, match="use the model ensemble"):
        front.submit(Call())
    for call in calls:
        call.answerable.set()
    front.close()
    assert all(call.ends == ["yes"] for call in calls)


@pytest.mark.parametrize(
    "error",
    [InvalidRequestError("max_tokens", "0 was given (why?)"), UnavailableError("Full."), EngineError("Broken.")],
)
def test_the_code_of_an_error_is_read_from_its_status(error: InvalidRequestError | UnavailableError) -> None:
    assert triton_code(f"in ensemble 'ensemble', {error} ({error.status})") == error.triton_code


@pytest.mark.parametrize(
    "message", ["", "(", "Model 'ensemble' is not ready.", "odd (INVALID_ARGUMENTS)", "(NOT_FOUND)"]
)
def test_an_error_without_a_known_status_is_internal(message: str) -> None:
    assert triton_code(message) == "INTERNAL"
