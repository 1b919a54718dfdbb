"""Runs stages in their order, and redoes those alone whose inputs changed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from nemotron_build.errors import BuildError
from nemotron_build.pipeline.stage import Stage, Tools, drop_empty_logs, logs_of
from nemotron_build.pipeline.work import WORK_OPTION, StageRecord, WorkDirectory, fingerprint
from nemotron_build.space import full_disk_as_error, require_space
from nemotron_build.steps import Steps
from nemotron_build.target import refuse_file_above

OUTPUT_OPTION = "-o"
"""The option that says where a stage alone, or the package, is written."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, with one line about what became of the work."""


def run_stages(stages: Sequence[Stage], work: WorkDirectory, steps: Steps) -> dict[str, StageRecord]:
    """Run what is not finished.

    Args:
        stages: In order; each may depend on all before it.
        work: Where their files go.
        steps: Where progress is shown.

    Returns:
        The record of each stage, by name.

    Raises:
        Interrupted: ctrl-C; finished stages are kept.
        DiskSpaceError: the disk has no room for what is left to do, or ran full.
    """
    records: dict[str, StageRecord] = {}
    before = ""
    for number, stage in enumerate(stages):
        inputs = fingerprint({"before": before, **stage.inputs()})
        record = work.finished(stage.name, inputs)
        if record is None:
            _require_space(stages[number:], work)
            try:
                record = _make(stage, inputs, before, work, steps)
            except KeyboardInterrupt:
                raise Interrupted(f"interrupted in {stage.name}. {kept(list(records), work)}") from None
        else:
            steps.say(f"✓ {stage.title}: finished before, and nothing it depends on has changed")
        records[stage.name] = record
        before = record.digest
    return records


def run_alone(stage: Stage, target: Path, steps: Steps) -> None:
    """Run one stage into a directory that appears when it is finished.

    The programs' logs are in TARGET.logs; an interrupted stage leaves none.

    Raises:
        BuildError: `target` is there already, or what the stage raises.
        DiskSpaceError: the disk has no room for it, or ran full.
    """
    if target.exists():
        raise BuildError(f"{target} is there already. Remove it, or name another directory with -o.")
    refuse_file_above(target)
    target = target.resolve()
    require_space(target.parent, stage.cost().disk_bytes, stage.name, option=OUTPUT_OPTION)
    target.parent.mkdir(parents=True, exist_ok=True)
    logs = logs_of(target)
    partial = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        made = partial / "files"
        made.mkdir()
        with full_disk_as_error(target.parent, option=OUTPUT_OPTION), steps.progress(stage.title) as report:
            stage.run(made, Tools(logs, report, OUTPUT_OPTION))
        os.rename(made, target)
        drop_empty_logs(logs)
    except (KeyboardInterrupt, SystemExit):
        shutil.rmtree(logs, ignore_errors=True)
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def kept(finished: list[str], work: WorkDirectory) -> str:
    """What became of the stages that were finished, for the line that ctrl-C leaves."""
    if not finished:
        return "Nothing was finished before, and nothing is left."
    return f"What was finished ({', '.join(finished)}) is kept in {work.path} and used by the same command."


def _require_space(left: Sequence[Stage], work: WorkDirectory) -> None:
    names = ", ".join(stage.name for stage in left)
    purpose = names if len(left) == 1 else f"the rest of the build ({names})"
    require_space(work.path, sum(stage.cost().disk_bytes for stage in left), purpose, option=WORK_OPTION)


def _make(stage: Stage, inputs: str, before: str, work: WorkDirectory, steps: Steps) -> StageRecord:
    with steps.progress(stage.title) as report:
        tools = Tools(work.logs, report, WORK_OPTION)
        return work.make(stage.name, inputs, before, lambda output: stage.run(output, tools))
