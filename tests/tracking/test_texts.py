"""Samples of text as text: read as their data set reads them, and whatever they hold, shown to the
reader instead of obeyed by what shows it.
"""

from __future__ import annotations

import html
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from analysis.report import page
from analysis.report import samples as specimens
from engine.cli.main import app
from engine.experiment.sources import load
from engine.identity import Part
from engine.lineage.history import histories
from engine.samples import Samples
from engine.spec import Sweep
from engine.store.store import Store
from engine.tracking import texts
from engine.tracking.recorder import Recorder
from tests.support.sweeps import resume, sweep_of

# an escape code, an override of the direction, an isolate that is never closed, a zero width space,
# a bell, markup of a page and of Markdown, Hebrew
MARKUP = "<script>alert(1)</script>&amp;**b** `c` [d](e)"
HOSTILE = f"\x1b[31m\u202e\u2066\u200b\a{MARKUP} \u05d0\u05d1\n"
UNSEEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069]")
ASKED = """
base:
  dataset: {{name: text, path: {path}, length: {length}}}
  generator: {{name: ngram, order: 8}}
  n_real: 8
grid: {{policy: [replace, accumulate]}}
seeds: 1
generations: 2
metrics: [cross_entropy]
collapse: {{metric: cross_entropy, above: 0.1, by: difference}}
tracking: none
"""
LABELLED = """
base:
  dataset: {name: languages, classes: 2, length: 12}
  generator: ngram
  n_real: 60
seeds: 1
generations: 1
metrics: [cross_entropy]
tracking: none
"""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """Models of high order, which write what they read."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "own.txt").write_text(HOSTILE * 40, encoding="utf-8")
    asked = ASKED.format(path=folder / "own.txt", length=len(HOSTILE))
    sweep = sweep_of(asked, folder)
    resume(sweep, Store(sweep.out))
    return sweep


def test_sequences_read_as_their_data_set_reads_them(tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("abc\n" * 50)
    own = Part("dataset", "text", {"path": str(tmp_path / "own.txt"), "length": 4})
    x = np.array([[[0, 1, 2, 3]], [[3, 3, 2, 1]], [[1, 1, 1, 1]]], dtype=np.uint8)
    assert texts.sequences(own, Samples(x), 2) == ["\nabc", "ccba"]
    ends = Samples(x, beside={"lengths": np.array([2, 4, 4])})
    assert texts.sequences(own, ends, 1) == ["\na"]
    law = Part("dataset", "markov", {"outcomes": 30})
    assert texts.sequences(law, Samples(x), 1) == ["abcd"]
    assert texts.sequences(law, Samples(x + 26), 1) == ["26 27 28 29"]
    (tmp_path / "own.txt").unlink()
    gone = Part("dataset", "text", {"path": str(tmp_path / "own.txt"), "length": 4})
    assert texts.sequences(gone, Samples(x), 1) == ["abcd"], "its tokens, where they say no text"
    long = Samples(np.zeros((1, 1, 5000), np.uint8))
    assert len(texts.sequences(law, long, 1)[0]) == texts.MOST_CHARACTERS + 1


def test_a_film_is_a_line_for_each_sequence(hostile: Sweep) -> None:
    store = Store(hostile.out, repairs=False)
    found = texts.film(store, list(histories(hostile, store).values()))
    assert found is not None and list(found.frames) == [0, 1, 2]
    assert all(len(own) == texts.SHOWN for own in found.frames.values())
    assert any("<script>" in own for own in found.frames[0]), "models write what they read"
    blocks = found.text.split("\n\n")
    assert [block.splitlines()[0] for block in blocks] == [f"generation {t}" for t in range(3)]
    assert all(len(block.splitlines()) == 1 + texts.SHOWN for block in blocks)
    assert not UNSEEN.search(found.text) and "\\u202e" in found.text
    assert [line[0] for line in found.lines()] == ["0", "1", "2"]


def test_a_tracker_gets_a_line_for_each_sample(hostile: Sweep) -> None:
    recorder, spec = Recorder(hostile, Store(hostile.out)), hostile.lineages[0]
    rows = histories(hostile, recorder.store)[spec.id].rows
    said = recorder._picture(spec, rows[1])  # type: ignore[arg-type]  # has draw and t
    assert isinstance(said, str) and said.count("\n") == 8 and said.endswith("\n")
    assert not UNSEEN.search(said) and "<script>" in said


def test_the_page_shows_what_was_written_and_obeys_none_of_it(
    hostile: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "figures", lambda *_, **__: iter(()))  # seconds to draw
    written = page.write(hostile, tmp_path).read_text(encoding="utf-8")
    (section,) = re.findall(r'<h2 id="the-samples">.*?<h2', written, re.S)
    assert not UNSEEN.search(written) and "<script" not in written.lower()
    cells = re.findall(r'<td dir="auto">(.*?)</td>', section, re.S)
    assert len(cells) == 2 * 4 * texts.SHOWN, "real, and three generations, of two workflows"
    shown = [html.unescape(cell) for cell in cells]
    assert any(MARKUP in cell for cell in shown)
    assert any("\\x1b[31m\\u202e\\u2066\\u200b\\x07" in cell for cell in shown)
    film = (tmp_path / "figures" / "film.txt").read_text(encoding="utf-8")
    assert not UNSEEN.search(film) and "replace 1, generation 2, sequence 3:" in film
    assert "film.txt" in section and "film strip" not in section


def test_a_page_of_texts_whose_files_are_gone_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "figures", lambda *_, **__: iter(()))  # seconds to draw
    own = tmp_path / "own.txt"
    own.write_text("the cat sat on the mat\n" * 40)
    file, out = tmp_path / "texts.yaml", tmp_path / "out"
    file.write_text(ASKED.format(path=own, length=8))
    ended = CliRunner().invoke(app, ["run", str(file), "--out", str(out), "--local"])
    assert ended.exit_code == 0
    assert specimens.is_here(load(out).lineages[0])
    own.unlink()
    again = load(out)
    (spec, *_), store = again.lineages, Store(again.out)
    assert not specimens.is_here(spec) and specimens.real_of(spec) is None
    assert specimens.latent(again, store, {"a": spec}) is None
    written = page.write(again, tmp_path / "page").read_text()
    assert "not on this computer, so a letter or a number stands for each token" in written


def test_texts_lie_where_real_ones_do_by_the_page_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The alignment table of labelled text, in features of n-grams, beside the floor."""
    monkeypatch.setattr(specimens, "_embedded", lambda *_: pd.DataFrame())  # UMAP, seconds
    sweep = sweep_of(LABELLED, tmp_path)
    resume(sweep, Store(sweep.out))
    found = specimens.latent(sweep, Store(sweep.out), {"replace 1": sweep.lineages[0]})
    assert found is not None
    aligned, _, name = found
    assert name == "ngrams" and aligned["t"].tolist() == [-1, 0, 1], "the floor comes first"
    assert (aligned[["centroid", "covariance", "otdd"]] > 0).all(axis=None)
    assert aligned["auc"].between(0.3, 1).all() and aligned["auc_low"].iloc[0] < 0.5
