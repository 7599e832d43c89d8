"""Words that were made to do something to whoever shows, keeps or runs them, in every place where a
command takes one, and in what it reads: each ends in an exit code that is documented and in
sentences that say it as text.
"""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import sqlite3
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support import own
from tests.support.commands import GAUSSIANS, Said, ouro

FILE = "e.yaml"
TERMINAL = [
    *("\x1b[31mred\x1b[0m", "\x1b]0;owned\x07", "\x1b]8;;http://evil\x1b\\x\x1b]8;;\x1b\\"),
    *("\x9b31m", "\x7f", "a\rforged line", "a\tb", "a\nforged line", "\u2028forged line"),
    *("\u202egnp.exe", "\u2066x", "a\u200bb", "\ufeffa", "\U000e0041", "a" + "\u0301" * 50),
    *("\udcff", "[red]x[/red]", "[/]", "[link=http://evil]y[/link]", ":smile:"),
]
HTML = ["<script>alert(1)</script>", "\"'><img src=x onerror=a>"]
FORMS = ["%s %d {0} {x} %(a)s", "{{7*7}}", *HTML]
FORMULAS = ["=cmd|' /C calc'!A0", "+1+1", "-1+1", "@SUM(1)"]
NAMES = [
    "x" * 10_000,
    "é" * 300,
    "../../x",
    "a/b",
    "%2e%2e%2f",
    "~",
    "~nobody/x",
    "$UNSET",
    "",
    " ",
]
OPTIONS = ["-", "--", "--x", "-\x1b[31m"]
URIS = [
    f"{scheme}://\x1b[31m{rest}"
    for scheme, rest in (
        *(("http", "@\x1b]0;x\x07"), ("file", "/x"), ("memory", ""), ("nosuch", "x")),
        *(("sqlite", "/x"), ("tensorboard", "x"), ("http", ":pass\x1b[0m@host")),
    )
]
YAML = [
    *("\ud800", "a\0b", "{a: \x1b[31m}", "[", "{", "'", "!!python/object:os.system", "&a *a"),
    *("null", "1e999", "nan", "0x10", "1_000", "9" * 400, "[" * 200),
]
TYPED = [*TERMINAL, *FORMS, *FORMULAS, *NAMES, *OPTIONS, *URIS]  # no argument holds a null byte
KEYS = [
    *("dataset", "dataset.name", "dataset.d", "dataset.path", "generator", "generator.x"),
    *("policy", "n_real", "metrics", "seeds", "generations", "collapse", "collapse.metric"),
    *("tracking", "out", "keep", "resources", "resources.cpus", "threshold", "question", "grid"),
]
WITH_FILE = ("plan", "status", "verify", "export", "clean", "ui", "report")
PARTS = 20  # in which all of them are tried, each within the limit of a test
CODES = (0, 2, 3, 4, 5)  # 1 is for lineages that failed


def commands(word: str) -> Iterator[tuple[str, ...]]:
    """Every place on a command line where a user's word can stand; none trains anything long."""
    yield from ((word,), ("parts", word), ("parts", "generator", word), ("parts", "check", word))
    yield from (("new", word), ("new", "x", "--from", word), ("download", word))
    yield from (("doctor", word), ("schema", word), ("download", word, "--root", word))
    for command in WITH_FILE:
        yield from ((command, word), (command, FILE, word), (command, FILE, "--" + word))
        yield from ((command, FILE, "--parts", word), (command, FILE, "--set", word))
        if command != "report":  # figures take their time
            yield (command, FILE, "--out", word)
    for command in ("run", "threshold"):
        yield from ((command, word, "--local"), (command, FILE, "--local", "--parts", word))
    yield ("run", FILE, "--local", "--only", word or "x")
    yield ("run", FILE, "--local", "--cpus", word)
    yield ("ui", FILE, "--port", word)
    yield from (("export", FILE, "--to", word), ("export", FILE, "--to", f"{word}.csv"))
    yield ("measure", word, word, "--metric", word)
    yield ("measure", "{name: gaussian}", word, "--metric", word, "--collapse", word)


