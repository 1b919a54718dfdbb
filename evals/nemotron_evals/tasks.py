"""The card's benchmarks as tasks of Inspect's: what is asked, and how an answer is scored.

Each sample is scored, come what may: an answer that failed has the lowest score and says so, and never leaves the mean.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from inspect_ai import Task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    GenerateConfig,
    Model,
    ModelOutput,
    get_model,
)
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer
from inspect_ai.solver import Generate, Solver, TaskState, solver
from inspect_ai.util import sandbox

from nemotron_evals import answers
from nemotron_evals.card import Benchmark, Mode, Settings, prompt
from nemotron_evals.card import benchmark as card_benchmark
from nemotron_evals.data import Question
from nemotron_evals.endpoint import failure
from nemotron_evals.errors import EvalError
from nemotron_evals.scorers import functions, instructions, judge, mathematics, program

LETTERS = "ABCD"
TOGGLE: dict[Mode, str] = {"on": "detailed thinking on", "off": "detailed thinking off"}
"""The system's text that turns thinking on or off."""

JUDGE = "judge"
"""The role of the model that rates MT-Bench."""

_JUDGE_TRIES = 3
_JUDGE_TOKENS = 2048


@dataclass
class Scored:
    """What came of an answer.

    Attributes:
        values: By metric; fractions, or points.
        answer: What was scored, as little of it as says why: a box, a letter; empty where the answer has none.
        explanation: Why it is wrong, where that is known.
        notes: Counts for `Measured.notes`.
    """

    values: dict[str, float]
    answer: str
    explanation: str = ""
    notes: dict[str, int] = field(default_factory=dict)


def seed(benchmark: str, question: str, repeat: int) -> int:
    """A request's seed: the same for the same question and repeat, another for each other, whatever the mode."""
    text = json.dumps([benchmark, question, repeat])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) >> 1


def card_task(
    benchmark: Benchmark, mode: Mode, repeats: int, questions: Sequence[Question], settings: Settings
) -> Task:
    """A benchmark in one mode.

    Args:
        benchmark: Which one.
        mode: Thinking on or off.
        repeats: How often each question is asked.
        questions: The rows.
        settings: How answers are sampled.
    """
    samples = [Sample(id=one.id, input=_shown(benchmark, one), metadata=one.fields) for one in questions]
    return Task(
        name=f"{benchmark.name}-{mode}",
        dataset=MemoryDataset(samples, name=benchmark.name),
        solver=ask(benchmark.name, mode),
        scorer=score(benchmark.name),
        epochs=repeats,
        config=GenerateConfig(
            temperature=settings.temperature,
            top_p=settings.top_p,
            max_tokens=settings.max_tokens,
            reasoning_history="none",
        ),
        sandbox="bubblewrap" if benchmark.name == "mbpp" else None,
    )


@solver
def ask(name: str, mode: Mode) -> Solver:
    """Ask a question, turn by turn; an error ends it, and is kept in `failure` of the metadata."""
    benchmark = card_benchmark(name)

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        number = seed(benchmark.name, str(state.sample_id), state.epoch)
        state.messages = [ChatMessageSystem(content=TOGGLE[mode])]
        answered: list[str] = []
        tokens, cut = 0, False
        for turn in conversation(benchmark, state.metadata, number):
            state.messages += turn
            try:
                state = await generate(state, tool_calls="none", seed=number)
            except Exception as error:
                state.metadata["failure"] = await failure(error, str(get_model().api.base_url))
                break
            if problem := _unusable(state.output):
                state.metadata["failure"] = problem
                break
            tokens += state.output.usage.output_tokens if state.output.usage else 0
            cut = cut or state.output.stop_reason in ("max_tokens", "model_length")
            answered.append(answers.answer(state.output.completion))
            # What goes back to the model in the next turn is what a reader saw.
            state.messages[-1] = ChatMessageAssistant(content=answered[-1], tool_calls=state.output.message.tool_calls)
        state.metadata |= {"answers": answered, "output_tokens": tokens, "cut": cut}
        return state

    return solve


