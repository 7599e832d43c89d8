"""The command line by output and exit code, each command in a process of its own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from engine.cli import main as cli
from engine.console.boards import SweepBoard
from engine.console.live import Lines, LiveTable, display
from engine.console.summary import show_summary
from engine.console.tables import duration, number, show_plan, size, spread
from engine.outcome.summary import Cell, Spread
from engine.planning.plan import make_plan
from engine.running.doctor import preflight
from engine.running.signals import Interrupt
from engine.store.store import Store
from engine.training.progress import Stage
from tests.support.ouro import ROOT, TINY, environment, ouro
from tests.support.sweeps import sweep_of

HEAVY = (
    "torch",
    "ray",
    "transformers",
    "mlflow",
    "diffusers",
    "umap",
    "sklearn",
    "pandas",
    "matplotlib",
    "scipy",
)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    (tmp_path / "tiny.yaml").write_text(TINY)
    return tmp_path


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny sweep run to its end, without Ray."""
    folder = tmp_path_factory.mktemp("done")
    (folder / "tiny.yaml").write_text(TINY)
    ran = ouro("run", "tiny.yaml", "--local", cwd=folder)
    assert ran.returncode == 0, ran.stderr
    return folder


# ---- what needs no run ----


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["plan", "tiny.yaml"],
        ["status", "tiny.yaml"],
        ["run", "--help"],
        ["parts"],
        ["schema"],
    ],
)
def test_looking_imports_nothing_heavy(words: list[str], tiny: Path) -> None:
    program = (
        "import sys; from engine.cli import main as cli\n"
        "try: cli.app(sys.argv[1:], standalone_mode=False)\n"
        "except SystemExit: pass\n"
        f"print('HEAVY', [m for m in {HEAVY} if m in sys.modules])"
    )
    command = [sys.executable, "-c", program, *words]
    ran = subprocess.run(
        command, cwd=tiny, env=environment(), capture_output=True, text=True, check=True
    )
    loaded = ran.stdout.splitlines()[-1]
    assert loaded == "HEAVY []", loaded


def test_help_names_every_command_with_its_whole_first_paragraph(tiny: Path) -> None:
    ran = ouro("-h", cwd=tiny)
    assert ran.returncode == 0 and ran.stdout == ouro("--help", cwd=tiny).stdout
    said = " ".join(ran.stdout.split())
    for command in cli.app.registered_commands:
        paragraph = " ".join((command.callback.__doc__ or "").split("\n\n")[0].split())
        assert f" {command.callback.__name__} {paragraph}" in said


def test_plan_counts_before_anything_runs(tiny: Path) -> None:
    ran = ouro("plan", "tiny.yaml", "--json", cwd=tiny)
    plan = json.loads(ran.stdout)
    # per seed: the founder, 4 at fraction 0 (shared by both policies), then 0.5 and 1 of replace
    # and of accumulate
    assert (plan["cells"], plan["lineages"], plan["asked"], plan["founders"]) == (6, 12, 60, 2)
    assert (
        plan["unique"] < plan["asked"]
        and plan["present"] == 0
        and plan["missing"] == plan["unique"]
    )
    assert len(plan["each"]) == 12
    assert not (tiny / "runs").exists(), "a plan wrote something"
    shown = ouro("plan", "tiny.yaml", cwd=tiny)
    assert (
        shown.returncode == 0
        and "how fast does a Gaussian" in shown.stdout
        and "accumulate 0.5" in shown.stdout
    )


def test_overrides(tiny: Path) -> None:
    words = [
        "--set",
        "seeds=3",
        "--set",
        "grid.policy.synthetic_fraction=[1.0]",
        "--out",
        "elsewhere",
    ]
    plan = json.loads(ouro("plan", "tiny.yaml", *words, "--json", cwd=tiny).stdout)
    assert (plan["cells"], plan["asked"], plan["out"]) == (2, 2 * 3 * 5, "elsewhere")


BAD = """
base:
  dataset: {name: gausian}
  generator: {name: kde, bandwith: 0.3}
  n_real: 100
grid:
  policy.synthetic_fraction: []
generations: many
metrics: [fid, fidd]
"""


