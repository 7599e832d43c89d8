"""Bare environments: no HOME, nowhere to put temporary files, no terminal, a narrow one, streams
that are closed or full.

No command shows a traceback, and none loses a line.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.console.errors import BROKEN_PIPE
from engine.status import ExitCode
from tests.support.ouro import ROOT, TINY
from tests.support.zygote import Zygote

pytestmark = pytest.mark.faults
COMMANDS = (
    ("plan", "tiny.yaml"),
    ("run", "tiny.yaml", "--local", "--out", "new"),
    ("status", "tiny.yaml"),
    ("parts",),
    ("doctor",),
)
BARE = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "PYTHONPATH": str(ROOT)}
NOWHERE = {
    "HOME": "/nonexistent/home",
    "TMPDIR": "/nonexistent/tmp",
    "OUROBOROS_CACHE": "/dev/null/cache",
    "TERM": "dumb",
}


@pytest.fixture(scope="module")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    """In a folder with the tiny sweep, run to its end."""
    folder = tmp_path_factory.mktemp("platform")
    (folder / "tiny.yaml").write_text(TINY)
    with Zygote(folder) as zygote:
        assert zygote.ouro("run", "tiny.yaml", "--local").code == ExitCode.OK
        yield zygote


def bare(
    folder: Path, *words: str, settings: dict[str, str] | None = None, redirected: str = ""
) -> subprocess.CompletedProcess[str]:
    """`ouro` with nothing but a PATH, its streams redirected as a shell does it."""
    line = f'"$0" -m engine.cli "$@" {redirected}'
    command = ["bash", "-c", line, sys.executable, *words]
    env = BARE | (settings or {})
    return subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, timeout=240, check=False
    )


def words_of(text: str) -> str:
    """What is said, however the lines are broken and the columns set."""
    return "".join(text.split())


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_twenty_columns_lose_no_word(command: tuple[str, ...], zygote: Zygote) -> None:
    said = {}
    for columns in (20, 400):
        shutil.rmtree(zygote.folder / "new", ignore_errors=True)
        said[columns] = zygote.ouro(*command, settings={"COLUMNS": str(columns), "TERM": ""})
    narrow, wide = said[20], said[400]
    assert narrow.code == wide.code == ExitCode.OK and "Traceback" not in narrow.text
    assert max(len(line.rstrip()) for line in narrow.text.splitlines()) <= 20
    if command[0] in ("parts", "doctor"):  # others become paragraphs, with other words
        words = [
            word for word in wide.text.split() if not any(map(str.isdigit, word))
        ]  # loads and free bytes change
        missing = [word for word in words if word not in words_of(narrow.text)]
        assert not missing, f"lost in 20 columns: {missing[:5]}"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_with_a_path_and_nothing_else(
    command: tuple[str, ...], zygote: Zygote, tmp_path: Path
) -> None:
    shutil.copytree(zygote.folder / "runs", tmp_path / "runs")
    (tmp_path / "tiny.yaml").write_text(TINY)
    ran = bare(tmp_path, *command, settings=NOWHERE, redirected="</dev/null")
    code = ExitCode.ENVIRONMENT if command[0] == "doctor" else ExitCode.OK  # it misses the cache
    assert ran.returncode == code and ran.stdout.strip() and not ran.stderr, ran.stderr
    closed = bare(tmp_path, *command, redirected="<&- >&- 2>&-")
    assert closed.returncode == ExitCode.OK
    full = bare(tmp_path, *command, redirected=">/dev/full")
    assert (
        full.returncode == ExitCode.ENVIRONMENT
        and "no space left" in full.stderr.lower()
        and "Traceback" not in full.stderr
    )


@pytest.mark.parametrize("command", [*COMMANDS[:-1], ("plan", "tiny.yaml", "--json")], ids=" ".join)
def test_a_reader_that_leaves(command: tuple[str, ...], zygote: Zygote) -> None:
    """`ouro ... | head -1`: the rest is not written, and nobody is told of it."""
    shutil.rmtree(zygote.folder / "new", ignore_errors=True)
    (zygote.folder / "errors").unlink(missing_ok=True)
    ran = bare(zygote.folder, *command, redirected='2>errors | true; exit "${PIPESTATUS[0]}"')
    assert (zygote.folder / "errors").read_text() == "" and ran.returncode in (
        ExitCode.OK,
        BROKEN_PIPE,
    ), ran.returncode
