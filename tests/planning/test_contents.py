"""What a finite data set holds is told from names, headers and labels, as it is then read."""

from __future__ import annotations

import os
import shutil
import struct
import zipfile
from dataclasses import replace
from hashlib import md5
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from engine._torchvision import torchvision
from engine.contents import Contents, Lack
from engine.datasets._finite import split_rows, stratified_split
from engine.datasets._listing import list_folder, split_of
from engine.datasets._torchvision import PUBLISHED
from engine.registry import make


def pictures(root: Path, *counts: int) -> Path:
    """A folder with so many pictures per class a, b, ..."""
    rng = np.random.default_rng(0)
    for name, count in zip("abcdefghij", counts, strict=False):
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            x = rng.integers(0, 256, (9, 9, 3)).astype(np.uint8)
            Image.fromarray(x).save(root / name / f"{i:03d}.png")
    return root


def contents(dataset: Any) -> Contents:
    found = dataset.contents()
    assert isinstance(found, Contents)
    return found


def assert_told(dataset: Any) -> None:
    """What was told beforehand is what is read."""
    told, train, rest = contents(dataset), dataset.training_set(), dataset.held_out(10**9)
    assert (told.train, told.held_out) == (len(train), len(rest))
    assert train.x.shape[1:] == told.shape
    assert told.labelled == (train.y is not None)
    if train.y is not None:
        assert np.bincount(train.y).tolist() == list(told.per_class)
        assert len(told.classes) == len(told.per_class)


# ---- folders -------------------------------------------------------------------------------------


def test_a_folder_is_listed_in_the_order_of_torchvision(tmp_path: Path) -> None:
    root = pictures(tmp_path / "set", 3, 2)
    (root / "a" / "deep" / "er").mkdir(parents=True)
    for place in ("a/deep/1.JPG", "a/deep/er/0.webp", "a/z.bmp", "b/0.tiff"):
        (root / place).write_bytes(b"no picture")
    official = torchvision.datasets.ImageFolder(str(root))
    found = list_folder(root)
    assert [(str(path), label) for path, label in found.pictures] == official.samples
    assert list(found.classes) == official.classes


def test_hidden_names_and_what_macos_leaves_are_no_data(tmp_path: Path) -> None:
    root = pictures(tmp_path / "set", 2, 2)
    for place in (".ipynb_checkpoints/0.png", "__MACOSX/a/0.png", "a/.trash/0.png", "a/._000.png"):
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_bytes(b"\0\5\26\7")
    found = list_folder(root)
    assert found.classes == ("a", "b") and found.counts.tolist() == [2, 2]
    assert found.left_out == ()


def test_files_that_are_no_pictures_are_counted_as_left_out(tmp_path: Path) -> None:
    root = pictures(tmp_path / "set", 2, 2)
    for place in ("labels.csv", "a/x.gif", "a/y.gif", "b/notes"):
        (root / place).write_text("-")
    found = contents(make("dataset", "images", path=str(root), held_out_fraction=0.5, size=8))
    assert found.left_out == ("labels.csv", "a/x.gif", "a/y.gif", "b/notes")
    assert "2 classes (a, b); 4 files left out (.csv, .gif, notes)" in found.words


def test_what_systems_leave_is_no_class_and_no_file(tmp_path: Path) -> None:
    root = pictures(tmp_path / "set", 2, 2)
    for place in ("Thumbs.db", "a/desktop.ini", "@eaDir/0.png", "$RECYCLE.BIN/0.png"):
        (root / place).parent.mkdir(exist_ok=True)
        (root / place).write_bytes(b"-")
    found = list_folder(root)
    assert (found.classes, found.left_out, found.unread) == (("a", "b"), (), ())


def test_links_inside_a_folder_count_once_and_others_are_named(tmp_path: Path) -> None:
    root, other = pictures(tmp_path / "set", 3, 2), pictures(tmp_path / "other", 4)
    (root / ".hidden").mkdir()
    Image.new("RGB", (9, 9)).save(root / ".hidden" / "0.png")
    for link, target in [
        ("a/back", root),
        ("a/same.png", root / "b" / "000.png"),
        ("a/round", root / "a" / "round"),
        ("b/gone.png", root / "nowhere.png"),
        ("c", root / "b"),
        ("d", other / "a"),
        ("e", root / ".hidden"),
        ("e2", root / ".hidden"),
    ]:
        (root / link).symlink_to(target)
    found = list_folder(root)
    assert found.classes == ("a", "b", "e") and found.counts.tolist() == [3, 2, 1]
    assert found.unread == (
        "a/round (a link to nothing)",
        "b/gone.png (a link to nothing)",
        "d (a link out of the folder)",
    )