def settings(word: str) -> Iterator[tuple[str, ...]]:
    """Every place in the values of an experiment."""
    for key in (*KEYS, word, f"base.{word}", f"base.dataset.{word}", f"grid.{word}"):
        yield ("plan", FILE, "--set", f"{key}={word}")
    yield ("status", FILE, "--set", f"out={word}")
    for part in (
        "{name: images, path: %s, size: %s}",
        "{name: table, path: %s, label: %s}",
    ):
        yield ("plan", FILE, "--set", "base.dataset=" + part.replace("%s", repr(word)))
    lines = "{name: command, fit: %s, sample: %s, files: [%s], version: %s}"
    yield ("plan", FILE, "--set", "base.generator=" + lines.replace("%s", repr(word)))


EVERY = [words for word in TYPED for words in commands(word)]
EVERY += [words for word in [*TYPED, *YAML] for words in settings(word)]


def check(said: Said, what: object) -> None:
    """It was said as text, in a documented way."""
    text = said.out + said.err
    odd = {c for c in text if not c.isprintable()} - {"\n"}
    assert not odd, f"{what!a}: {sorted(odd)!a} reach the terminal: {text!a}"
    assert said.code in CODES and text.strip(), f"{what!a}: exit {said.code}: {text!a}"
    assert "--debug" not in text and "Traceback" not in text, f"{what!a}: {text!a}"
    below = text.splitlines()[1:]  # a message may begin with what it is about
    assert not [x for x in below if x.startswith("forged")], f"{what!a}: {text!a}"


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an experiment that has run."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / FILE).write_text(GAUSSIANS)
    assert ouro("run", str(folder / FILE), "--local", "--out", str(folder / "runs/e")).code == 0
    return folder


def check_many(todo: list[tuple[str, ...]], folder: Path) -> None:
    before = set(os.listdir())
    for words in todo:
        check(ouro(*words), words)
        for made in set(os.listdir()) - before:
            shutil.rmtree(made) if Path(made).is_dir() else os.unlink(made)


