"""Terminals, pipes, folders and clocks as they are found, too: one sentence, an exit code that is
documented, no traceback, and where it can be, the work is done.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.experiment.sources import load
from engine.store.store import Store
from tests.support.commands import GAUSSIANS, Said
from tests.support.commands import ouro as here
from tests.support.ouro import environment
from tests.support.sweeps import results

FILE, OUT = "e.yaml", "runs/e"
OURO = f"{sys.executable} -m engine.cli"
READING = ("plan", "status", "verify")
GONE = "the folder that this was started in is gone; `cd` to one that is there"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an experiment that has run."""
    folder = tmp_path_factory.mktemp("sound")
    (folder / FILE).write_text(GAUSSIANS)
    assert here("run", str(folder / FILE), "--local", "--out", str(folder / OUT)).code == 0
    return folder


def shell(folder: Path, line: str, **settings: str) -> tuple[int, str]:
    """The exit code and the text of a shell's line, in which $ouro is the command."""
    own = {**environment(), **settings, "ouro": OURO}
    command = ["bash", "-c", line]
    ran = subprocess.run(command, cwd=folder, env=own, capture_output=True, timeout=240)
    text = (ran.stdout + ran.stderr).decode("utf-8", "replace")
    assert "Traceback" not in text and "--debug" not in text and "Error in" not in text, text
    return ran.returncode, text


# ---- terminals and pipes -------------------------------------------------------------------------

