"""Equal keys are equal bits: files enter keys by what they hold, code by its revision, and what
only changes how a model is drawn from is in the key of the draw.
"""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from engine import _digests
from engine._cache import Kept
from engine.contents import Lack
from engine.datasets._torchvision import PUBLISHED
from engine.datasets.images import read_images
from engine.experiment.reader import SpecError
from engine.experiment.sources import load
from engine.identity import Changed, Part
from engine.lineage.recipe import path
from engine.lineage.recorded import (
    changes,
    unknown_files,
)
from engine.registry import describe, make
from engine.spec import LineageSpec, MeasureSpec, Sweep
from engine.store.store import Store
from tests.planning.test_contents import pictures
from tests.support.commands import ouro
from tests.support.sweeps import lineages, results, run, sweep_of

PICTURES = """
base:
  dataset: {name: images, path: mine, size: 8}
  generator: {name: vae, latent: 2, steps: 2, batch: 4, width: 4}
  n_real: 10
generations: 1
metrics: [{name: fid, extractor: raw}]
"""
POINTS = """
base:
  dataset: {name: mixture, modes: 2, replicates: 2}
  generator: {name: kde, bandwidth: 2}
  n_real: 8
generations: 1
metrics: [modes]
"""
NOISY = """
base:
  dataset: {name: regression, d: 2, replicates: 2}
  generator: linear_regression
  n_real: 8
grid:
  generator.noise: [1.0, 0.5, 0.0]
generations: 2
metrics: [moments]
"""


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUROBOROS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OUROBOROS_DATA", str(tmp_path / "data"))


def npz(file: Path, seed: int) -> Path:
    file.parent.mkdir(exist_ok=True)
    images = np.random.default_rng(seed).integers(0, 256, (20, 8, 8)).astype(np.uint8)
    np.savez(file, images=images, labels=np.arange(20) % 2)
    return file


def keys(sweep: Sweep) -> list[tuple[str, str, str]]:
    """Of every generation, and the ids of their lineages."""
    return [(s.id, n.model, n.draw) for s in sweep.lineages for n in path(s, sweep.generations)]


def of(tmp_path: Path, text: str = PICTURES, *sets: str) -> Sweep:
    return sweep_of(text, tmp_path, *sets)


# ---- files ---------------------------------------------------------------------------------------


def test_an_npz_that_is_replaced_has_other_keys_and_the_output_says_so(tmp_path: Path) -> None:
    npz(tmp_path / "data" / "mine.npz", 0)
    setting = "base.dataset.path=mine.npz"
    before = of(tmp_path, PICTURES, setting)
    run(before)
    assert changes(before, Store(before.out)) == []
    npz(tmp_path / "data" / "mine.npz", 1)
    after = of(tmp_path, PICTURES, setting)
    assert not {*keys(before)} & {*keys(after)}
    (line,) = changes(after, Store(after.out))
    assert "the files of dataset images (path mine.npz) hold something else" in line
    run(after)
    assert changes(after, Store(after.out)) == []
    npz(tmp_path / "data" / "mine.npz", 0)
    again = of(tmp_path, PICTURES, setting)
    assert keys(again) == keys(before) and changes(again, Store(again.out)) == []
    assert all(chain.complete() for chain in lineages(again)), "the old rows are found again"


def test_a_folder_that_is_moved_keeps_its_keys(tmp_path: Path) -> None:
    pictures(tmp_path / "data" / "mine", 8, 8)
    before = of(tmp_path)
    (tmp_path / "data" / "mine").rename(tmp_path / "elsewhere")
    after = of(tmp_path, PICTURES, f"base.dataset.path={tmp_path / 'elsewhere'}")
    assert keys(after) == keys(before)


def test_what_is_not_read_of_a_folder_changes_nothing(tmp_path: Path) -> None:
    pictures(tmp_path / "data" / "mine", 8, 8)
    before = of(tmp_path)
    (tmp_path / "data" / "mine" / ".DS_Store").write_text("x")
    (tmp_path / "data" / "mine" / "a" / "README.txt").write_text("x")
    assert keys(of(tmp_path)) == keys(before)


def test_a_folder_of_the_same_name_under_another_root_has_its_own_keys(tmp_path: Path) -> None:
    for root, colour in (("one", 1), ("two", 2)):
        npz(tmp_path / f"{root}.npz", colour)
        (tmp_path / root).mkdir()
        shutil.move(tmp_path / f"{root}.npz", tmp_path / root / "mine.npz")
    one, two = (
        of(tmp_path, PICTURES, "base.dataset.path=mine.npz", f"base.dataset.root={tmp_path / root}")
        for root in ("one", "two")
    )
    assert not {*keys(one)} & {*keys(two)}


def test_files_that_change_while_a_run_is_going_on_are_not_mixed(tmp_path: Path) -> None:
    npz(tmp_path / "data" / "mine.npz", 0)
    sweep = of(tmp_path, PICTURES, "base.dataset.path=mine.npz")
    (sent,) = (LineageSpec.from_dict(spec.to_dict()) for spec in sweep.lineages)
    assert sent.id == sweep.lineages[0].id
    sent.check_files()
    npz(tmp_path / "data" / "mine.npz", 1)
    assert sent.id == sweep.lineages[0].id, "as it was planned"
    with pytest.raises(Changed, match=r"dataset images \(path mine.npz\) are not those"):
        run(dataclasses.replace(sweep, lineages=(sent,)))