def test_a_pipe_and_a_device_are_named_and_not_waited_for(tmp_path: Path) -> None:
    root = pictures(tmp_path / "set", 3, 3)
    os.mkfifo(root / "a" / "x.png")
    (root / "b" / "y.png").symlink_to("/dev/zero")
    found = contents(make("dataset", "images", path=str(root), size=9, held_out_fraction=0.5))
    assert found.rows == 6
    assert "not read: a/x.png (a pipe), b/y.png (a link out of the folder)" in found.words
    os.mkfifo(tmp_path / "all")
    with pytest.raises(ValueError, match=r"all is neither a folder nor an \.npz"):
        make("dataset", "images", path=str(tmp_path / "all")).contents()


def test_a_class_of_links_out_of_the_folder_is_refused_with_them(tmp_path: Path) -> None:
    root, other = pictures(tmp_path / "set", 3), pictures(tmp_path / "other", 1)
    (root / "b").mkdir()
    (root / "b" / "0.png").symlink_to(other / "a" / "000.png")
    with pytest.raises(ValueError, match=r"no picture .*not read: b/0.png \(a link out of"):
        list_folder(root)


def test_copies_on_both_sides_are_counted(tmp_path: Path) -> None:
    root = pictures(tmp_path / "set", 20, 20)
    for file in list(root.rglob("*.png")):
        shutil.copy(file, file.with_name(f"{file.stem} (1).png"))
    dataset = make("dataset", "images", path=str(root), size=9)
    seen = {x.tobytes() for x in dataset.training_set().x}
    both = sum(x.tobytes() in seen for x in dataset.held_out(10**9).x)
    found = contents(dataset)
    assert found.copies == both > 0
    assert f"{both} of the 16 held-out rows" in found.warnings[0]
    alone = contents(make("dataset", "images", path=str(pictures(tmp_path / "b", 9)), size=9))
    assert alone.copies == 0 and alone.warnings == []


def test_parts_of_a_set_taken_for_classes_are_told(tmp_path: Path) -> None:
    root = pictures(tmp_path / "set", 5, 5)
    (root / "a").rename(root / "train")
    (root / "b").rename(root / "test")
    (said,) = contents(make("dataset", "images", path=str(root), size=9)).warnings
    assert "called test and train" in said and "/test)" in said


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("1", 1), ("LA", 1), ("P", 3)])
@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "pgm"])
def test_a_folder_of_grey_pictures_has_one_channel(
    mode: str, channels: int, ending: str, tmp_path: Path
) -> None:
    if (ending == "jpg" and mode in ("LA", "P", "1")) or (ending == "pgm" and mode != "L"):
        pytest.skip("no such files")
    root = tmp_path / "set"
    root.mkdir()
    for i in range(6):
        picture = Image.new("L", (9, 9), 40 * i).convert(mode)
        picture.save(root / f"{i}.{ending}")
    dataset = make("dataset", "images", path=str(root), size=9, held_out_fraction=0.5)
    assert contents(dataset).shape == (9, 9, channels)
    assert_told(dataset)
    Image.new("RGB", (9, 9)).save(root / "9.png")
    again = make("dataset", "images", path=str(root), size=9, held_out_fraction=0.5)
    assert contents(again).shape == (9, 9, 3)
    assert_told(again)


@pytest.mark.parametrize(
    ("places", "words"),
    [(["x.txt"], "no subfolders and no pictures"), (["a/x.txt"], r"a is taken for a class")],
)
def test_a_folder_without_pictures_is_refused_by_name(
    places: list[str], words: str, tmp_path: Path
) -> None:
    for place in places:
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_text("-")
    with pytest.raises(ValueError, match=words):
        make("dataset", "images", path=str(tmp_path)).contents()


def test_a_folder_that_is_not_there_is_lacking(tmp_path: Path) -> None:
    found = make("dataset", "images", path="nowhere", root=str(tmp_path)).contents()
    assert isinstance(found, Lack) and found.where == str(tmp_path / "nowhere")


