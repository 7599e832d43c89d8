"""Result folders of others: nothing in them is executed, and nothing outside of them is read, moved
or removed.
"""

from __future__ import annotations

import io
import os
import pickle
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from engine.cli import main as cli
from engine.running import worker as work
from engine.spec import Part
from engine.store.artifacts import read_generator
from engine.store.rows import row_from_json
from engine.store.seal import Damaged, sha256
from engine.store.shapes import Malformed, is_below
from engine.store.store import Store
from tests.support.commands import GAUSSIANS

# ---- pickles -------------------------------------------------------------------------------------


class Canary:
    """Unpickling it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


def payloads(mark: Path) -> dict[str, bytes]:
    """A pickle as pickle, torch and numpy would load it, by the ending they know it by."""
    plain, torch, array = pickle.dumps(Canary(mark)), io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(torch, "w") as file:
        file.writestr("archive/data.pkl", plain)
        file.writestr("archive/version", "3\n")
    np.save(array, np.array([Canary(mark)], dtype=object), allow_pickle=True)
    as_torch, as_array = torch.getvalue(), array.getvalue()
    return {".pkl": plain, ".pt": as_torch, ".bin": as_torch, ".npy": as_array, ".npz": as_array}


def test_the_canary_sings(tmp_path: Path) -> None:
    for name, load in (
        (".pkl", pickle.loads),
        (".npy", lambda data: np.load(io.BytesIO(data), allow_pickle=True)),
    ):
        load(payloads(tmp_path / name)[name])  # type: ignore[operator]
        assert (tmp_path / name).exists()


def ouro(*words: str) -> int:
    """The exit code of a command, in this process but without what it remembers."""
    work._stores.clear()
    return CliRunner().invoke(cli.app, list(words)).exit_code


@pytest.mark.parametrize("replaced", [True, False], ids=["instead", "beside"])
def test_no_pickle_in_a_result_folder_is_loaded(
    replaced: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every file replaced by a pickle, or pickles laid beside every file under the names that
    libraries look for.
    """
    monkeypatch.chdir(tmp_path)
    Path("sweep.yaml").write_text(GAUSSIANS)
    assert ouro("run", "sweep.yaml", "--local") == 0
    files = [p for p in Path("runs").rglob("*") if p.is_file()]
    assert len(files) > 10
    mark = tmp_path / "executed"
    for file in files:
        if replaced:
            file.write_bytes(payloads(mark).get(file.suffix, payloads(mark)[".pkl"]))
        else:
            for ending, data in payloads(mark).items():
                for name in (file.stem, "pytorch_model", "tuner", "error", "model"):
                    (file.parent / f"{name}{ending}").write_bytes(data)
    for command in ("status", "verify", "report", "export"):
        ouro(command, "sweep.yaml")
        assert not mark.exists(), command
    assert ouro("run", "sweep.yaml", "--local") == 0, "what is damaged is made again"
    assert not mark.exists()
    assert ouro("verify", "sweep.yaml") == 0


def test_pickles_in_the_place_of_cifars_are_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CIFAR's official files are pickles; these have their names, not their digests."""
    monkeypatch.chdir(tmp_path)
    mark, folder = tmp_path / "executed", tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"):
        (folder / name).write_bytes(payloads(mark)[".pkl"])
    text = GAUSSIANS.replace("{name: gaussian, replicates: 3}", "{name: cifar10, root: .}")
    text = text.replace("generator: gaussian", "generator: {name: vae, steps: 1}")
    text = text.replace("[moments]", "[fid]").replace("moments/trace_ratio, below", "fid, above")
    Path("sweep.yaml").write_text(text)
    assert ouro("plan", "sweep.yaml") == 0 and ouro("run", "sweep.yaml", "--local") in (1, 2, 4)
    assert not mark.exists()


# ---- paths ---------------------------------------------------------------------------------------

MODEL = {
    "kind": "model",
    "key": "k",
    "t": 0,
    "status": "ok",
    "reason": "",
    "time": 0.0,
    "seconds": 0.0,
    "files": {},
    "fit": {},
    "counts": {},
    "sources": [],
}
OUTSIDE = [
    "../../../victim",
    "weights/../../../../victim",
    "weights//victim",
    "/victim",
    "..",
    "",
    "a/./b",
]


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_name_that_leads_out_is_none(name: str) -> None:
    assert not is_below(name) and is_below("weights/unet/config.json") and is_below("..a/b..")
    file = {"sha256": "0", "bytes": 1}
    assert row_from_json({**MODEL, "files": {"weights/a": file}}).key == "k"
    for changed in ({"files": {name: file}}, {"key": name}, {"kind": "../x"}):
        with pytest.raises(Malformed):
            row_from_json({**MODEL, **changed})