def test_an_output_is_read_without_the_files_it_was_made_from(tmp_path: Path) -> None:
    npz(tmp_path / "data" / "mine.npz", 0)
    sweep = of(tmp_path, PICTURES, "base.dataset.path=mine.npz")
    run(sweep)
    shutil.rmtree(tmp_path / "data")
    found = of(tmp_path, PICTURES, "base.dataset.path=mine.npz")
    assert keys(found) == keys(sweep) and changes(found, Store(found.out)) == []
    assert unknown_files(found) == "", "what an output was made from is known"
    shutil.rmtree(found.out)
    other = of(tmp_path, PICTURES, "base.dataset.path=mine.npz")
    (line,) = changes(other, Store(other.out))
    assert "not on this computer" in line and "mine.npz" in line
    assert unknown_files(other).endswith("a run starts where its own files are")


def test_a_published_set_adds_nothing_to_keys_and_another_one_adds_its_own(tmp_path: Path) -> None:
    published = {"name": "mnist"}
    assert Part("dataset", "mnist").canonical == published, "absent: the published one is meant"
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in PUBLISHED["mnist"]:
        head, size = ((2051, 2, 28, 28), 2 * 28 * 28) if "images" in name else ((2049, 2), 2)
        (raw / name).write_bytes(b"".join(n.to_bytes(4, "big") for n in head) + bytes(size))
    one = Part("dataset", "mnist").canonical
    assert one.keys() == {"name", "CONTENT"}
    name = "t10k-images-idx3-ubyte"
    (raw / name).write_bytes((raw / name).read_bytes()[:-1] + b"1")
    assert Part("dataset", "mnist").canonical not in (one, published)


def test_a_subset_and_the_archive_of_a_set_share_no_key(tmp_path: Path) -> None:
    archive = Part("dataset", "cifar10").canonical
    place = tmp_path / "data" / "cifar10" / "cifar10_lossless_subset.npz"
    place.parent.mkdir(parents=True)
    labels = np.arange(20) % 10
    np.savez(place, train_labels=labels, test_labels=labels)
    text = PICTURES.replace("{name: images, path: mine, size: 8}", "cifar10")
    small, large = of(tmp_path, text), of(tmp_path, text, "base.n_real=50000")
    assert small.lineages[0].dataset.canonical != archive
    assert large.lineages[0].dataset.canonical == archive, "only the archive has so many rows"


def test_the_digests_are_those_that_torchvision_checks() -> None:
    from engine._torchvision import torchvision

    for name, cls in (("cifar10", "CIFAR10"), ("cifar100", "CIFAR100")):
        theirs = getattr(torchvision.datasets, cls)
        listed = dict([*theirs.train_list, *theirs.test_list])
        meta = {theirs.meta["filename"]: theirs.meta["md5"]}
        assert listed | meta == PUBLISHED[name]
    theirs = torchvision.datasets.Flowers102._file_dict
    assert {theirs["label"], theirs["setid"]} == {*PUBLISHED["flowers102"].items()}


