"""An output that is none is an error of every command that reads, which makes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.store.outputs import NoOutput, existing, is_output
from engine.store.store import Store
from tests.support.commands import GAUSSIANS, ouro

READING = ("status", "verify", "report", "export", "threshold --look", "ui")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an experiment, and with an output that is called runs/right."""
    monkeypatch.chdir(tmp_path)
    searched = "threshold: {width: 0.5}\n"
    Path("few.yaml").write_text(GAUSSIANS.replace("tracking: none\n", searched))
    (tmp_path / "runs" / "right" / "lineages").mkdir(parents=True)
    (tmp_path / "runs" / "right" / "lineages" / f"{16 * 'a'}.json").touch()
    return tmp_path


@pytest.mark.parametrize("command", READING)
@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("runs/rigth", "there is no such folder; did you mean runs/right?"),
        ("runs", "nothing there was made by `ouro run`; did you mean runs/right?"),
        ("else/where", "there is no such folder; the nearest that exists is ."),
        ("few.yaml", "that is a file"),
    ],
)
def test_a_reading_command_refuses_what_is_no_output(
    command: str, out: str, said: str, here: Path
) -> None:
    before = sorted(here.rglob("*"))
    name, *options = command.split()
    ended = ouro(name, "few.yaml", *options, "--out", out)
    assert ended.code == 2 and f"{out} is no output: {said}" in ended.err, ended
    assert f"`ouro run few.yaml --out {out}` makes it" in ended.err
    assert sorted(here.rglob("*")) == before, "a reading command made something"


def test_a_plan_may_name_a_new_output(here: Path) -> None:
    assert ouro("plan", "few.yaml", "--out", "runs/new").code == 0
    assert not (here / "runs" / "new").exists()


def test_a_folder_of_somebody_else_is_no_output(tmp_path: Path) -> None:
    for folder in ("models/resnet18", "draws", "lineages/of mine", "blocks", "experiments"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "experiments" / "mine.yaml").write_text(GAUSSIANS)
    assert not is_output(Store(str(tmp_path)))
    (tmp_path / "models" / (24 * "0")).mkdir()
    assert is_output(Store(str(tmp_path)))


def test_an_output_that_nobody_may_read_is_said_without_a_traceback(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Store, folder: str) -> list[str]:
        raise RuntimeError("Unable to locate credentials")

    monkeypatch.setattr(Store, "names", refuse)
    ended = ouro("export", "few.yaml", "--out", "memory://bucket/x")
    assert ended.code == 4 and "cannot open the output memory://bucket/x: Unable" in ended.err


def test_a_report_that_cannot_be_written_says_where(here: Path) -> None:
    ended = ouro("report", "few.yaml", "--out", "runs/right", "--to", "few.yaml/page")
    assert ended.code == 4 and "cannot write to " in ended.err and "few.yaml/page" in ended.err


def test_what_is_near_is_found_on_an_object_store() -> None:
    right = Store("memory://near/quickstart")
    right.write(right.path("lineages", f"{16 * 'a'}.json"), b"")
    assert existing(right) is right
    with pytest.raises(NoOutput, match="did you mean memory://near/quickstart"):
        existing(Store("memory://near/quikstart"))