def test_some_words_in_some_places(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(output)
    check_many(random.Random(0).sample(EVERY, 100), output)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_every_word_in_every_place(
    part: int, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(output)
    check_many(EVERY[part::PARTS], output)


# ---- what is read --------------------------------------------------------------------------------

# what can be the name of a file, in one
NAME = "=1\x1b[31m\x1b]0;x\x07\u202eg\u200b\r\nforged line [red]x[#] %s{0} {{7*7}} " + HTML[1]
QUESTION = "".join(c for c in NAME if c >= " ")  # what a comment in YAML can hold of it
ALL = f"{NAME} <script>alert(1)</script> \udcff http://me:hunter2@host"
ERRORS = {"fails": f"raise ValueError({ALL!r})", "ends": f"raise Finding('extinct', {ALL!r})"}
OWN = """
# Question: {question}
base: {{dataset: {{name: ring, replicates: 2}}, n_real: 20, policy: replace}}
grid: {{generator: [jitter, gaussian]}}
seeds: 1
generations: 1
metrics: [spread]
tracking: {tracking}
"""


def jitter(error: str) -> str:
    """A generator whose fit raises this."""
    text = own.JITTER.replace("        self.x_ = data.x\n", f"        {error}\n")
    return text.replace("import NonNegativeFloat", "import Finding, NonNegativeFloat")


class Tags(HTMLParser):
    """What a browser would find in a page: tags, and what could run in them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names, self.running = set[str](), list[str]()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.running += [f"{tag} {name}" for name, _ in attrs if name.startswith("on")]
        self.running += [f"{tag} {name}" for name, value in attrs if "script:" in (value or "")]


def held(path: Path, text: str) -> None:
    """A file that others read holds nothing raw, and no password."""
    odd = {c for c in text if not c.isprintable()} - {"\n"}
    assert not odd, f"{path.name!a} holds {sorted(odd)!a}"
    assert "hunter2" not in text, path


@pytest.mark.parametrize("how", ["fails", "ends"])
def test_a_part_whose_errors_and_reasons_are_hostile(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    parts = ("--parts", str(own.folder(tmp_path / "parts", jitter=jitter(ERRORS[how]))))
    file = Path(f"{NAME}.yaml")
    file.write_text(OWN.format(question=QUESTION, tracking="none"))
    ran = ouro("run", str(file), "--local", *parts)
    assert ran.code == (how == "fails")
    check(Said(0, ran.out, ran.err), "run")
    for words in (("plan",), ("status",), ("verify",), ("export",), ("clean",), ("plan", "--json")):
        check(ouro(words[0], str(file), *words[1:], *(() if words == ("clean",) else parts)), words)
    (table,) = Path("runs").rglob("*.csv")
    held(table, table.read_text("utf-8"))
    with table.open(encoding="utf-8", newline="") as lines:
        cells = [cell for row in csv.reader(lines) for cell in row]
    assert cells and not [cell for cell in cells if cell[:1] in "=+@\t\r" and cell]
    for log in Path("runs").rglob("*.log"):
        held(log, log.read_text("utf-8"))


@pytest.mark.slow
def test_a_page_of_a_part_whose_errors_and_reasons_are_hostile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both at once, in a page and in MLflow's database."""
    monkeypatch.chdir(tmp_path)
    parts = ("--parts", str(own.folder(tmp_path / "parts", jitter=jitter(ERRORS["ends"]))))
    file = Path(f"{NAME}.yaml")
    file.write_text(OWN.format(question=QUESTION, tracking="sqlite:///m.db"))
    assert ouro("run", str(file), "--local", *parts).code == 0
    check(ouro("report", str(file), "--no-pictures", *parts), "report")
    (page,) = Path("runs").rglob("*.html")
    held(page, page.read_text("utf-8"))
    tags = Tags(page.read_text("utf-8"))
    assert "script" not in tags.names and not tags.running
    for made in page.parent.rglob("*.csv"):
        held(made, made.read_text("utf-8"))
    with sqlite3.connect("m.db") as database:
        tables = database.execute("select name from sqlite_master where type='table'").fetchall()
        for (name,) in tables:
            for row in database.execute(f'select * from "{name}"'):
                held(Path(name), " ".join(cell for cell in row if isinstance(cell, str)))


def test_folders_of_pictures_whose_names_are_hostile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OUROBOROS_DATA", str(tmp_path))
    classes = ["=1+1", NAME, "[red]x[#]", "a\udcffb", "plain"]
    for number, name in enumerate(classes):
        folder = Path(NAME, name)
        folder.mkdir(parents=True)
        for i in range(4):
            pixels = np.full((8, 8), 20 * number + i, np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}{NAME}.png", format="png")
        (folder / f"{NAME}.txt").write_text("left out")
    Path(FILE).write_text(
        "base: {dataset: {name: images, size: 8, held_out_fraction: 0.3}, n_real: 5,\n"
        "       generator: {name: vae, steps: 1}}\n"
        "grid: {policy: [replace]}\nseeds: 1\ngenerations: 1\nmetrics: [fid]\ntracking: none\n"
    )
    quoted = "base.dataset.path=" + json.dumps(NAME)
    plan = ouro("plan", FILE, "--set", quoted)
    check(plan, "plan")
    assert plan.code == 0 and "5 classes" in plan.out, plan
    check(ouro("plan", FILE, "--set", quoted, "--json"), "plan --json")
    (Path(NAME, "plain") / "broken.png").write_bytes(b"no picture")
    broken = ouro("plan", FILE, "--set", quoted)
    check(broken, "a picture that is none")


# ---- the environment -----------------------------------------------------------------------------


VARIABLES = [
    *("OUROBOROS_DATA", "OUROBOROS_WEIGHTS", "OUROBOROS_CACHE", "OUROBOROS_PARTS"),
    *("RAY_ADDRESS", "MLFLOW_TRACKING_URI", "HOME", "TMPDIR", "COLUMNS", "LINES", "TERM"),
    *("NO_COLOR", "OMP_NUM_THREADS", "OUROBOROS_RESTARTS", "XDG_CACHE_HOME"),
]


@pytest.mark.parametrize("name", VARIABLES)
def test_variables_whose_values_are_hostile(
    name: str, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(output)
    monkeypatch.setenv(name, NAME)
    for command in ("plan", "status"):
        check(ouro(command, FILE), (name, command))


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIABLES)
def test_runs_under_variables_whose_values_are_hostile(
    name: str, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(output)
    for i, word in enumerate((NAME, *random.Random(name).sample(TYPED, 5))):
        monkeypatch.setenv(name, word)
        check(ouro("run", FILE, "--local", "--out", f"runs/{name}{i}"), (name, word))
