"""An output of a stranger: one thing in it is changed, one command works on it, and then the run.

Nothing outside of the output is read into it, written, moved or removed; nothing hangs; what is
wrong is said in a sentence; and the run makes it good, to the undisturbed numbers.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from analysis.report import page
from engine.cli import run as cli_run
from engine.experiment.sources import load
from engine.spec import Sweep
from engine.store.store import Store
from engine.tracking import pictures
from tests.support.commands import GAUSSIANS, ouro
from tests.support.strangers import STRANGE, Hand, fingerprint, guard, meddle
from tests.support.sweeps import results, run

SECONDS = 20.0  # that a command may take on a busy machine
WORDS = {
    "status": (),
    "verify": (),
    "run": ("--local",),
    "export": (),
    "report": ("--no-pictures",),
}
OFTEN = ["status"] * 8 + ["verify"] * 8 + ["run"] * 8 + ["export"] * 5 + ["report"]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Sweep, list[Path]]:
    """An experiment, and its finished output with a folder per row, and with blocks of rows."""
    folder = tmp_path_factory.mktemp("sound")
    file = folder / "few.yaml"
    file.write_text(GAUSSIANS.replace("[moments]", "[moments, nll]"))
    sweep, outs = load(file), [folder / "rows", folder / "blocks"]
    for seconds, out in enumerate(outs):
        store = Store(str(out))
        run(load(file, ["metrics=[moments]"]), store, 60.0 * seconds)
        run(sweep, store)
        assert ouro("run", str(file), "--local", "--out", str(out)).code == 0
    return file, sweep, outs


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a run, the seconds that are spent on a picture and on laws of theory are left out; of a
    page, those on all figures but the first.
    """
    plain(monkeypatch)


def plain(patch: pytest.MonkeyPatch) -> None:
    every = page.figures
    patch.setattr(page, "figures", lambda *given, **more: islice(every(*given, **more), 1))
    patch.setattr(pictures, "film", lambda *given, **more: np.zeros((4, 4, 3), np.uint8))
    patch.setattr(cli_run, "theory_check", lambda *given: [])


@contextmanager
def untouched(outside: Path, what: str) -> Iterator[None]:
    before, began = fingerprint(outside), time.monotonic()
    yield
    assert time.monotonic() - began < SECONDS, f"{what}: too slow"
    assert fingerprint(outside) == before, f"{what}: something outside has changed"


def check(sound: tuple[Path, Sweep, list[Path]], folder: Path, number: int) -> None:
    """One change, one command, and the run after it."""
    file, sweep, outs = sound
    choose = random.Random(number)
    source = choose.choice(outs)
    out, outside = folder / "out", guard(folder / "outside")
    shutil.copytree(source, out)
    clean = {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }
    how, where = meddle(Hand(out, outside, clean, choose))
    command, known = choose.choice(OFTEN), Store(str(out), repairs=False).verify()[1]
    what = f"number {number}: {where} {how}, then {command}"
    words = (str(file), "--out", str(out))
    with untouched(outside, what):
        said = ouro(command, *words, *WORDS[command])
    text = said.out + said.err
    assert said.code in (0, 4, 5), f"{what}: exit {said.code}: {text}"
    assert "--debug" not in text and "Traceback" not in text and text.strip(), f"{what}: {text}"
    if command == "verify" and how in {strange.__name__ for strange in STRANGE}:
        assert (said.code == 5 and where in text) or where.startswith("damaged"), f"{what}: {text}"
    with untouched(outside, what):
        said = ouro("run", *words, "--local")
        assert said.code == 0, f"{what}, run: exit {said.code}: {said.out} {said.err}"
        again = ouro("verify", *words)
    assert again.code == 0, f"{what}, run, verify: {again.out}"
    if known or how != "reshaped":  # what has the right shape and digest is believed
        assert results(sweep, Store(str(out))) == results(sweep, Store(str(source))), what
    strange = [path for path in Store(str(out)).disk.strange()]
    assert strange == [], f"{what}: {strange}"


def check_many(sound: tuple[Path, Sweep, list[Path]], memory: Path, first: int, n: int) -> None:
    for number in range(first, first + n):
        folder = memory / str(number)
        check(sound, folder, number)
        shutil.rmtree(folder)


def test_some_things_that_a_stranger_may_do(
    sound: tuple[Path, Sweep, list[Path]], memory: Path
) -> None:
    check_many(sound, memory, 0, 8)


@pytest.mark.faults
@pytest.mark.parametrize("part", range(4))
def test_two_hundred_things_that_a_stranger_may_do(
    part: int, sound: tuple[Path, Sweep, list[Path]], memory: Path
) -> None:
    check_many(sound, memory, 1000 + 50 * part, 50)


@pytest.mark.soak
@pytest.mark.parametrize("part", range(40))
def test_two_thousand_things_that_a_stranger_may_do(
    part: int, sound: tuple[Path, Sweep, list[Path]], memory: Path
) -> None:
    check_many(sound, memory, 10_000 + 50 * part, 50)