def test_all_mistakes_of_a_file_at_once(tiny: Path) -> None:
    (tiny / "bad.yaml").write_text(BAD)
    ran = ouro("plan", "bad.yaml", cwd=tiny)
    assert ran.returncode == 2
    for words in (
        "line 3",
        "'gaussian'",
        "line 4",
        "'bandwidth'",
        "empty list",
        "generations",
        "fidd",
    ):
        assert words in ran.stderr, f"{words!r} is not in:\n{ran.stderr}"
    assert "Traceback" not in ran.stderr + ran.stdout and len(ran.stderr.splitlines()) == 5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["plan", "nothing.yaml"], "nothing.yaml: no such file"),
        (["plan", "."], "nothing there was made by `ouro run`"),
        (["plan", "tiny.yaml", "--set", "n_real"], "key=value"),
        (["run", "tiny.yaml", "--only", "zzz"], "no lineage"),
        (["run", "tiny.yaml", "--wrong"], "--wrong"),
        (["parts", "generator", "vea"], "did you mean 'vae'"),
        (["parts", "widgets"], "there are: dataset"),
        (["download", "imagenet"], "mnist"),
        (["ui", "tiny.yaml"], "tracking: none"),
    ],
)
def test_bad_input_ends_with_2(words: list[str], said: str, tiny: Path) -> None:
    ran = ouro(*words, cwd=tiny)
    assert ran.returncode == 2 and said in ran.stderr.lower(), ran.stderr
    assert "Traceback" not in ran.stderr


def test_parts_are_listed_with_their_parameters(tiny: Path) -> None:
    assert "synthetic_fraction=1.0" in ouro(
        "parts", "policies", "replace", "--json", cwd=tiny
    ).stdout.replace('"default": ', "synthetic_fraction=")
    known = json.loads(ouro("parts", "--json", cwd=tiny).stdout)
    assert known["generator"]["gaussian"]["parameters"]["divisor"]["default"] == "n"
    assert "2410.16713" in ouro("parts", "policy", "accumulate", cwd=tiny).stdout


def test_every_set_that_can_be_fetched_is_looked_for() -> None:
    from engine.datasets._torchvision import CLASS, FILES, FOLDERS

    assert set(FOLDERS) == set(FILES) == set(CLASS)


def test_version(tiny: Path) -> None:
    ran = ouro("--version", cwd=tiny)
    assert ran.returncode == 0 and ran.stdout.startswith("ouroboros")


def test_doctor(tiny: Path) -> None:
    ran = ouro("doctor", "--out", "somewhere", "--json", cwd=tiny)
    found = {f["name"]: f for f in json.loads(ran.stdout)}
    assert ran.returncode == (0 if all(f["good"] for f in found.values()) else 4)
    assert {
        "python",
        "libraries",
        "cpu",
        "gpu",
        "disk",
        "write",
        "shared memory",
        "ray scratch",
        "ports",
        "data",
    } <= set(found)
    assert not (tiny / "somewhere").exists(), "doctor left its probe"


def test_an_output_that_cannot_be_written(tiny: Path) -> None:
    (tiny / "taken").write_text("a file")
    ran = ouro("run", "tiny.yaml", "--local", "--out", "taken/out", cwd=tiny)
    assert ran.returncode == 4 and "cannot write" in ran.stderr and "Traceback" not in ran.stderr
    assert "cannot write" in preflight(Store(str(tiny / "taken" / "out")))


def test_a_second_sweep_is_told_who_holds_the_output(tiny: Path) -> None:
    with Store(str(tiny / "runs" / "tiny")).hold("the first sweep"):
        ran = ouro("run", "tiny.yaml", "--local", cwd=tiny)
    assert ran.returncode == 3 and "the first sweep" in ran.stderr and "Traceback" not in ran.stderr


# ---- after a run ----


def test_the_summary_of_a_run(done: Path) -> None:
    report = json.loads((done / "runs" / "tiny" / "summary.json").read_text())
    assert report["statuses"] == {"ok": 12} and len(report["cells"]) == 6
    cell = next(c for c in report["cells"] if c["label"] == "replace 1")
    assert cell["generations"] == 10 and cell["judged"] == 2
    assert cell["drift"]["low"] <= cell["drift"]["mean"] <= cell["drift"]["high"] < 1
    assert cell["drift"]["mean"] == pytest.approx((1 - 1 / 50) ** 4, abs=0.15)
    assert (done / "runs" / "tiny" / "film_strip.png").read_bytes()[:4] == b"\x89PNG"


def test_the_same_command_again_finds_everything(done: Path) -> None:
    before = {
        p: p.stat().st_mtime_ns
        for p in (done / "runs" / "tiny" / "models").rglob("*")
        if p.is_file()
    }
    ran = ouro("run", "tiny.yaml", cwd=done)  # with Ray, were there anything to do
    assert (
        ran.returncode == 0
        and "nothing" in ran.stdout
        and "all 12 lineages have an outcome" in ran.stdout
    )
    assert before == {
        p: p.stat().st_mtime_ns
        for p in (done / "runs" / "tiny" / "models").rglob("*")
        if p.is_file()
    }


