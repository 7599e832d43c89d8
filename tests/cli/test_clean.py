"""`ouro clean` lists what no kept experiment needs, removes it after a yes, and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.cli import clean
from engine.experiment.sources import load
from engine.registry import describe
from engine.store.outputs import identity
from engine.store.store import Store
from tests.support.commands import GAUSSIANS, ouro
from tests.support.sweeps import files, run

OLD = Path(__file__).parents[1] / "store" / "old_output"
KEY = 24 * "e"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which runs/few was run, first with two policies, last with one of them."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("few.yaml").write_text(GAUSSIANS)
        assert ouro("run", "few.yaml", "--local").code == 0
        narrower = ("--set", "grid.policy=[replace]")
        assert ouro("run", "few.yaml", "--local", *narrower).code == 0
    return folder


@pytest.fixture
def out(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that output; its folder's folder is the working directory."""
    shutil.copytree(made / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    return Path("runs/few")


def listed() -> dict[str, str]:
    """Path -> why."""
    found: dict[str, Any] = ouro("clean", "runs/few", "--json").json
    assert found["bytes"] == sum(each["bytes"] for each in found["leftovers"])
    return {each["path"]: each["why"] for each in found["leftovers"]}


def dead_process() -> int:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def test_what_a_removed_cell_alone_needed_goes_and_a_run_computes_nothing(out: Path) -> None:
    before = files(out)
    found = listed()
    assert found and set(found.values()) == {"unreached"}
    assert sum(path.startswith("lineages/") for path in found) == 1, "that of accumulate"
    removed = ouro("clean", "runs/few", "--yes")
    assert removed.code == 0 and "are free" in removed.out
    assert listed() == {} and not any((out / path).exists() for path in found)
    kept = {path: data for path, data in before.items() if path not in found}
    assert kept and files(out) == kept
    again = ouro("run", "runs/few", "--local")
    assert again.code == 0 and "to compute   nothing" in again.out and files(out) == kept
    assert ouro("verify", "runs/few").code == 0


def test_logs_of_programs_go_with_their_lineage(out: Path) -> None:
    (gone,) = [Path(path).stem for path in listed() if path.startswith("lineages/")]
    (stays,) = [file.stem for file in (out / "lineages").iterdir() if file.stem != gone]
    logs = out / "logs" / "commands"
    logs.mkdir(parents=True)
    for name in (f"{gone}.out", f"{gone}.err", f"{stays}.out", "notes.txt"):
        (logs / name).write_text("printed")
    listing = [path for path in listed() if path.startswith("logs/")]
    assert listing == [f"logs/commands/{gone}.err", f"logs/commands/{gone}.out"]
    assert ouro("clean", "runs/few", "--yes").code == 0
    assert sorted(file.name for file in logs.iterdir()) == sorted([f"{stays}.out", "notes.txt"])


def test_what_a_raised_revision_has_left_behind_goes(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path for path in listed() if path.startswith(("models/", "draws/"))}
    monkeypatch.setitem(describe("generator", "gaussian").constants, "REVISION", 2)
    orphans = {path for path in listed() if path.startswith(("models/", "draws/"))}
    assert orphans > before, "those of the experiment too: nothing needs revision 1 any more"
    assert ouro("run", "runs/few", "--local").code == 0
    assert {path for path in listed() if path.startswith(("models/", "draws/"))} == orphans
    made = files(out)
    assert ouro("clean", "runs/few", "--yes").code == 0 and listed() == {}
    assert files(out) == {path: data for path, data in made.items() if (out / path).exists()}
    again = ouro("run", "runs/few", "--local")
    assert again.code == 0 and "to compute   nothing" in again.out


def test_what_was_made_from_other_data_goes_but_not_where_data_are_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own = "dataset: {name: table, path: mine.csv}"
    text = GAUSSIANS.replace("dataset: {name: gaussian, replicates: 3}", own)
    Path("few.yaml").write_text(
        text.replace("moments/trace_ratio", "fid").replace("moments", "fid")
    )
    _table(0)
    assert ouro("run", "few.yaml", "--local").code == 0
    made = files(Path("runs/few"))
    assert listed() == {}
    Path("mine.csv").rename("elsewhere.csv")
    assert listed() == {}, "what its data held is in its rows"
    _table(1)
    assert ouro("run", "few.yaml", "--local").code == 0
    assert ouro("clean", "runs/few", "--yes").code == 0
    left = [path for path in made if (Path("runs/few") / path).exists()]
    assert not [path for path in left if path.startswith(("models/", "draws/"))]
    assert "to compute   nothing" in ouro("run", "few.yaml", "--local").out


def _table(seed: int) -> None:
    x = np.random.default_rng(seed).normal(size=(90, 2))
    Path("mine.csv").write_text("\n".join(["a,b", *(f"{a},{b}" for a, b in x)]))


def test_without_a_yes_it_only_lists(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = listed()
    asked = ouro("clean", "runs/few")
    assert asked.code == 0 and "nothing was removed" in asked.out and "--yes" in asked.out
    monkeypatch.setattr(clean, "_agrees", lambda: clean.typer.confirm("remove them?"))
    assert ouro("clean", "runs/few", typed="n\n").code == 0
    assert listed() == before
    assert "are free" in ouro("clean", "runs/few", typed="y\n").out
    assert listed() == {}


def test_what_processes_left_behind_is_told_apart(out: Path) -> None:
    reached = [node for spec in load("runs/few").lineages for node in _path(spec)]
    dead = f"row.json.{dead_process()}-0123abcd.tmp"
    own = f"row.json.{os.getpid()}-0123abcd.tmp"
    left = {
        f"models/{reached[0].model}/{dead}": "staged",
        "damaged/1790000000-models-x-row.json": "damaged",
        f"partial/{reached[0].model}-1": "half_trained",
        f"partial/{KEY}-2": "half_trained",
        f"models/{KEY}/weights/gaussian.npz": "unreached",
        f"failures/{16 * 'e'}.json": "unreached",
    }
    stays = [
        f"models/{reached[0].model}/{own}",
        "models/notes.txt",
        "models/resnet18/weights.npz",
        "draws/notes/a.txt",
        "notes.txt",
        "lineages/notes.json",
    ]
    before = listed()
    for path in (*left, *stays):
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).write_bytes(b"12345")
    assert listed() == before | left
    assert ouro("clean", "runs/few", "--yes").code == 0
    assert listed() == {} and all((out / path).exists() for path in stays)
    assert not (out / "models" / KEY).exists(), "an empty folder goes, too"


def test_what_was_never_committed_goes(out: Path) -> None:
    """A process died between the arrays and the row."""
    assert ouro("run", "runs/few", "--local", "--set", "base.n_real=40").code == 0
    ouro("clean", "runs/few", "--yes")
    block = next((out / "blocks").glob("*.json"), None)
    rows = [block] if block else list((out / "models").glob("*/row.json"))
    for row in rows:
        row.unlink()
    assert "uncommitted" in listed().values()
    assert ouro("clean", "runs/few", "--yes").code == 0 and listed() == {}
    assert ouro("run", "runs/few", "--local").code == 0
    assert "to compute   nothing" in ouro("run", "runs/few", "--local").out


def test_nothing_outside_of_the_output_is_touched(out: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / KEY).mkdir(parents=True)
    (outside / KEY / "precious").write_text("stays")
    (out / "models" / KEY).symlink_to(outside / KEY)
    (out / "draws" / KEY).mkdir(exist_ok=True)
    (out / "draws" / KEY / "link").symlink_to(outside / KEY / "precious")
    (out / "damaged").symlink_to(outside)
    (out / "partial").symlink_to(outside)
    assert ouro("clean", "runs/few", "--yes").code == 0
    assert (outside / KEY / "precious").read_text() == "stays"
    assert not (out / "draws" / KEY / "link").is_symlink(), "the link itself is a leftover"


def test_an_output_in_use_is_left_alone(out: Path) -> None:
    before = sorted(out.rglob("*"))
    with Store("runs/few").hold("a sweep"):
        for words in ((), ("--yes",), ("--json",)):
            busy = ouro("clean", "runs/few", *words)
            assert busy.code == 3 and "a sweep" in busy.err
    assert sorted(out.rglob("*")) == before


def test_an_experiment_that_cannot_be_read_stops_it(out: Path) -> None:
    (out / "experiments" / "few.yaml").write_text("base: {}\n")
    stopped = ouro("clean", "runs/few", "--yes")
    assert stopped.code == 2 and "generations" in stopped.err
    assert len(list((out / "lineages").iterdir())) == 2


def test_what_a_search_has_added_is_needed(out: Path) -> None:
    searched = GAUSSIANS.replace("tracking", "threshold: {width: 0.5}\ntracking")
    Path("few.yaml").write_text(searched)
    assert ouro("run", "few.yaml", "--local").code == 0
    sweep = load("runs/few")
    added = replace(sweep, lineages=(sweep.lineages[0].at(0.3, 5),))
    run(added)
    assert listed() == {}
    Path("few.yaml").write_text(GAUSSIANS)
    assert ouro("run", "few.yaml", "--local").code == 0
    assert f"lineages/{added.lineages[0].id}.json" in listed()


def test_an_output_of_an_earlier_version_keeps_what_its_lineages_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(OLD / "out", "runs/few")
    named = {path: why for path, why in listed().items() if why == "unreached"}
    assert named == {}
    assert ouro("run", str(OLD / "finding.yaml"), "--local", "--out", "runs/few").code == 0
    known = identity(Store("runs/few"))
    assert known is not None and known.earlier, "the lineages of the experiments it did not keep"
    assert [why for why in listed().values() if why == "unreached"] == []
    before = files(Path("runs/few"))
    assert ouro("clean", "runs/few", "--yes").code == 0
    assert all((Path("runs/few") / path).exists() for path in before)
    Path(f"runs/few/lineages/{known.earlier[0]}.json").write_text("{}")
    assert ouro("clean", "runs/few", "--yes").code == 5, "who knows what it needs"


def _path(spec: Any) -> Any:
    from engine.lineage.recipe import path

    return path(spec, 2)
