"""Text of others, as it may be shown and kept."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import pytest

from engine._foreign import HoldsPassword, escaped, one_line, without_passwords
from engine.console.tables import table
from engine.console.text import Plain, believed, line
from engine.running.logs import log_file
from engine.store.store import Store
from engine.tracking.mlflow_rows import server_command
from tests.support.commands import GAUSSIANS, ouro
from tests.support.mirrored import free_port

HOSTILE = "\x1b[31m\x1b]0;owned\x07\x7f\x9b\u202egnp\u200b\r[red]x[/] \udcff"
SHOWN = r"\x1b[31m\x1b]0;owned\x07\x7f\x9b\u202egnp\u200b\r[red]x[/] \udcff"
UNSEEN = {*map(chr, range(32)), *map(chr, range(127, 160)), "\u202e", "\u200b"} - {"\n"}


def printed(what: object) -> str:
    file = io.StringIO()
    Plain(file=file, width=200, force_terminal=True, color_system="truecolor").print(what)
    return file.getvalue()


def test_what_a_terminal_would_obey_is_written_out() -> None:
    assert escaped(HOSTILE) == SHOWN and one_line("a\nb") == r"a\nb" and escaped("a\nb") == "a\nb"
    assert escaped("Fréchet … ━ 数字 \U0001f40d") == "Fréchet … ━ 数字 \U0001f40d"


def test_it_is_so_wherever_it_stands_in_what_is_printed() -> None:
    rows = table((HOSTILE, "left"), ("b", "left"))
    rows.add_row(HOSTILE, line(f"two\nlines {HOSTILE}"))
    for what in (HOSTILE, line(HOSTILE, "red"), rows):
        said = printed(what)
        assert r"\x1b[31m\x1b]0;owned" in said and "[red]x[/]" in said
        assert not set(said.replace("\x1b[", "")) & UNSEEN  # but the colours of our own
    assert r"two\nlines" in printed(rows)


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("http://me:hunter2@host:5000/x", "http://me@host:5000/x"),
        ("http://:hunter2@host", "http://@host"),
        ("postgresql+psycopg2://me:hun/t@er2@host/db", "postgresql+psycopg2://me@host/db"),
        ("mssql://h/db?user=me&Password=hunter2&x=1", "mssql://h/db?user=me&Password=***&x=1"),
        ("it said 'http://me:hunter2@host', twice", "it said 'http://me@host', twice"),
        ("http://host:5000/a", "http://host:5000/a"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("a: b@c", "a: b@c"),
        ("no answer from url: /?token=hunter2/health", "no answer from url: /?token=***"),
    ],
)
def test_uris_lose_their_passwords(uri: str, said: str) -> None:
    assert without_passwords(uri) == said and "hunter2" not in printed(uri)


def test_the_address_of_a_sweeps_pages_is_shown_whole() -> None:
    pages = "http://127.0.0.1:5000/#/experiments/1/runs?a=b&viewStateShareKey=cells"
    assert without_passwords(pages) == pages
    assert without_passwords(f"{pages}&otherKey=hunter2") == f"{pages}&otherKey=***"


def test_sizes_that_no_terminal_has_are_not_believed() -> None:
    assert believed({"COLUMNS": "120", "LINES": "40", "A": "b"}).keys() == {"COLUMNS", "LINES", "A"}
    for absurd in ("0", "-1", "1", "²", "wide", "9" * 30, ""):
        assert believed({"COLUMNS": absurd, "LINES": absurd}) == {}


def test_a_log_is_one_entry_per_message(tmp_path: Path) -> None:
    with log_file(tmp_path / "log"):
        logging.getLogger("x").warning("%s\nERROR forged http://me:hunter2@host", HOSTILE)
    said = (tmp_path / "log").read_text("utf-8")
    assert f"WARNING x: {SHOWN}\n  ERROR forged http://me@host\n" in said


def test_an_output_whose_place_tells_a_password_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sweep.yaml").write_text(GAUSSIANS)
    with pytest.raises(HoldsPassword):
        Store("s3://KEY:hunter2@bucket/x")
    for words in (("plan", "sweep.yaml", "--out"), ("status",), ("clean",), ("run",)):
        ran = ouro(*words, "s3://KEY:hunter/2@bucket/x")
        assert ran.code == 2 and "s3://KEY@bucket/x was given with a password" in ran.err
        assert "hunter" not in ran.out + ran.err


def test_the_password_of_a_tracker_is_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither printed, nor in the output or its log, nor asked for where nobody answers."""
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")
    uri = f"http://me:hunter2@127.0.0.1:{free_port()}/x"
    Path("sweep.yaml").write_text(GAUSSIANS)
    sets = ("--set", f"tracking={uri}")
    said = [ouro(word, "sweep.yaml", *sets) for word in ("plan", "status")]
    said += [ouro("run", "sweep.yaml", "--local", *more, *sets) for more in ((), ("--json",))]
    said += [ouro(word, "sweep.yaml", *sets) for word in ("status", "verify", "export", "clean")]
    asked = ("export", "sweep.yaml", "--mlflow", *sets)
    said += [ouro(*asked), ouro(*asked, "--debug"), ouro("plan", "runs/sweep")]
    said += [ouro("report", "sweep.yaml", *sets), ouro("ui", "sweep.yaml", *sets)]
    assert [each.code for each in said[-5:]] == [4, 4, 0, 0, 0], said[-5:]
    assert "Traceback" in said[-4].err
    assert said[2].code == 0 and "MLflow is behind" in said[2].out, said[2]
    assert "--set tracking=http://me@127.0.0.1" in said[2].out
    assert "tracking: http://me@" in Path("runs/sweep/experiments/sweep.yaml").read_text()
    assert not [each for each in said if "hunter2" in each.out + each.err]
    kept = [file for file in Path("runs").rglob("*") if file.is_file()]
    assert kept and not [file for file in kept if b"hunter2" in file.read_bytes()]
    assert uri not in server_command(5000)  # which every user of this machine can read