ODD = {"TERM": "dumb", "NO_COLOR": "1", "COLUMNS": "20"}
ASCII = {"LANG": "C", "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}


def test_a_narrow_terminal_without_colours_and_letters(sound: Path) -> None:
    """In a pipe, too, nothing is wider than what is asked for (of a dumb terminal no width is)."""
    narrow = {name: value for name, value in ODD.items() if name != "TERM"}
    code, text = shell(sound, f"$ouro status {FILE}", **narrow, **ASCII)
    assert code == 0 and text.isascii() and "\x1b[3" not in text
    assert max(map(len, text.splitlines())) <= 20


@pytest.mark.faults
@pytest.mark.parametrize("command", READING)
@pytest.mark.parametrize("variable", [*ODD, "ascii", "all"])
def test_each_terminal(command: str, variable: str, sound: Path) -> None:
    every = {"ascii": ASCII, "all": {**ODD, **ASCII}}
    settings = every.get(variable) or {variable: ODD[variable]}
    code, text = shell(sound, f"$ouro {command} {FILE}", **settings)
    assert code == 0 and text.strip(), text
    if variable in every:
        assert text.isascii()
    if variable in ("NO_COLOR", "TERM"):
        assert "\x1b" not in text


# (what is done with the streams, the exit codes that it may have)
STREAMS = {
    "| head -1": (0, 141),
    "| true": (0, 141),
    ">&-": (0,),
    ">&- 2>&-": (0,),
    "<&- >&- 2>&-": (0,),
    "> /dev/full": (4,),
    "> /dev/full 2> /dev/full": (4,),
}


def test_a_reader_that_leaves(sound: Path) -> None:
    line = f"$ouro status {FILE} | head -1; exit ${{PIPESTATUS[0]}}"
    code, text = shell(sound, line)
    assert code in (0, 141) and text.count("\n") == 1


@pytest.mark.faults
@pytest.mark.parametrize("command", [*READING, "run --local", "plan --json", "parts"])
@pytest.mark.parametrize("streams", STREAMS)
def test_streams_that_are_closed_full_or_left(command: str, streams: str, sound: Path) -> None:
    """A run has said little, or nothing, and is as whole as any."""
    word, *more = command.split()
    file = "" if word == "parts" else FILE
    out = f"--out runs/{STREAMS[streams][0]}{len(streams)}" if word == "run" else ""
    line = f"$ouro {word} {file} {' '.join(more)} {out} {streams}; exit ${{PIPESTATUS[0]}}"
    code, text = shell(sound, line)
    assert code in STREAMS[streams], text
    if word == "run":
        assert shell(sound, f"$ouro run {FILE} --local {out} && $ouro verify {FILE} {out}")[0] == 0


# ---- folders -------------------------------------------------------------------------------------

PLACES = {"missing": "/nonexistent/x", "unwritable": "/proc", "spaces": "a b \u00fc \U0001f40d"}


@pytest.mark.faults
@pytest.mark.parametrize("variable", ["HOME", "TMPDIR", "XDG_CACHE_HOME", "OUROBOROS_CACHE"])
@pytest.mark.parametrize("place", PLACES)
def test_folders_of_the_environment_that_are_not_as_they_should_be(
    variable: str, place: str, sound: Path
) -> None:
    path = PLACES[place] if place != "spaces" else str(sound / PLACES[place])
    if place == "spaces":
        Path(path).mkdir(exist_ok=True)
    settings = {variable: path, "OUROBOROS_CACHE": ""} | {variable: path}
    out = f"--out runs/{variable}-{place}"
    for command in ("plan", f"run --local {out}", f"status {out}", f"verify {out}"):
        code, text = shell(sound, f"$ouro {command} {FILE}", **settings)
        assert code == 0, text


@pytest.mark.parametrize(
    "words",
    [
        ("plan", "quickstart"),
        ("status", "{file}"),
        ("run", "{file}", "--local"),
        ("verify", "runs/e"),
        ("new", "x"),
        ("doctor",),
    ],
    ids=lambda words: words[0],
)
def test_a_working_directory_that_was_removed(
    words: tuple[str, ...], sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    said = here(*(word.format(file=sound / FILE) for word in words))
    assert (said.code, said.err.strip()) == (4, GONE), said
    assert here("parts").code == 0
    whole = ("--out", str(sound / OUT))
    assert here("status", str(sound / FILE), *whole).code == 0


@pytest.mark.faults
@pytest.mark.parametrize("umask", ["000", "077"])
def test_masks_of_files(umask: str, sound: Path) -> None:
    """What may be read by whom is the user's to say, and nobody else's: see `umask`."""
    out = f"runs/u{umask}"
    code, text = shell(sound, f"umask {umask}; $ouro run {FILE} --local --out {out}")
    assert code == 0, text
    modes = {path.stat().st_mode & 0o777 for path in (sound / out).rglob("*") if path.is_file()}
    assert modes == {0o666 & ~int(umask, 8)}
    assert shell(sound, f"$ouro verify {FILE} --out {out}")[0] == 0


@pytest.mark.faults
def test_what_reads_an_output_needs_to_write_nothing_there(sound: Path) -> None:
    """On a file system that is read-only; elsewhere tables and pages can be written."""
    if shutil.which("unshare") is None:
        pytest.skip("no unshare to mount with")
    (sound / "elsewhere").mkdir(exist_ok=True)
    mount = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" || exit 99\n'
    commands = (
        *(f"$ouro {command} {FILE}" for command in (*READING, "status --json")),
        f"$ouro export {FILE} --to elsewhere/e.csv",
        f"$ouro report {FILE} --to elsewhere --no-pictures",
    )
    refused = (f"$ouro export {FILE}", f"$ouro run {FILE} --local --set generations=3")
    script = mount + "".join(f"{line} || exit 1\n" for line in commands)
    script += "".join(f"{line}; [ $? = 4 ] || exit 2\n" for line in refused)
    (sound / "script").write_text(script)
    code, text = shell(sound, f"unshare -Urm bash script {OUT}", PWD=str(sound))
    if code == 99:
        pytest.skip(f"this computer mounts nothing: {text}")
    assert code == 0, text
    assert (sound / "elsewhere" / "report.html").exists()
    assert "it is read-only" in text


# ---- clocks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("clock", ["1970", "backwards"])
def test_clocks_that_are_wrong(
    clock: str, sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In 1970, or set back by an hour at every look."""
    honest, looks = time.time, iter(range(10**9))
    wrong = {"1970": lambda: 1.0, "backwards": lambda: honest() - 3600 * next(looks)}
    monkeypatch.setattr(time, "time", wrong[clock])
    words = (str(sound / FILE), "--out", str(tmp_path / "out"))
    for command in (("run", "--local"), ("status",), ("verify",), ("export",), ("clean",)):
        said: Said = here(command[0], *words, *command[1:])
        assert said.code == 0, said
    longer = here("run", *words, "--local", "--set", "generations=4")
    assert longer.code == 0, longer
    sweep = load(sound / FILE)
    assert results(sweep, Store(words[2])) == results(sweep, Store(str(sound / OUT)))
