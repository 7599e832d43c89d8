"""A moved or copied output: nothing is computed again, MLflow's runs stay those they were, and
nothing is written where it was before.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from pathlib import Path

import mlflow
import pytest
from sqlalchemy import inspect

from engine.experiment.sources import load
from engine.spec import digest
from engine.store.outputs import IDENTITY
from engine.tracking.mlflow_moved import follow
from engine.tracking.mlflow_rows import local
from engine.tracking.mlflow_runs import LINEAGE, SWEEP
from engine.tracking.tracker import Address, serve
from tests.support import mirrored
from tests.support.commands import GAUSSIANS, ouro

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder `here/runs/a`, run with MLflow beside it."""
    folder = tmp_path_factory.mktemp("made") / "here"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("few.yaml").write_text(GAUSSIANS.replace("tracking: none\n", ""))
        assert ouro("run", "few.yaml", "--local", "--out", "runs/a").code == 0
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """It was moved as a whole, which a copy of it cannot know; the working directory."""
    shutil.copytree(made, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    Path("few.yaml").unlink()
    return tmp_path / "here"


def everything(folder: Path) -> dict[str, tuple[int, bytes]]:
    found = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in found}


def runs_of(out: Path) -> tuple[list[str], list[str]]:
    """MLflow's sweeps and lineages of an output, by tag, as often as they are there."""
    client = mlflow.MlflowClient(tracking_uri=local(out)[0])
    experiment = client.get_experiment_by_name("few")
    found = client.search_runs([experiment.experiment_id])
    for run in found:
        assert Path(run.info.artifact_uri).is_relative_to(out.resolve() / "mlartifacts")
    tags = [run.data.tags for run in found]
    return [t[SWEEP] for t in tags if SWEEP in t], [t[LINEAGE] for t in tags if LINEAGE in t]


def computed(words: str) -> str:
    return next(line for line in words.splitlines() if "to compute" in line)


def test_a_moved_output_goes_on_where_it_lies(made: Path, here: Path) -> None:
    old = everything(made)
    Path("runs/a").rename("runs/b")
    assert "2 of 2 lineages have an outcome" in ouro("status", "runs/b").out
    ran = ouro("run", "runs/b", "--local")
    assert ran.code == 0 and "nothing" in computed(ran.out)
    further = ouro("run", "runs/b", "--local", "--set", "generations=3")
    assert further.code == 0 and "2 generations" in computed(further.out)
    sweeps, lineages = runs_of(Path("runs/b"))
    assert len(sweeps) == 1 and len(lineages) == len(set(lineages)) == 2
    mirrored.check_mirror(load("runs/b"))
    assert not Path("runs/a").exists() and everything(made) == old, "the old place is as it was"


def test_a_copied_output_and_its_original_go_their_own_ways(made: Path, here: Path) -> None:
    old = everything(made)
    shutil.copytree("runs/a", "runs/b")
    before = everything(Path("runs/a"))
    assert ouro("run", "runs/b", "--local", "--set", "generations=3").code == 0
    assert everything(Path("runs/a")) == before and everything(made) == old
    mirrored.check_mirror(load("runs/b"))
    assert ouro("plan", "runs/a", "--json").json["generations"] == 2


def test_moved_artifacts_are_read_where_they_lie(made: Path, here: Path) -> None:
    """By who only looks: the table of MLflow's rows is the table of the store's."""
    Path("runs/a").rename("runs/b")
    old = made.rename(made.with_name("gone"))
    try:
        assert ouro("export", "runs/b", "--to", "store.csv").code == 0
        assert ouro("export", "runs/b", "--mlflow", "--to", "mlflow.csv").code == 0
    finally:
        old.rename(made)
    assert Path("mlflow.csv").read_text() == Path("store.csv").read_text()


def test_an_output_that_was_told_by_its_place_keeps_its_runs(here: Path) -> None:
    """An earlier version knew it as runs/a and kept no experiment; then it was moved."""
    out = Path("runs/a")
    (out / IDENTITY).unlink()
    file = shutil.move(out / "experiments" / "few.yaml", "few.yaml")
    with sqlite3.connect(out / "mlflow.db") as known:
        known.execute(
            "UPDATE tags SET value = ? WHERE key = ?",
            (digest({"sweep": "few", "out": "runs/a"}, 16), SWEEP),
        )
    known.close()
    out.rename("runs/b")
    assert ouro("run", file, "--local", "--out", "runs/b").code == 0
    sweeps, lineages = runs_of(Path("runs/b"))
    assert len(sweeps) == 1 and len(lineages) == len(set(lineages)) == 2
    Path("runs/b").rename("runs/c")
    assert ouro("run", "runs/c", "--local").code == 0
    assert runs_of(Path("runs/c")) == (sweeps, lineages)


def test_a_database_elsewhere_is_left_alone(tmp_path: Path) -> None:
    for name, place in (("mlflow.db", "else/artifacts"), ("own.db", "else/mlartifacts")):
        with contextlib.closing(sqlite3.connect(tmp_path / name)) as known, known:
            known.execute("CREATE TABLE experiments (artifact_location TEXT)")
            known.execute("INSERT INTO experiments VALUES (?)", (str(tmp_path / place),))
        before = (tmp_path / name).read_bytes()
        follow(f"sqlite:///{tmp_path / name}")
        assert (tmp_path / name).read_bytes() == before
    follow("http://127.0.0.1:1")
    follow(f"sqlite:///{tmp_path / 'absent.db'}")
    assert not (tmp_path / "absent.db").exists()


@pytest.mark.parametrize("name", ["50% off", "what?", "a%20b", "a#b", "a b", "ü;&=", "x'y\"z"])
def test_the_server_of_the_pages_sees_the_database_wherever_it_lies(
    name: str, tmp_path: Path
) -> None:
    from mlflow.store.db.utils import create_sqlalchemy_engine_with_retry

    (private := tmp_path / "private").mkdir()
    (out := tmp_path / name).mkdir()
    with contextlib.closing(sqlite3.connect(out / "mlflow.db")) as known:
        known.execute("CREATE TABLE here (x)")
    pages = serve(Address(*local(out)), "sweep", 5000)
    assert pages.recorded
    uri = pages.environment(private)["MLFLOW_BACKEND_STORE_URI"]
    engine = create_sqlalchemy_engine_with_retry(uri)  # as the server opens it
    assert inspect(engine).get_table_names() == ["here"]
    engine.dispose()
    assert {path.name for path in tmp_path.iterdir()} == {"private", name}
