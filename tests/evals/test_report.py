"""The report of a run: table, JSON, and a page that escapes all that it shows and needs nothing from elsewhere."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from nemotron_evals import results
from nemotron_evals.card import CARD, MODES, benchmark
from nemotron_evals.cli import main
from nemotron_evals.errors import ResultsError
from nemotron_evals.logs import Sample
from nemotron_evals.page import page_html, shortened
from nemotron_evals.report import as_text, make_report
from nemotron_evals.results import Results
from tests.evals import streams

HOSTILE = "<script>alert('1')</script>&\"'"
MATH, GPQA, BFCL = benchmark("math500"), benchmark("gpqa"), benchmark("bfcl")
VOID = {"meta", "br", "link", "line", "path", "circle", "rect"}


class Checked(HTMLParser):
    """Fails where elements are not closed in order; collects what is worth a look."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def flipping(share: float, questions: int, repeats: int) -> list[list[float]]:
    right = round(share * questions)
    rows = [[1.0] * repeats] * right + [[0.0] * repeats] * (questions - right)
    return [
        [1.0 - value if at == 0 and number % 50 == 0 else value for at, value in enumerate(row)]
        for number, row in enumerate(rows)
    ]


def a_run(**changes: object) -> Results:
    categories = ["live_simple"] * 258 + ["live_multiple"] * 1993
    return streams.run(
        streams.measured(MATH, "off", {"accuracy": flipping(0.36, 500, 2)}, notes={"boxes_differ": 7}),
        streams.measured(MATH, "on", {"accuracy": flipping(0.958, 500, 4)}),
        streams.measured(GPQA, "off", {"accuracy": flipping(0.2, 198, 2)}),
        streams.measured(BFCL, "off", {"accuracy": flipping(0.64, 2251, 2)}, categories=categories),
        **changes,
    )


def sample(
    question: str, *, value: float = 0.0, text: str = "", overlong: bool = False, failed: bool = False
) -> Sample:
    return Sample(
        question=question,
        repeat=0,
        values={"accuracy": value},
        failed=failed,
        overlong=overlong,
        output_tokens=12345,
        prompt=f"question {text}",
        reasoning=f"thinking {text}",
        answer=f"answer {text}",
        explanation=f"explanation {text}",
    )


def test_the_table_has_a_row_a_figure_with_both_intervals_and_the_verdict() -> None:
    text = as_text(make_report(a_run()))
    rows = text.splitlines()
    assert [row.split()[:2] for row in rows[1:3]] == [["MATH500", "on"], ["MATH500", "off"]]
    assert "same questions" in rows[0]
    assert "such questions" in rows[0]
    assert len(re.findall(r"\[[\d.]+, [\d.]+\]", rows[1])) == 2
    assert rows[1].endswith("reproduced")
    assert "GPQA-D" in text
    assert "lower" in text
    assert "MATH500 with thinking off: answers with several boxes that differ, of which the last counts: 7." in rows
    assert "2.5 hours" in text


def test_a_run_with_a_limit_says_why_nothing_is_compared() -> None:
    text = as_text(make_report(a_run(limit=500)))
    assert "4 not comparable" in text
    assert "--limit 500 asks other questions than the card" in text


def test_categories_of_bfcl_are_information() -> None:
    report = make_report(a_run())
    assert [(one.name, one.questions) for one in report.categories] == [("live_simple", 258), ("live_multiple", 1993)]
    total = sum(one.score * one.questions for one in report.categories) / 2251
    figure = next(figure for figure in report.figures if figure.benchmark == "bfcl")
    assert total == pytest.approx(figure.score)


def test_the_page_is_whole_escapes_everything_and_asks_for_nothing() -> None:
    run = a_run(model=HOSTILE, package=HOSTILE, url=HOSTILE, judge=HOSTILE, versions={HOSTILE: HOSTILE})
    to_read = {("math500", "on"): [sample(HOSTILE, text=HOSTILE)]}
    page = page_html(make_report(run), run, to_read, HOSTILE)  # type: ignore[arg-type]
    elements = Checked(page).elements
    assert HOSTILE not in page
    assert "&lt;script&gt;" in page
    assert not {"script", "img", "link", "iframe"} & {tag for tag, _ in elements}
    assert not [name for _, given in elements for name in given if name.startswith("on") or name in ("src", "href")]
    assert "default-src 'none'" in page