@scorer(metrics={"*": [mean()]})
def score(name: str) -> Scorer:
    """Score an answer; one that failed has the lowest score."""
    score_answer = _SCORERS[name]
    lowest = {metric.name: 0.0 if metric.scale == "fraction" else 1.0 for metric in card_benchmark(name).metrics}

    async def score_state(state: TaskState, _: Target) -> Score:
        problem = str(state.metadata.get("failure") or "")
        scored = Scored(dict(lowest), "")
        if not problem:
            try:
                scored = await score_answer(state)
            except _JudgeError as error:
                problem = f"the judge: {error}"
            except EvalError:
                raise
            except Exception as error:
                problem = f"{type(error).__name__}: {error}"
        said = any(state.metadata["answers"]) or bool(_calls(state))
        return Score(
            value=scored.values,
            answer=scored.answer[:2000],
            explanation=problem or scored.explanation,
            metadata={
                "failed": bool(problem),
                "overlong": bool(state.metadata.get("cut")) and not (scored.answer and said),
                "output_tokens": int(state.metadata.get("output_tokens", 0)),
                "notes": scored.notes,
            },
        )

    return score_state


def conversation(benchmark: Benchmark, fields: dict[str, Any], number: int) -> list[list[ChatMessage]]:
    """The messages of a question, turn by turn: what is asked before each answer.

    Args:
        benchmark: Which one.
        fields: Of the question.
        number: The seed, which orders the choices of GPQA.
    """
    if benchmark.name == "mtbench":
        return [[ChatMessageUser(content=turn)] for turn in fields["turns"]]
    if benchmark.name == "bfcl":
        return [_with_functions(benchmark, fields)]
    return [[ChatMessageUser(content=_user_text(benchmark, fields, number))]]


def options(fields: dict[str, Any], number: int) -> tuple[list[str], str]:
    """GPQA's choices in the order of a seed, and the letter of the right one."""
    choices = [fields["right"], *fields["wrong"]]
    order = random.Random(number).sample(range(len(choices)), len(choices))  # noqa: S311 - an order, no secret
    return [choices[one] for one in order], LETTERS[order.index(0)]


def _user_text(benchmark: Benchmark, fields: dict[str, Any], number: int) -> str:
    match benchmark.name:
        case "gpqa":
            choices, _ = options(fields, number)
            holes = {f"option_{name}": choice for name, choice in zip(LETTERS, choices, strict=True)}
            return prompt(benchmark, question=fields["question"], **holes)
        case "ifeval":
            return str(fields["prompt"])
        case "mbpp":
            return prompt(benchmark, prompt=f"{fields['text']}\n{fields['tests'][0]}")
        case _:
            return prompt(benchmark, question=fields["question"])


def _with_functions(benchmark: Benchmark, fields: dict[str, Any]) -> list[ChatMessage]:
    """BFCL's messages, with the functions before the user's first text; a system text of the row goes there, too."""
    system = [one["content"] for one in fields["messages"] if one["role"] == "system"]
    others = [one for one in fields["messages"] if one["role"] != "system"]
    first = next(at for at, one in enumerate(others) if one["role"] == "user")
    messages: list[ChatMessage] = []
    for at, one in enumerate(others):
        text = one["content"]
        if at == first:
            text = prompt(
                benchmark, functions=json.dumps(fields["functions"]), user_prompt="\n\n".join([*system, text])
            )
        messages.append((ChatMessageUser if one["role"] == "user" else ChatMessageAssistant)(content=text))
    return messages


def _shown(benchmark: Benchmark, question: Question) -> str:
    """What Inspect's viewer shows as the question."""
    return question.id if benchmark.private else str(conversation(benchmark, question.fields, 0)[0][-1].text)


