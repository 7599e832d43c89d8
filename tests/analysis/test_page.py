"""The page answers first and shows every figure with its numbers; nothing of the data can run."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from analysis.frame.rows import from_store
from analysis.report import page as report
from analysis.report.tables import found_by
from analysis.threshold.workflows import workflows
from engine.experiment.sources import load
from engine.lineage.history import lineage_of
from engine.outcome.answer import Answer
from engine.store.store import Store
from tests.support.ouro import ouro
from tests.support.rows import failure

TEXT = """# Question: does <script>alert(1)</script> & "quotes" hurt?
base: {dataset: {name: gaussian, replicates: 30}, generator: gaussian, n_real: 20}
grid:
  policy: [replace, accumulate]
  policy.synthetic_fraction: [0.0, 0.5, 1.0]
seeds: 2
generations: 4
metrics: [moments]
collapse: {metric: moments/trace_ratio, below: 0.9}
"""


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    file = folder / "small.yaml"
    file.write_text(TEXT)
    sweep = load(file, [f"out={folder / 'out'}"])
    store = Store(sweep.out)
    for one in sweep.lineages:
        lineage = lineage_of(sweep, store, one)
        while not lineage.done:
            lineage.advance_for(10)
    store.fail(sweep.lineages[0].id, failure("bug", "Oops", "<img src=x onerror=alert(1)>"))
    return report.write(sweep, folder / "report")


def test_the_page_loads_nothing_runs_nothing_and_escapes_everything(page: Path) -> None:
    text = page.read_text()
    parser = Tags()
    parser.feed(text)
    tags = {tag for tag, _ in parser.tags}
    assert not tags & {"script", "iframe", "object", "embed", "link", "base", "form"}
    for _, attributes in parser.tags:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "srcset", "href", "action"):
            value = attributes.get(name) or ""
            assert value == "" or value.startswith(("data:image/", "#")), value[:80]
    assert (
        "<script>" not in text
        and "&lt;script&gt;alert(1)&lt;/script&gt;" in text
        and "&lt;img src=x" in text
    )
    assert "default-src 'none'" in text


def test_the_page_answers_first_and_shows_every_figure(page: Path) -> None:
    text = page.read_text()
    assert text.index("replace:") < text.index("<figure")
    first, rest = text[: text.index("<figure")], text[text.index('<h2 id="details">') :]
    assert "at the last generation" in first and "first passage" in first
    assert "a width of 0.1" in rest and "Provenance" in rest, "what it rests on is folded away"
    order = ["the-samples", "where-collapse-begins", "over-the-generations", "details"]
    assert re.findall(r'<h2 id="([^"]+)"', text) == order
    files = {p.name for p in (page.parent / "figures").iterdir()}
    shown = re.findall(r'<figure id="([^"]+)"', text)
    assert {"phase_diagram", "heat_map", "response", "curve_moments_trace_ratio", "density"} <= set(
        shown
    )
    assert files == {f"{name}.{kind}" for name in shown for kind in ("png", "svg", "csv")}
    for uri in re.findall(r'(?:src|srcset)="data:image/svg\+xml;base64,([^"]+)"', text):
        assert b"<script" not in base64.b64decode(uri)


def test_the_numbers_of_a_figure_are_those_drawn(page: Path) -> None:
    numbers = pd.read_csv(page.parent / "figures" / "curve_moments_trace_ratio.csv")
    frame = from_store(
        load(page.parent.parent / "small.yaml", [f"out={page.parent.parent / 'out'}"]),
        progress=False,
    )
    own = (
        frame[frame["key"] == "moments/trace_ratio"]
        .groupby(["cell", "t"], observed=True)["value"]
        .mean()
    )
    assert len(numbers) == len(own) == 30
    for row in numbers.itertuples():
        assert row.mean == pytest.approx(own[row.cell, row.t])
    assert numbers["expected"].notna().sum() > 0, "theory stands beside it"


def test_a_sweep_without_rows_has_a_page_that_says_so(tmp_path: Path) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(TEXT)
    text = report.write(load(file, [f"out={tmp_path / 'out'}"]), tmp_path / "report").read_text()
    assert "Nothing has been run yet." in text and "have no rows yet" in text


def test_report_and_export_from_the_command_line(page: Path, tmp_path: Path) -> None:
    file, out = str(page.parent.parent / "small.yaml"), str(page.parent.parent / "out")
    made = ouro("export", file, "--out", out, "--to", str(tmp_path / "a.csv"), cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert len(pd.read_csv(tmp_path / "a.csv")) == int(
        re.findall(r"wrote ([\d,]+) rows", made.stdout)[0].replace(",", "")
    )
    refused = ouro("export", file, "--out", out, "--to", str(tmp_path / "a.txt"), cwd=tmp_path)
    assert refused.returncode == 2 and "should end in .parquet or .csv" in refused.stderr
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "output.json").write_text('{"id": "of a run that was ended early"}')
    empty = ouro("export", file, "--out", str(tmp_path / "none"), cwd=tmp_path)
    assert empty.returncode == 2 and "nothing has been measured yet" in empty.stderr
    written = ouro(
        "report", file, "--out", out, "--to", str(tmp_path / "r"), "--no-pictures", cwd=tmp_path
    )
    assert written.returncode == 0 and (tmp_path / "r" / "report.html").exists(), written.stderr


def test_what_a_search_found_is_told_by_name(tmp_path: Path) -> None:
    file = tmp_path / "search.yaml"
    file.write_text(TEXT + "threshold: {width: 0.1}\n")
    searched = list(workflows(load(file, [f"out={tmp_path / 'out'}"])).values())
    table = found_by(searched)
    assert table is not None
    assert [row[0][0] for row in table.rows] == ["replace", "accumulate"]


def test_answers_that_are_left_out_are_counted() -> None:
    many = [Answer(f"workflow {i}", "0 of 2 lineages collapsed") for i in range(30)]
    shown = report._first(many)
    assert shown[:-1] == many[: len(shown) - 1]
    assert shown[-1].who == f"{30 - len(shown) + 1} more workflows"