def test_files_that_torchvision_would_not_read_are_said_to_be_lacking(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "cifar-100-python"
    folder.mkdir(parents=True)
    for name in PUBLISHED["cifar100"]:
        (folder / name).write_text("x")
    found = Part("dataset", "cifar100").contents
    assert isinstance(found, Lack) and "published files" in str(found)


def test_decoded_pictures_that_are_damaged_are_decoded_again(tmp_path: Path) -> None:
    pictures(tmp_path / "data" / "mine", 8, 8)
    before = make("dataset", "images", path="mine", size=8).held_out(3).x
    (kept,) = (tmp_path / "cache" / "images").iterdir()
    for damaged in (b"", kept.read_bytes()[:300]):
        kept.write_bytes(damaged)
        read_images.cache_clear()
        assert np.array_equal(make("dataset", "images", path="mine", size=8).held_out(3).x, before)
    kept.rename(kept.with_name("other.npz"))
    (tmp_path / "data" / "mine").rename(tmp_path / "data" / "moved")
    make("dataset", "images", path="moved", size=8).held_out(3)
    assert kept.exists(), "found by what they hold, whatever the folder is called"


def test_a_plan_reads_files_again_when_asked_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache says something else of a file than what it holds."""
    monkeypatch.setattr(_digests, "UNSETTLED_NS", -(10**12))
    monkeypatch.setattr(_digests, "_distrusted", None)
    npz(tmp_path / "data" / "mine.npz", 0)
    (tmp_path / "e.yaml").write_text(PICTURES.replace("path: mine,", "path: mine.npz,"))
    words = ("plan", str(tmp_path / "e.yaml"), "--out", str(tmp_path / "out"), "--json")
    right = ouro(*words).json["each"]
    (place,) = (tmp_path / "cache" / "digests").iterdir()
    sealed_by = json.loads(place.read_bytes().splitlines()[-1])["made_by"]
    cached, wrong = Kept(f"digests/{place.name}", sealed_by), io.BytesIO()
    with np.load(io.BytesIO(cached.read() or b"")) as file:
        np.savez(wrong, **(dict(file) | {"digests": file["digests"] ^ 1}))
    cached.write(wrong.getvalue())
    assert ouro(*words).json["each"] != right
    assert ouro(*words, "--rehash").json["each"] == right
    monkeypatch.setattr(_digests, "_distrusted", None)
    assert ouro(*words).json["each"] == right, "and the cache has learnt it"


# ---- code ----------------------------------------------------------------------------------------


def test_a_raised_revision_is_another_key_and_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = of(tmp_path, POINTS)
    run(before)
    monkeypatch.setitem(describe("generator", "kde").constants, "REVISION", 2)
    after = of(tmp_path, POINTS)
    assert not {*keys(before)} & {*keys(after)}
    (line,) = changes(after, Store(after.out))
    assert "generator kde has REVISION 2, not 1" in line
    assert lineages(after)[0].rows() == []


def test_a_metric_of_another_revision_is_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = of(tmp_path, POINTS)
    run(before)
    monkeypatch.setitem(describe("metric", "modes").constants, "REVISION", 2)
    (line,) = changes(of(tmp_path, POINTS), Store(before.out))
    assert line.startswith(
        "measured before by other code, files or extractor: modes. A run measures anew;"
    )
    (after,) = lineages(of(tmp_path, POINTS))
    assert after.spec.id == before.lineages[0].id and not after.complete()
    metric = MeasureSpec(Part("metric", "modes"))
    assert metric.id == "modes" and metric.stored.startswith("modes~")
    while not after.done:
        after.advance()
    assert after.fits == 0 and after.complete() and results(before)
    assert changes(of(tmp_path, POINTS), Store(before.out)) == []


# ---- parameters ----------------------------------------------------------------------------------


def test_a_grid_over_what_only_changes_drawing_trains_each_founder_once(tmp_path: Path) -> None:
    sweep = of(tmp_path, NOISY)
    chains = run(sweep)
    assert len({chain.path[0].model for chain in chains}) == 1
    assert len({chain.path[0].draw for chain in chains}) == 3
    assert sum(chain.fits for chain in chains) == 1 + 3 * 2
    for chain, noise in zip(lineages(sweep), (1.0, 0.5, 0.0), strict=True):
        model = chain.cache.generator(0)
        assert chain.fits == 0 and model.noise == noise, "read, and drawn from as it asks"


def test_what_only_changes_drawing_leaves_the_bits_of_a_fit_alone(tmp_path: Path) -> None:
    """Of every generator that names such parameters, with values that are no defaults."""
    text = """
base:
  dataset: {name: mixture, modes: 2, replicates: 2}
  generator: {name: flow_matching, steps: 3, batch: 4, channels: [4], sampling_steps: 2}
  n_real: 8
grid: {generator.solver: [euler, heun]}
generations: 0
"""
    euler, heun = (
        run(of(tmp_path, text, f"out={tmp_path / own}", f"grid.generator.solver=[{own}]"))[0]
        for own in ("euler", "heun")
    )
    assert euler.path[0].model == heun.path[0].model and euler.path[0].draw != heun.path[0].draw
    rows = [chain.store.row("model", chain.path[0].model) for chain in (euler, heun)]
    assert rows[0] is not None and rows[1] is not None and rows[0].files == rows[1].files
    drawn = [chain.cache.samples(0).x for chain in (euler, heun)]
    assert not np.array_equal(*drawn)


@pytest.mark.parametrize("given", ["2", "2.0", "'2'", "20e-1"])
def test_a_number_has_one_key_however_it_is_written(tmp_path: Path, given: str) -> None:
    text = POINTS.replace("bandwidth: 2", f"bandwidth: {given}")
    spec = of(tmp_path, text).lineages[0]
    assert spec.generator.params["bandwidth"] == 2.0
    assert type(spec.generator.params["bandwidth"]) is float
    assert spec.id == of(tmp_path, POINTS).lineages[0].id
    assert spec.generator.label == "kde(bandwidth=2)"
    part = Part("generator", "kde", {"bandwidth": 2})
    assert part.text == spec.generator.text, "not only as a file gives it"


def test_a_number_in_quotes_is_used_as_a_number(tmp_path: Path) -> None:
    text = POINTS + "grid: {policy: [{name: replace, synthetic_fraction: '0.5'}]}\n"
    (spec,) = of(tmp_path, text).lineages
    assert spec.policy.params == {"synthetic_fraction": 0.5} and path(spec, 2)


def test_a_word_where_a_number_is_asked_for_is_refused(tmp_path: Path) -> None:
    (tmp_path / "e.yaml").write_text(POINTS.replace("bandwidth: 2", "bandwidth: 2x"))
    with pytest.raises(SpecError, match="bandwidth"):
        load(tmp_path / "e.yaml")