def _unusable(output: ModelOutput) -> str:
    if output.error:
        return str(output.error)
    if output.stop_reason in ("content_filter", "unknown") and not output.completion:
        return f"the endpoint ended the answer with {output.stop_reason!r}"
    if output.stop_reason == "model_length" and not (output.usage and output.usage.output_tokens):
        return "the question does not fit the model's context"
    return ""


def _calls(state: TaskState) -> list[tuple[str, Any]]:
    """Calls that the endpoint took out of the text."""
    given = state.output.message.tool_calls if state.output.choices else None
    return [(call.function, call.arguments) for call in given or []]


def _text(state: TaskState) -> str:
    texts: list[str] = state.metadata["answers"]
    return texts[-1]


async def _score_math(state: TaskState) -> Scored:
    found = answers.boxes(_text(state))
    right = bool(found) and mathematics.same(state.metadata["answer"], found[-1])
    return Scored(
        {"accuracy": float(right)}, found[-1] if found else "", notes={"boxes_differ": int(len(set(found)) > 1)}
    )


async def _score_letter(state: TaskState) -> Scored:
    _, right = options(state.metadata, seed("gpqa", str(state.sample_id), state.epoch))
    found = answers.letter(_text(state))
    boxed = answers.boxes(_text(state))
    return Scored({"accuracy": float(found == right)}, found or "", notes={"boxes_differ": int(len(set(boxed)) > 1)})


async def _score_instructions(state: TaskState) -> Scored:
    fields, text = state.metadata, _text(state)
    done = instructions.followed(fields["prompt"], fields["instructions"], fields["arguments"], text)
    missed = [name for name, one in zip(fields["instructions"], done, strict=True) if not one]
    values = {"prompt": float(not missed), "instruction": sum(done) / len(done)}
    return Scored(values, text, ", ".join(missed))


async def _score_calls(state: TaskState) -> Scored:
    fields, text = state.metadata, _text(state)
    found = answers.calls(text, _calls(state))
    right, wrong = functions.right(fields["category"], fields["functions"], fields["gold"], found)
    return Scored({"accuracy": float(right)}, json.dumps(found) if found else text, wrong)


async def _score_code(state: TaskState) -> Scored:
    code = program.cut(answers.code(_text(state)))
    if not code:
        return Scored({"accuracy": 0.0}, "", "no code")
    outcome = await program.run_tests(sandbox(), code, state.metadata["tests"], state.metadata["imports"])
    return Scored({"accuracy": float(outcome.passed)}, code, "" if outcome.passed else outcome.said)


async def _score_by_judge(state: TaskState) -> Scored:
    turns, texts = state.metadata["turns"], state.metadata["answers"]
    reference = state.metadata["reference"] if state.metadata["category"] in judge.REFERENCED else None
    model = get_model(role=JUDGE, required=True)
    ratings = [
        await _rating(model, *judge.judged(turns[:count], texts[:count], reference))
        for count in range(1, len(turns) + 1)
    ]
    return Scored({"rating": sum(ratings) / len(ratings)}, " and ".join(map(str, ratings)))


class _JudgeError(Exception):
    """The judge gave no rating; the message says why."""


async def _rating(model: Model, system: str, user: str) -> float:
    for number in range(_JUDGE_TRIES):
        try:
            output = await model.generate(
                [ChatMessageSystem(content=system), ChatMessageUser(content=user)],
                config=GenerateConfig(temperature=0.0, max_tokens=_JUDGE_TOKENS, seed=number),
            )
        except Exception as error:
            raise _JudgeError(await failure(error, str(model.api.base_url))) from None
        found = answers.rating(answers.answer(output.completion))
        if found is not None:
            return found
    raise _JudgeError(f"no rating in {_JUDGE_TRIES} replies")


_SCORERS: dict[str, Callable[[TaskState], Awaitable[Scored]]] = {
    "math500": _score_math,
    "aime25": _score_math,
    "gpqa": _score_letter,
    "ifeval": _score_instructions,
    "bfcl": _score_calls,
    "mbpp": _score_code,
    "mtbench": _score_by_judge,
}