# ---- npz, IDX and the sets that come with the engine ---------------------------------------------


def cut_pixels(path: Path) -> None:
    """Leave the header of the pixels and break all that follows."""
    raw = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("images.npy").header_offset
    raw[start + 400 : start + 600] = bytes(200)
    path.write_bytes(bytes(raw))


def test_an_npz_is_told_from_its_header_and_labels_and_damaged_pixels_are_refused(
    tmp_path: Path,
) -> None:
    images = np.random.default_rng(0).integers(1, 256, (40, 6, 6, 3)).astype(np.uint8)
    np.savez(tmp_path / "a.npz", images=images, labels=np.repeat([3, 7], [30, 10]))
    dataset = make("dataset", "images", path=str(tmp_path / "a.npz"), size=6)
    assert_told(dataset)
    assert contents(dataset).classes == ("3", "7")
    cut_pixels(tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"`images` of .*a\.npz cannot be read: Bad CRC"):
        make("dataset", "images", path=str(tmp_path / "a.npz"), size=6).contents()


@pytest.mark.parametrize("fortran", [False, True])
def test_copies_in_an_npz_are_counted(fortran: bool, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (30, 5, 4, 3)).astype(np.uint8)
    twice = np.concatenate([images, images])
    labels = np.arange(60) % 2
    np.savez(
        tmp_path / "a.npz", images=np.asfortranarray(twice) if fortran else twice, labels=labels
    )
    dataset = make("dataset", "images", path=str(tmp_path / "a.npz"), size=4)
    rows, held_out = split_rows(60, labels, 48)
    both = sum(row % 30 in set(rows % 30) for row in held_out)
    assert contents(dataset).copies == contents(dataset).copies == both > 0
    np.savez(tmp_path / "b.npz", images=images)
    assert contents(make("dataset", "images", path=str(tmp_path / "b.npz"))).copies == 0


def test_an_npz_without_labels_is_unlabelled_and_grey_has_one_channel(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((10, 5, 5), np.uint8))
    found = contents(make("dataset", "images", path=str(tmp_path / "a.npz"), size=5))
    assert not found.labelled and found.shape == (5, 5, 1) and found.per_class == ()
    assert_told(make("dataset", "images", path=str(tmp_path / "a.npz"), size=5))


@pytest.mark.parametrize("shape", [(), (3,), (3, 2, 2, 7), (3, 2, 2, 1, 1), (3, 2, 2, 2)])
def test_an_npz_whose_pictures_have_another_shape_is_refused(
    shape: tuple[int, ...], tmp_path: Path
) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros(shape, np.uint8))
    images = make("dataset", "images", path=str(tmp_path / "a.npz"), size=2)
    with pytest.raises(ValueError, match=r"must be uint8 \[n, h, w\], or \[n, h, w, c\]"):
        images.contents()


def test_an_npz_of_something_else_is_refused_before_it_is_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", pictures=np.zeros(3))
    np.savez(tmp_path / "b.npz", images=np.zeros((3, 2, 2)))
    np.savez(tmp_path / "c.npz", images=np.zeros((3, 2, 2), np.uint8), labels=np.arange(4))
    (tmp_path / "d.npz").write_text("no archive")
    for name, words in [("a", "`images`"), ("b", "uint8"), ("c", "each of its 3"), ("d", "d.npz")]:
        with pytest.raises(ValueError, match=words):
            make("dataset", "images", path=str(tmp_path / f"{name}.npz")).contents()


def test_digits_are_told_without_scikit_learn() -> None:
    assert_told(make("dataset", "digits"))