@pytest.mark.parametrize("columns", [20, 80, 200])
def test_status_fits_its_terminal(done: Path, columns: int) -> None:
    ran = ouro("status", "tiny.yaml", cwd=done, columns=columns)
    assert ran.returncode == 0 and max(map(len, ran.stdout.splitlines())) <= columns
    words = " ".join(ran.stdout.split())
    assert "60 of 60 generations, 12 of 12 lineages" in words and words.count("2 done") == 6


def test_run_for_machines_prints_one_document(done: Path) -> None:
    ran = ouro("run", "tiny.yaml", "--json", cwd=done)
    assert json.loads(ran.stdout)["exit"] == 0 == ran.returncode


def test_one_lineage_in_this_process(done: Path, tiny: Path) -> None:
    one = json.loads(ouro("plan", "tiny.yaml", "--json", cwd=tiny).stdout)["each"][3]["id"]
    ran = ouro("run", "tiny.yaml", "--only", one, "--local", cwd=tiny)
    assert ran.returncode == 0, ran.stderr
    states = json.loads(ouro("status", "tiny.yaml", "--json", cwd=tiny).stdout)["lineages"]
    assert [k for k, v in states.items() if v["status"] == "ok" and v["t"] == 4] == [one]


def test_longer_runs_only_what_is_missing(done: Path) -> None:
    plan = json.loads(
        ouro("plan", "tiny.yaml", "--set", "generations=6", "--json", cwd=done).stdout
    )
    assert 0 < plan["missing"] < plan["present"] and plan["seconds"] is not None


def test_damage_is_named_set_aside_and_made_again(tiny: Path) -> None:
    ouro("run", "tiny.yaml", "--local", cwd=tiny)
    out = tiny / "runs" / "tiny"
    victim = next(iter(sorted((out / "models").rglob("weights/*"))))
    good = victim.read_bytes()
    victim.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    found = ouro("verify", "tiny.yaml", cwd=tiny)
    name = victim.relative_to(out).as_posix()
    assert found.returncode == 5 and name in found.stdout
    again = ouro("run", "tiny.yaml", "--local", cwd=tiny)
    assert again.returncode == 0 and "damaged" in again.stdout and victim.read_bytes() == good
    assert victim.name in again.stdout and len(list((out / "damaged").iterdir())) == 1
    assert ouro("verify", "tiny.yaml", cwd=tiny).returncode == 0


# ---- the screen, in this process ----


def console(width: int, terminal: bool = False) -> object:
    from io import StringIO

    from rich.console import Console

    return Console(file=StringIO(), width=width, force_terminal=terminal, highlight=False)


def text_of(shown: object) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.file.getvalue())  # type: ignore[attr-defined]


def board_of(tmp_path: Path) -> SweepBoard:
    sweep = sweep_of(TINY, tmp_path)
    return SweepBoard(sweep, make_plan(sweep, Store(sweep.out), 2))


def test_a_terminal_gets_a_table_and_a_pipe_gets_lines(tmp_path: Path) -> None:
    board = board_of(tmp_path)
    assert isinstance(display(console(100, terminal=True), board), LiveTable)  # type: ignore[arg-type]
    assert isinstance(display(console(20, terminal=True), board), Lines)  # type: ignore[arg-type]
    assert isinstance(display(console(100), board), Lines)  # type: ignore[arg-type]


def test_the_live_table_follows_the_lineages(tmp_path: Path) -> None:
    board = board_of(tmp_path)
    shown = console(120, terminal=True)
    a, b = board.sweep.lineages[:2]
    with display(shown, board) as live:  # type: ignore[arg-type]
        live.row(a.id, 0, 1.0, 1.0, 1, 0.1, True)
        live.row(b.id, 0, 1.0, 1.0, 1, 0.1, True)
        assert board.cells[a.cell_id].status == "2 running"
        live.row(a.id, 4, 0.5, 1.0, 4, 0.1, False)
        live.ended(a.id, "ok")
        live.row(b.id, 2, 0.9, 1.0, 2, 0.1, False)
        live.ended(b.id, "diverged")
        live.ended(b.id, "diverged")
    cell = board.cells[a.cell_id]
    assert (cell.status, cell.done, cell.total) == ("1 diverged, 1 done", 8, 8)
    assert (cell.value, cell.drift) == ("0.7", "0.7 x") and (board.done, board.total) == (8, 58)
    assert "replace 0" in text_of(shown)