@pytest.mark.parametrize("as_block", [False, True])
def test_rows_of_others_touch_nothing_outside(as_block: bool, tmp_path: Path) -> None:
    """Digests that are right, file names that are not: the file outside is neither moved as damaged
    nor removed nor written.
    """
    victim, out = tmp_path / "victim", Store(str(tmp_path / "out"))
    victim.write_text("precious")
    files = {"../../../victim": {"sha256": "0" * 64, "bytes": 8}}
    row = {**MODEL, "files": files}
    (tmp_path / "out" / "models" / "k").mkdir(parents=True)
    if as_block:
        out.write_json(out.path("blocks", "b.json"), [row])
    else:
        out.write_json(out.path("models", "k", "row.json"), row)
    rows, damage = Store(out.url).verify()
    assert (rows, len(damage)) == (0, 1) and victim.read_text() == "precious"
    Store(out.url).prune(set(), {("model", "k")})
    assert victim.read_text() == "precious" and not Store(out.url).row("model", "k")


def test_weights_of_others_are_not_written_elsewhere(tmp_path: Path) -> None:
    out, data = Store(str(tmp_path / "out")), b"evil"
    name = f"weights/{'../' * 12}{(tmp_path / 'written').relative_to('/')}"
    row = {**MODEL, "files": {name: {"sha256": sha256(data), "bytes": 4}}}
    out.write_json(out.path("models", "k", "row.json"), row)
    assert out.row("model", "k") is None
    whole = row_from_json({**MODEL, "files": {"weights/a": {"sha256": "0", "bytes": 4}}})
    with pytest.raises(Damaged, match="a path out of the output"):
        read_generator(out, replace(whole, key="../k"), Part("generator", "gaussian"))
    assert not (tmp_path / "written").exists()


# ---- versions ------------------------------------------------------------------------------------

ROOT = Path(__file__).parents[2]
SAID = (ROOT / "SECURITY.md").read_text()


def test_every_file_that_the_page_names_is_there() -> None:
    """A test whose claim is broken fails by itself; one that is gone would say nothing."""
    named = set(re.findall(r"`((?:tests|engine|analysis|\.ci|\.cluster)/[^`\s]*)`", SAID))
    assert len({name for name in named if name.startswith("tests/")}) > 20
    for name in named:
        file, _, function = name.partition("::")
        assert (ROOT / file).exists(), f"SECURITY.md names {name}, which is not there"
        assert not function or f"def {function}(" in (ROOT / file).read_text(), name


def test_every_row_of_a_table_names_the_test_that_holds_it() -> None:
    rows = [line for line in SAID.splitlines() if line.startswith("| ") and "|---" not in line]
    bare = [row for row in rows if "`tests/" not in row and not row.startswith(UNTESTED)]
    assert not bare, bare


# heads of tables, what promises nothing of ours, and versions, which one test holds
UNTESTED = ("| from |", "| what |", "| part |", "| you,", "| other users", "| ray |", "| mlflow |")
UNTESTED += ("| torch |", "| pyyaml |")


@pytest.mark.slow
def test_nothing_is_reported_to_the_makers_of_ray_and_mlflow() -> None:
    """What is set before either is imported, here and in the containers of a cluster."""
    program = (
        "import os, engine.running.ray_tune, engine.tracking.mlflow_runs\n"
        "print(os.environ['RAY_USAGE_STATS_ENABLED'], os.environ['MLFLOW_DISABLE_TELEMETRY'])"
    )
    silent = {"RAY_USAGE_STATS_ENABLED", "MLFLOW_DISABLE_TELEMETRY"}
    own = {name: text for name, text in os.environ.items() if name not in silent}
    command = [sys.executable, "-c", program]
    ran = subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["0", "true"]
    cluster = (ROOT / "cluster.yaml").read_text()
    assert "-e RAY_USAGE_STATS_ENABLED=0" in cluster
    assert "-e MLFLOW_DISABLE_TELEMETRY=true" in cluster


def test_the_floors_are_those_that_are_explained_and_the_tested_versions_keep_them() -> None:
    explained = dict(re.findall(r"^\| (\w+) \| (\d+\.\d+) \|", SAID, re.M))
    assert set(explained) == {"ray", "mlflow", "torch", "pyyaml"}
    project, pinned = (ROOT / "pyproject.toml").read_text(), (ROOT / "requirements.txt").read_text()
    for name, floor in explained.items():
        floors = set(re.findall(rf'"{name}(?:\[\w+\])?>=([\d.]+)"', project))
        assert floors == {floor}, f"{name}: SECURITY.md says {floor}, pyproject.toml {floors}"
        (tested,) = re.findall(rf"^{name}==([\d.]+)", pinned, re.M)
        assert [int(n) for n in tested.split(".")][:2] >= [int(n) for n in floor.split(".")]
