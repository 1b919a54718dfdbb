"""A run by Inspect's `eval_set`: what was answered before is taken from its logs, the rest is asked."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from nemotron_evals import plan
from nemotron_evals.endpoint import Endpoint
from nemotron_evals.plan import LOGS, Spent
from nemotron_evals.progress import Progress

if TYPE_CHECKING:
    from nemotron_evals.run import Work

_TASKS_AT_ONCE = 3  # so that the long answers at a benchmark's end do not leave the endpoint idle
_RETRIES = 3
_CLIENT_TIMEOUT_S = 6 * 3600.0
_IDLE_TIMEOUT_S = 1800  # without a token: behind others in the endpoint's queue
_TIME_EVERY_S = 10.0


def ask_all(
    directory: Path, work: Sequence[Work], endpoint: Endpoint, judge: Endpoint | None, concurrency: int
) -> str | None:
    """Ask all that was not asked before, and score it.

    Returns:
        Why it ended too early; None where all was asked.

    Raises:
        KeyboardInterrupt: Somebody wanted it to end.
    """
    _isolate(directory)
    from inspect_ai import eval_set

    from nemotron_evals import sandbox, tasks  # noqa: F401 - the sandbox registers itself
    from nemotron_evals.logs import scored

    totals = {one.name: one.asked.questions * one.asked.repeats for one in work}
    before = {name: len(scored(directory, name)) for name in totals}
    progress = Progress(totals, before, sys.stderr)
    _follow(directory, progress)
    try:
        with redirect_stdout(StringIO()):  # Inspect says there that there are hooks
            done, logs = eval_set(
                [
                    tasks.card_task(
                        one.benchmark, one.asked.thinking, one.asked.repeats, one.questions, one.asked.settings
                    )
                    for one in work
                ],
                log_dir=str(directory / LOGS),
                model=_model("endpoint", endpoint, concurrency),
                model_roles={tasks.JUDGE: _model("judge", judge, concurrency)} if judge else None,
                retry_attempts=0,
                retry_immediate=False,
                max_connections=concurrency,
                max_samples=concurrency,
                max_tasks=_TASKS_AT_ONCE,
                max_retries=_RETRIES,
                stream_idle_timeout=_IDLE_TIMEOUT_S,
                adaptive_connections=False,
                fail_on_error=True,
                log_buffer=1,
                log_realtime=False,
                log_model_api=False,
                display="none",
                score_display=False,
                log_level="error",
                ctl_server=False,
                acp_server=False,
            )
    finally:
        progress.end()
    if any(_cancelled(directory, name) for name in totals):  # Inspect keeps the interrupt to itself
        raise KeyboardInterrupt
    answered = sum(len(scored(directory, name)) for name in totals)
    return None if done and answered == sum(totals.values()) else _problem(logs)


def _isolate(directory: Path) -> None:
    """Keep settings of others out of Inspect, and what it writes in the run's private directory.

    It reads `.env` from the working directory upwards and variables of its own, and keeps traces in the user's data
    directory. Both have to be so before it is imported.
    """
    os.chdir(directory)
    os.umask(0o077)
    os.environ["XDG_DATA_HOME"] = str(directory / LOGS / ".inspect")
    for name in [name for name in os.environ if name.startswith("INSPECT_")]:
        del os.environ[name]


def _model(service: str, endpoint: Endpoint, concurrency: int) -> object:
    from inspect_ai.model import GenerateConfig, get_model

    return get_model(
        f"openai-api/{service}/{endpoint.model}",
        base_url=endpoint.url,
        api_key=endpoint.key,
        memoize=False,
        config=GenerateConfig(max_retries=_RETRIES, max_connections=concurrency),
        stream=True,
        client_timeout=_CLIENT_TIMEOUT_S,
        max_retries=0,  # of the client's own, which would multiply Inspect's
    )


def _follow(directory: Path, progress: Progress) -> None:
    """Have Inspect tell the progress of each sample, and write down the time that the run takes."""
    from inspect_ai.hooks import Hooks, SampleEnd, TaskStart, hooks

    begun = plan.spent(directory)
    plan.spend(directory, begun)

    @hooks(name="nemotron_progress", description="nemotron-eval's progress")
    class Follow(Hooks):
        def __init__(self) -> None:
            self.names: dict[str, str] = {}
            self.written = 0.0

        async def on_task_start(self, data: TaskStart) -> None:
            self.names[data.eval_id] = data.spec.task

        async def on_sample_end(self, data: SampleEnd) -> None:
            score = (data.sample.scores or {}).get("score")
            if score is not None and score.metadata:
                name = self.names[data.eval_id]
                progress.add(name, score.metadata["output_tokens"], failed=score.metadata["failed"])
            if progress.seconds - self.written >= _TIME_EVERY_S:
                self.written = progress.seconds
                plan.spend(directory, Spent(begun.started, begun.seconds + progress.seconds))

        async def on_eval_set_end(self, _: object) -> None:
            plan.spend(directory, Spent(begun.started, begun.seconds + progress.seconds))


def _cancelled(directory: Path, task: str) -> bool:
    from inspect_ai.log import read_eval_log

    from nemotron_evals.logs import latest

    path = latest(directory, task)
    return path is not None and bool(read_eval_log(path, header_only=True).status == "cancelled")


def _problem(logs: Sequence[object]) -> str:
    """The first error of a run that ended too early, without its traceback and the name of its class."""
    for log in logs:
        error = getattr(log, "error", None)
        if error is not None:
            said = str(error.message).strip()
            inner = re.fullmatch(r"\w+\((['\"])(.*)\1\)", said, re.DOTALL)
            return (inner[2] if inner else said).removesuffix(".")
    return "not all questions were answered"