def test_the_page_can_be_read_without_its_pictures_and_without_colours() -> None:
    run = a_run()
    page = page_html(make_report(run), run, {})
    elements = Checked(page).elements
    pictures = [given for tag, given in elements if tag == "svg"]
    identities = {given["id"] for _, given in elements if "id" in given}
    assert len(pictures) == 4  # scores and differences, broad and narrow
    for picture in pictures:
        assert picture["role"] == "img"
        assert set((picture["aria-labelledby"] or "").split()) <= identities
    assert len(identities) == len([given for _, given in elements if "id" in given])
    assert ("html", {"lang": "en"}) in elements
    assert "✓ reproduced" in page
    assert "▼ lower" in page
    assert "prefers-color-scheme: dark" in page


def test_marks_lie_where_their_numbers_are() -> None:
    """On the broad drawing 0 is at 220 and 100 at 820, six units a percent."""
    run = streams.run(streams.measured(MATH, "off", {"accuracy": flipping(0.36, 500, 2)}))
    report = make_report(run)
    page = page_html(report, run, {})
    broad = page[page.index('<svg class="broad"') : page.index('<svg class="narrow"')]
    assert float(re.findall(r'<circle cx="([\d.]+)"', broad)[0]) == pytest.approx(220 + 6 * report.figures[0].score)
    assert f'd="M{round(220 + 6 * 36.6, 1)} ' in broad


def test_a_page_of_a_run_with_nothing_is_a_page() -> None:
    run = streams.run()
    Checked(page_html(make_report(run), run, {}))


def test_every_figure_of_the_card_can_be_drawn() -> None:
    run = streams.run(
        *(
            streams.measured(
                of,
                mode,
                {metric.name: [[metric.card[mode] * metric.unit]] * of.questions for metric in of.metrics},
                weights=[1.0] * of.questions,
            )
            for of in CARD
            for mode in MODES
        ),
        judge="gpt-4",
    )
    report = make_report(run)
    assert len(report.figures) == 16
    Checked(page_html(report, run, {}))


def test_long_texts_keep_their_beginning_and_end() -> None:
    assert shortened("short") == "short"
    long = "begin" + "x" * 20000 + "end"
    assert shortened(long).startswith("begin")
    assert shortened(long).endswith("end")
    assert len(shortened(long)) < 4100
    assert "[… 16,008 characters …]" in shortened(long)


def written(directory: Path, run: Results) -> Path:
    directory.mkdir()
    results.write(directory, run)
    return directory


def test_the_command_prints_the_table_and_writes_a_page_with_the_worst_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def samples(_: Path, name: str, mode: str) -> list[Sample]:
        asked.append(name)
        if (name, mode) != ("math500", "on"):
            return []
        many = [sample(f"wrong-{number}") for number in range(50)]
        return [*many, sample("right", value=1.0), sample("long", overlong=True), sample("error", failed=True)]

    monkeypatch.setattr("nemotron_evals.report.samples", samples)
    run = written(tmp_path / "run", a_run())
    assert main(["report", str(run)]) == 0
    assert "reproduced" in capsys.readouterr().out
    page = (run / "report.html").read_text(encoding="utf-8")
    summaries = re.findall(r"<summary>([^<]*), repeat 1: ([^<]*), 12,345 tokens</summary>", page)
    assert summaries == [("error", "failed"), ("long", "overlong"), ("wrong-0", "accuracy 0")]
    assert "gpqa" not in asked  # its rows must not be published


def test_the_command_without_logs_says_what_is_missing_on_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def samples(*_: object) -> list[Sample]:
        raise ResultsError("no log here")

    monkeypatch.setattr("nemotron_evals.report.samples", samples)
    run = written(tmp_path / "run", a_run())
    page = tmp_path / "elsewhere.html"
    assert main(["report", str(run), "-o", str(page)]) == 0
    assert str(page) in capsys.readouterr().err
    assert "no log here" in page.read_text(encoding="utf-8")
    assert sorted(path.name for path in run.iterdir()) == ["results.json"]


def test_json_has_figures_and_no_texts_and_no_page_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = written(tmp_path / "run", a_run())
    assert main(["report", "--json", str(run)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [(one["benchmark"], one["thinking"], one["verdict"]) for one in document["figures"]][:2] == [
        ("math500", "on", "reproduced"),
        ("math500", "off", "reproduced"),
    ]
    assert document["figures"][0]["same_questions"]["low"] < 95.4 < document["figures"][0]["same_questions"]["high"]
    assert sorted(path.name for path in run.iterdir()) == ["results.json"]


@pytest.mark.parametrize("name", ["missing/page.html", "."])
def test_a_page_that_cannot_be_written_is_refused_before_anything_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    run = written(tmp_path / "run", a_run())
    assert main(["report", str(run), "-o", str(tmp_path / name)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "expected a file's name in a directory that is there" in printed.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]