def test_what_is_committed_is_no_longer_said_to_be_at_work(tmp_path: Path) -> None:
    board = board_of(tmp_path)
    a, b = board.sweep.lineages[:2]
    stages = {a.id: Stage(0, "training", 1, 20), b.id: Stage(1, "drawing", 3, 4)}
    board.told(stages)
    board.row(a.id, 0, 1.0, 1.0, 1, 0.1, True)
    board.row(b.id, 0, 1.0, 1.0, 1, 0.1, True)
    assert "training" not in board.line() and "generation 1, drawing: 3 of 4" in board.line()
    board.ended(b.id, "ok")
    board.told(stages)  # a worker that was killed has left it
    assert set(board.stages) == {a.id}


def test_a_pipe_is_told_the_progress_once(tmp_path: Path) -> None:
    board, shown = board_of(tmp_path), console(80)
    with display(shown, board) as lines:  # type: ignore[arg-type]
        for spec in board.sweep.lineages:
            lines.row(spec.id, 4, 0.5, 1.0, 5, 0.1, False)
            lines.ended(spec.id, "ok")
            lines.tick()
            lines.tick()
    said = text_of(shown).splitlines()
    assert said[-1] == "experiment: 60 of 60 generations (100 %), 12 of 12 lineages"
    assert len(said) == len(set(said)) <= 12


def test_numbers_for_people() -> None:
    assert [duration(s) for s in (0.4, 59, 61, 3700, 90000)] == [
        "0 s",
        "59 s",
        "1 min 01 s",
        "1 h 01 min",
        "1 d 1 h",
    ]
    assert [size(n) for n in (12, 1500, 2_000_000, 3e12)] == ["12 B", "1.5 kB", "2 MB", "3 TB"]
    assert (number(0.12345), number(1e7)) == ("0.123", "1.0e+07")
    assert spread(Spread(2.0, 1.0, 3.0, 3), " x") == "2 x (1..3)" and spread(None) == "-"
    assert spread(Spread(2.0, 2.0, 2.0, 1)) == "2"


@pytest.mark.parametrize("width", [20, 40, 80, 120])
def test_summary_and_plan_fit_any_width(width: int, tmp_path: Path) -> None:
    board, shown = board_of(tmp_path), console(width)
    s = Spread(2.0, 1.0, 3.0, 3)
    cell = Cell(
        "a long label of a cell, replace 0.5",
        3,
        15,
        {"ok": 2, "quota_unfilled": 1},
        "fid",
        s,
        s,
        s,
        s,
        1,
        3,
    )
    show_plan(shown, make_plan(board.sweep, Store(board.sweep.out), 2), board.sweep)  # type: ignore[arg-type]
    show_summary(shown, [cell], board.sweep)  # type: ignore[arg-type]
    lines = text_of(shown).splitlines()
    assert max(len(line.rstrip()) for line in lines) <= width
    words = " ".join(" ".join(lines).split())
    assert "1/3" in words and "quota" in words and "unfilled" in words


@pytest.mark.parametrize("length", [20, 30, 40])
def test_a_cell_of_any_name_is_one_line_of_80_columns(length: int, tmp_path: Path) -> None:
    board, shown = board_of(tmp_path), console(80)
    name = "accumulate 0.5, bandwidth=0.125, latent=16"[:length]
    s = Spread(2.17, 1.58, 3.21, 3)
    cell = Cell(name, 3, 15, {"ok": 3}, "fid", s, s, s, s, 3, 3)
    show_summary(shown, [cell], board.sweep)  # type: ignore[arg-type]
    line = next(line for line in text_of(shown).splitlines() if name in line)
    assert "2.17 x" in line and " yes " in line and line.rstrip().endswith("3 done")


def test_interrupts_are_counted_not_obeyed_at_once() -> None:
    import os
    import signal

    interrupt = Interrupt()
    before = signal.getsignal(signal.SIGTERM)
    with interrupt.listening():
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupt and interrupt.signal == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == before
    program = (
        "import os, signal, time; from engine.running.signals import Interrupt\n"
        "with Interrupt().listening():\n"
        "    os.kill(os.getpid(), signal.SIGINT); os.kill(os.getpid(), signal.SIGINT); "
        "time.sleep(5)\n"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, env=environment(), check=False
        ).returncode
        == 130
    )