def test_the_headers_of_mnist_say_how_many_there_are(tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for prefix, n in (("train", 40), ("t10k", 20)):
        pixels = struct.pack(">iiii", 2051, n, 28, 28) + bytes(n * 784)
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(pixels)
        labels = struct.pack(">ii", 2049, n) + bytes(i % 10 for i in range(n))
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(labels)
    assert_told(make("dataset", "mnist", root=str(tmp_path)))
    (raw / "train-labels-idx1-ubyte").write_bytes(labels[:-1])
    with pytest.raises(ValueError, match="not a whole IDX file"):
        make("dataset", "mnist", root=str(tmp_path)).contents()


@pytest.mark.usefixtures("real_data")
@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_real_sets_are_told_as_they_are_read(name: str) -> None:
    dataset = make("dataset", name)
    if isinstance(found := dataset.contents(), Lack):
        pytest.skip(str(found))
    assert_told(dataset)


def test_flowers_are_counted_by_class_only_where_that_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scipy.io import savemat

    folder = tmp_path / "flowers-102"
    (folder / "jpg").mkdir(parents=True)
    labels = np.array([1, 1, 2, 2, 2, 3])
    savemat(folder / "imagelabels.mat", {"labels": labels})
    savemat(folder / "setid.mat", {"trnid": [1, 3], "tstid": [2, 4, 6], "valid": [5]})
    ours = {f: md5((folder / f).read_bytes()).hexdigest() for f in PUBLISHED["flowers102"]}
    monkeypatch.setitem(PUBLISHED, "flowers102", ours)  # as if these were the ones
    balanced = contents(make("dataset", "flowers102", root=str(tmp_path), balanced=True))
    assert balanced.per_class == (2, 2, 1)
    assert contents(make("dataset", "flowers102", root=str(tmp_path))).per_class == ()


# ---- too few -------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.floats(0.05, 0.95))
def test_a_split_is_told_from_counts_alone(counts: list[int], share: float) -> None:
    y = np.repeat(np.arange(len(counts)), counts)
    n_train = max(1, round(share * len(y)))
    train, rest = stratified_split(np.zeros((len(y), 1)), y, n_train)
    names = tuple(map(str, range(len(counts))))
    told = split_of("it", np.array(counts), names, n_train, "why")
    assert list(told.per_class) == np.bincount(train.y, minlength=len(counts)).tolist()
    assert (told.train, told.held_out) == (len(train), len(rest))
    assert list(told.apart) == np.bincount(rest.y, minlength=len(counts)).tolist()
    assert bool(told.refusal(1)) == (len(rest) < 2 or 0 in told.per_class or 0 in told.apart)


BALANCED = Contents("it", 9, 3, "a quarter", classes=("a", "b"), per_class=(3, 6), balanced=True)


@pytest.mark.parametrize(("n", "refused"), [(6, False), (7, True), (9, True), (10, True)])
def test_a_balanced_draw_is_refused_by_the_class_that_is_too_small(n: int, refused: bool) -> None:
    """Class a has 3 rows; n = 7 asks 4 of it, since the first classes get one more."""
    assert bool(BALANCED.refusal(n)) == refused
    if n == 7:
        assert "asks 4 rows of class a of it, which has 3" in BALANCED.refusal(n)
        assert "lower n_real to 6 or less" in BALANCED.refusal(n)


@pytest.mark.parametrize("n", [6, 7, 8, 9])
def test_a_balanced_draw_is_refused_exactly_where_it_would_fail(n: int) -> None:
    dataset = make("dataset", "digits", balanced=True)
    most = 10 * min(contents(dataset).per_class)
    for asked in (most, most + n):
        if contents(dataset).refusal(asked):
            with pytest.raises(ValueError, match="balanced=True asks"):
                dataset.sample(asked, np.random.default_rng(0))
        else:
            assert len(dataset.sample(asked, np.random.default_rng(0))) == asked


@pytest.mark.parametrize(
    ("counts", "share", "words"),
    [
        ((12, 12), 0.01, "of the 24 rows of .* none is held out"),
        ((2, 2), 0.9, "of the 4 rows of .* none is left to train on"),
        ((1,) * 10, 0.2, r"none to train on is left of class i \(1 in all\), j \(1 in all\)"),
        ((12, 12, 2), 0.1, r"none held out is left of class c \(2 in all\)"),
        ((9,), 0.1, "1 is held out .* at least 2 are needed"),
    ],
)
def test_a_split_that_leaves_a_part_empty_is_refused_in_the_plan_and_when_read(
    counts: tuple[int, ...], share: float, words: str, tmp_path: Path
) -> None:
    root = pictures(tmp_path / "set", *counts)
    dataset = make("dataset", "images", path=str(root), size=8, held_out_fraction=share)
    assert contents(dataset).refusal(1)
    with pytest.raises(ValueError, match=words):
        dataset.training_set()


def test_a_part_that_stands_for_the_whole_set_is_a_lack_and_no_refusal() -> None:
    rest = Lack("data set x", "/x", "get it")
    part = replace(BALANCED, balanced=False, rest=rest)
    assert part.lack(9) is None and part.lack(10) is rest
