"""What an experiment needs of a computer: said by `ouro plan`, refused by `ouro run` before it
starts, judged by output and exit code.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engine.distances import extractors
from engine.experiment.reader import SpecError
from engine.experiment.sources import load
from engine.planning.preflight import look
from engine.registry import make
from tests.planning.test_contents import pictures
from tests.support import ouro as commands

FILE = """
base:
  dataset: {dataset}
  generator: {{name: vae, latent: 2, steps: 2, batch: 4, width: 4}}
  n_real: {n_real}
generations: 1
metrics: [{metrics}]
tracking: none
"""
RAW = "{name: fid, extractor: raw}"


def write(folder: Path, dataset: str, n_real: int = 10, metrics: str = RAW) -> None:
    (folder / "e.yaml").write_text(FILE.format(dataset=dataset, n_real=n_real, metrics=metrics))


def ouro(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """With data, weights and cache of its own."""
    own = {f"OUROBOROS_{name.upper()}": str(cwd / name) for name in ("data", "weights", "cache")}
    return commands.ouro(*words, cwd=cwd, settings=own)


def trained(folder: Path) -> int:
    return len(list(folder.glob("runs/*/models/*")))


# ---- too few rows --------------------------------------------------------------------------------


def npz(folder: Path) -> str:
    images = np.random.default_rng(0).integers(0, 256, (50, 8, 8)).astype(np.uint8)
    np.savez(folder / "a.npz", images=images, labels=np.repeat([0, 1], [40, 10]))
    return f"{{name: images, path: {folder / 'a.npz'}, size: 8}}"


def folder_of(folder: Path) -> str:
    return f"{{name: images, path: {pictures(folder / 'set', 10, 10)}, size: 8}}"


@pytest.mark.parametrize(
    ("dataset", "n_real", "words"),
    [
        (folder_of, 17, "set has 16 training rows, n_real is 17; 4 more are held out"),
        (npz, 41, "has 40 training rows, n_real is 41; 10 more are held out (held_out_fraction"),
        (lambda _: "digits", 1201, "digits has 1,200 training rows, n_real is 1,201; 597 more"),
        (lambda _: "mnist", 60001, "mnist has 60,000 training rows, n_real is 60,001; 10,000 more"),
        (
            lambda _: "{name: digits, balanced: true}",
            1191,
            "n_real 1,191 asks 120 rows of class 0 of digits, which has 119",
        ),
        (
            lambda folder: npz(folder).replace("}", ", balanced: true}"),
            18,
            "asks 9 rows of class 1",
        ),
    ],
    ids=["folder", "npz", "digits", "absent", "balanced", "balanced npz"],
)
def test_too_few_rows_are_refused_by_plan(
    dataset: Callable[[Path], str], n_real: int, words: str, tmp_path: Path
) -> None:
    write(tmp_path, dataset(tmp_path), n_real)
    with pytest.raises(SpecError) as refused:
        load(tmp_path / "e.yaml")
    assert words in str(refused.value)
    write(tmp_path, dataset(tmp_path), 8)
    assert load(tmp_path / "e.yaml").lineages, "fewer must be planned"


def test_pictures_that_cannot_be_halved_are_refused_by_plan(tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    write(tmp_path, root.replace("size: 8", "size: 30"), 8)
    with pytest.raises(SpecError) as refused:
        load(tmp_path / "e.yaml")
    assert "vae halves height and width 2 times (halvings)" in str(refused.value)
    assert "multiples of 4; the data set has 30 x 30 pixels" in str(refused.value)
    load(tmp_path / "e.yaml", ["base.generator.halvings=1"])


def test_plan_exits_2_for_too_few_rows_and_says_why(tmp_path: Path) -> None:
    write(tmp_path, folder_of(tmp_path), 500)
    done = ouro("plan", "e.yaml", cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    assert "16 training rows, n_real is 500" in done.stderr
    assert "(held_out_fraction 0.2 of 20)" in done.stderr


def test_a_folder_is_listed_once_and_not_for_every_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.datasets import images

    listed = []
    once = images.list_folder
    monkeypatch.setattr(images, "list_folder", lambda root: listed.append(root) or once(root))
    write(tmp_path, folder_of(tmp_path))
    grid = ["grid.n_synthetic=[10, 11, 12, 13]", "grid.policy.synthetic_fraction=[0.2, 0.5, 1.0]"]
    sweep = load(tmp_path / "e.yaml", grid)
    look(sweep)
    assert len(sweep.lineages) == 12 and len(listed) == 1
    pictures(tmp_path / "set", 11, 11)
    again = load(tmp_path / "e.yaml", ["base.n_real=17"])
    assert again.lineages and len(listed) == 2, "another plan looks anew"


# ---- what this computer lacks --------------------------------------------------------------------


def test_absent_data_are_said_by_plan_and_refused_by_run_once(tmp_path: Path) -> None:
    write(tmp_path, "mnist")
    plan = ouro("plan", "e.yaml", "--set", "seeds=3", cwd=tmp_path)
    said = " ".join(plan.stdout.split())
    assert plan.returncode == 0
    assert "lacks no data set mnist at" in said
    assert "`ouro download mnist`" in said
    assert ouro("plan", "e.yaml", "--check", cwd=tmp_path).returncode == 2
    run = ouro("run", "e.yaml", "--set", "seeds=3", cwd=tmp_path)
    assert run.returncode == 4 and trained(tmp_path) == 0
    assert run.stderr.count("ouro download mnist") == 1 and run.stdout == ""


def test_absent_weights_are_found_before_the_first_model(tmp_path: Path) -> None:
    write(tmp_path, npz(tmp_path), metrics="{name: fid, extractor: inception}")
    plan = ouro("plan", "e.yaml", "--json", "--check", cwd=tmp_path)
    (lack,) = json.loads(plan.stdout)["preflight"]["lacks"]
    assert plan.returncode == 2
    assert lack["what"] == "weights of inception"
    assert lack["where"] == str(tmp_path / "weights" / "inception.safetensors")
    assert "ouro download inception" in lack["fix"]
    run = ouro("run", "e.yaml", "--local", cwd=tmp_path)
    assert run.returncode == 4 and trained(tmp_path) == 0
    assert "ouro download inception" in run.stderr


def test_a_threshold_is_not_searched_without_the_data(tmp_path: Path) -> None:
    write(tmp_path, "mnist")
    more = "collapse: {metric: fid.extractor-raw, above: 2}\nthreshold: {width: 0.5}\n"
    (tmp_path / "e.yaml").write_text((tmp_path / "e.yaml").read_text() + more)
    run = ouro("threshold", "e.yaml", "--local", cwd=tmp_path)
    assert run.returncode == 4 and trained(tmp_path) == 0
    assert run.stderr.count("ouro download mnist") == 1


@pytest.mark.slow
def test_what_is_finished_needs_no_data_any_more(tmp_path: Path) -> None:
    write(tmp_path, npz(tmp_path))
    assert ouro("run", "e.yaml", "--local", cwd=tmp_path).returncode == 0
    (tmp_path / "a.npz").rename(tmp_path / "away.npz")
    assert ouro("run", "e.yaml", "--local", cwd=tmp_path).returncode == 0
    assert ouro("plan", "e.yaml", "--check", cwd=tmp_path).returncode == 0
    further = ouro("run", "e.yaml", "--local", "--set", "generations=2", cwd=tmp_path)
    assert further.returncode == 4 and "no pictures" in further.stderr


def test_only_what_is_asked_for_is_refused(tmp_path: Path) -> None:
    write(tmp_path, npz(tmp_path))
    grid = ("--set", f"grid.dataset=[mnist, {npz(tmp_path)}]")
    ids = {spec.dataset.name: spec.id for spec in load(tmp_path / "e.yaml", [grid[1]]).lineages}
    run = ouro("run", "e.yaml", "--local", *grid, "--only", ids["images"], cwd=tmp_path)
    assert "ouro download" not in run.stderr and trained(tmp_path) > 0
    assert ouro("run", "e.yaml", "--local", *grid, cwd=tmp_path).returncode == 4


def test_a_part_of_cifar_is_enough_until_more_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "cifar10"
    root.mkdir()
    arrays = {}
    for part, n in (("train", 30), ("test", 10)):
        arrays[f"{part}_images"] = np.zeros((n, 32, 32, 3), np.uint8)
        arrays[f"{part}_labels"] = np.arange(n) % 10
    np.savez(root / "cifar10_lossless_subset.npz", **arrays)
    monkeypatch.setenv("OUROBOROS_DATA", str(tmp_path))
    write(tmp_path, "cifar10", 30)
    assert look(load(tmp_path / "e.yaml")).lacks == ()
    (lack,) = look(load(tmp_path / "e.yaml", ["base.n_real=31"])).lacks
    assert "ouro download cifar10" in lack.fix
    with pytest.raises(SpecError, match="50,000 training rows"):
        load(tmp_path / "e.yaml", ["base.n_real=50001"])


# ---- what is trained first -----------------------------------------------------------------------


def test_an_extractor_that_is_trained_first_is_said_and_is_no_lack(tmp_path: Path) -> None:
    write(tmp_path, "digits", metrics="fid, {name: kid, extractor: lenet}")
    plan = ouro("plan", "e.yaml", "--check", cwd=tmp_path)
    said = " ".join(plan.stdout.split())
    assert plan.returncode == 0
    assert said.count("trains lenet on the 1,200 rows of digits, once on this computer") == 1
    assert "of one CPU core" in said


def test_a_trained_extractor_is_not_announced_again_and_a_lost_one_as_it_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUROBOROS_CACHE", str(tmp_path / "cache"))
    write(tmp_path, "digits", metrics="fid")
    found = make("dataset", "digits").contents()
    extractors.note("lenet", found, "abc", 12.0)
    (training,) = look(load(tmp_path / "e.yaml")).trains
    assert training.measured and training.seconds == 12.0
    extractors.trained("lenet", "abc").write(b"")
    assert look(load(tmp_path / "e.yaml")).trains == ()


def test_a_cache_that_cannot_be_written_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("OUROBOROS_CACHE", str(tmp_path / "file" / "cache"))
    write(tmp_path, "digits", metrics="fid")
    said = look(load(tmp_path / "e.yaml")).no_cache
    assert said.startswith(f"no cache: {tmp_path / 'file' / 'cache'} cannot be written to (not a")
    write(tmp_path, "digits")
    assert look(load(tmp_path / "e.yaml")).no_cache == "", "nothing is kept"


# ---- lightness -----------------------------------------------------------------------------------


def test_a_plan_that_looks_at_data_imports_nothing_heavy(tmp_path: Path) -> None:
    pictures(tmp_path / "data" / "set", 5, 5)
    write(tmp_path, "{name: images, path: set}", 8, metrics="fid")
    heavy = (
        "torch",
        "torchvision",
        "ray",
        "transformers",
        "mlflow",
        "sklearn",
        "pandas",
        "matplotlib",
        "PIL",
    )
    program = (
        "import sys; from engine.experiment.sources import load\n"
        "from engine.planning.preflight import look\n"
        "sweeps = [load('e.yaml'), load('e.yaml', ['base.dataset=digits'])]\n"
        "print([bool(look(sweep).trains) for sweep in sweeps])\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    settings = {**commands.environment(), "OUROBOROS_DATA": str(tmp_path / "data")}
    settings["OUROBOROS_CACHE"] = str(tmp_path / "cache")
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=settings, capture_output=True, text=True
    )
    assert done.stdout == "[True, True]\n[]\n", done.stderr


# ---- what is kept --------------------------------------------------------------------------------


def test_the_names_of_the_classes_are_kept_with_the_lineage(tmp_path: Path) -> None:
    """Folders 0 .. 11 are labelled in the order of their names as text: label 2 is folder 10."""
    for name in map(str, range(12)):
        pictures(tmp_path / "set" / name, 5)
        (tmp_path / "set" / name / "a").rename(tmp_path / name)
        (tmp_path / "set" / name).rmdir()
        (tmp_path / name).rename(tmp_path / "set" / name)
    (tmp_path / "set" / "a.txt").write_text("-")
    write(tmp_path, f"{{name: images, path: {tmp_path / 'set'}, size: 8}}", 24)
    assert ouro("run", "e.yaml", "--local", cwd=tmp_path).returncode == 0
    (file,) = tmp_path.glob("runs/e/lineages/*.json")
    kept = json.loads(file.read_text())["value"]
    assert kept["classes"][:4] == ["0", "1", "10", "11"]
    assert kept["data"]["per_class"] == [4] * 12 and kept["data"]["left_out"] == {".txt": 1}
    (tmp_path / "set").rename(tmp_path / "away")
    assert ouro("run", "e.yaml", "--local", cwd=tmp_path).returncode == 0
    assert json.loads(file.read_text())["value"] == kept
