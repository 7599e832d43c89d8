"""Image data sets: fixed splits, balanced draws, nothing fetched silently, and the real sets where
they are.
"""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from engine.datasets import _torchvision, flowers102
from engine.datasets._finite import balanced_rows, stratified_split
from engine.registry import make


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def rows_of(x: np.ndarray) -> set[bytes]:
    return {image.tobytes() for image in x}


# ---- digits --------------------------------------------------------------------------------------


def test_digits_are_the_real_ones_split_without_overlap() -> None:
    digits = make("dataset", "digits")
    train, test = digits.sample(1200, rng()), digits.held_out(597)
    assert (
        train.x.shape == (1200, 8, 8, 1)
        and test.x.shape == (597, 8, 8, 1)
        and train.x.dtype == np.uint8
    )
    original = np.round(load_digits().data.reshape(-1, 8, 8, 1) * 255 / 16).astype(np.uint8)
    assert sorted(im.tobytes() for im in [*train.x, *test.x]) == sorted(
        im.tobytes() for im in original
    )
    counts = np.bincount(load_digits().target)
    assert np.abs(np.bincount(train.y) - counts * 1200 / 1797).max() < 1
    assert np.bincount(test.y[:100]).min() >= 3, "the first held-out samples must be of all classes"


def test_draws_are_without_replacement_and_follow_the_stream() -> None:
    digits = make("dataset", "digits")
    a, b = digits.sample(1100, rng(1)), digits.sample(1100, rng(2))
    assert len(rows_of(a.x)) == 1100 and not np.array_equal(a.x, b.x)
    assert (
        np.array_equal(digits.held_out(50).x, digits.held_out(597).x[:50])
        and len(digits.held_out(9999)) == 597
    )
    with pytest.raises(ValueError, match=r"n=1201 .* Digits, which has 1200"):
        digits.sample(1201, rng())


def test_balanced_draws_have_equal_counts() -> None:
    drawn = make("dataset", "digits", balanced=True).sample(500, rng())
    assert np.array_equal(np.bincount(drawn.y), np.full(10, 50)) and len(rows_of(drawn.x)) == 500
    assert not np.array_equal(drawn.y, np.sort(drawn.y))
    assert sorted(
        np.bincount(np.repeat(np.arange(3), 9)[balanced_rows(np.repeat(np.arange(3), 9), 8, rng())])
    ) == [2, 3, 3]
    with pytest.raises(ValueError, match="lower n_real to"):
        make("dataset", "digits", balanced=True).sample(1200, rng())


def test_a_stratified_split_keeps_rare_classes_in_both_parts() -> None:
    y = np.repeat([0, 1, 2], [900, 90, 10])
    train, test = stratified_split(np.arange(1000)[:, None], y, 800)
    assert np.bincount(train.y).tolist() == [720, 72, 8] and np.bincount(test.y).tolist() == [
        180,
        18,
        2,
    ]
    assert len(np.intersect1d(train.x, test.x)) == 0


# ---- a missing set -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", _torchvision.CLASS)
def test_a_missing_set_names_the_command_that_fetches_it(name: str, tmp_path: Path) -> None:
    dataset = make("dataset", name, root=str(tmp_path))
    with pytest.raises(FileNotFoundError, match=f"`ouro download {name} --root"):
        dataset.sample(10, rng())
    assert not any(path.is_file() for path in tmp_path.rglob("*")), (
        "nothing may be fetched silently"
    )


def test_only_known_names_are_downloaded(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there are: mnist"):
        _torchvision.download("imagenet", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"\.npz"):
        make("dataset", "images", path="nowhere", root=str(tmp_path)).sample(1, rng())


# ---- files of our own making ---------------------------------------------------------------------


def write_idx(folder: Path, prefix: str, n: int) -> np.ndarray:
    images = rng(n).integers(0, 256, (n, 28, 28)).astype(np.uint8)
    folder.mkdir(parents=True, exist_ok=True)
    raw = {"images-idx3": struct.pack(">iiii", 2051, n, 28, 28) + images.tobytes()}
    raw["labels-idx1"] = (
        struct.pack(">ii", 2049, n) + (np.arange(n) % 10).astype(np.uint8).tobytes()
    )
    for name, content in raw.items():
        (folder / f"{prefix}-{name}-ubyte").write_bytes(content)
        (folder / f"{prefix}-{name}-ubyte.gz").write_bytes(gzip.compress(content))
    return images


@pytest.mark.parametrize(
    ("name", "folder"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")]
)
def test_the_idx_format_is_read_pixel_by_pixel(name: str, folder: str, tmp_path: Path) -> None:
    train = write_idx(tmp_path / folder / "raw", "train", 40)
    test = write_idx(tmp_path / folder / "raw", "t10k", 20)
    dataset = make("dataset", name, root=str(tmp_path))
    assert np.array_equal(dataset.training_set().x[..., 0], train)
    assert dataset.training_set().y.tolist() == [*range(10)] * 4
    assert rows_of(dataset.held_out(20).x[..., 0]) == rows_of(test)
    assert dataset.training_set() is make("dataset", name, root=str(tmp_path)).training_set()


def test_a_cut_idx_file_of_pictures_is_said_before_anything_is_trained(tmp_path: Path) -> None:
    write_idx(tmp_path / "MNIST" / "raw", "train", 40)
    write_idx(tmp_path / "MNIST" / "raw", "t10k", 20)
    path = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    whole = path.read_bytes()
    for harmed in (whole[:-1], b"", whole + b"1", b"\1" + whole[1:]):
        path.write_bytes(harmed)
        with pytest.raises(
            ValueError, match=r"train-images-idx3-ubyte is not a whole IDX file of 4"
        ):
            make("dataset", "mnist", root=str(tmp_path)).contents()


def make_folder(root: Path, n: int = 10) -> None:
    for k, colour in enumerate([(250, 10, 10), (10, 250, 10), (10, 10, 250)]):
        (root / f"class{k}").mkdir(parents=True)
        for i in range(n):
            picture = np.full((30, 50, 3), colour, np.uint8) - np.uint8(i)
            picture[:, :10] = 0  # cut off by the central square
            Image.fromarray(picture).save(root / f"class{k}" / f"{i}.png")


def test_a_folder_of_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUROBOROS_CACHE", str(tmp_path / "cache"))
    make_folder(tmp_path / "mine")
    dataset = make(
        "dataset", "images", path="mine", size=16, held_out_fraction=0.3, root=str(tmp_path)
    )
    train, test = dataset.sample(21, rng()), dataset.held_out(99)
    assert (
        train.x.shape == (21, 16, 16, 3)
        and np.bincount(train.y).tolist() == [7] * 3
        and np.bincount(test.y).tolist() == [3] * 3
    )
    assert dataset.CLASSES == 3
    for x, y in [*zip(train.x, train.y, strict=True), *zip(test.x, test.y, strict=True)]:
        assert x.argmax(-1).min() == x.argmax(-1).max() == y and x.max() >= 240
    assert len(list((tmp_path / "cache" / "images").glob("*-2-16.npz"))) == 1


def test_an_npz_of_pictures(tmp_path: Path) -> None:
    images, labels = rng().integers(0, 256, (50, 12, 12)).astype(np.uint8), np.repeat([3, 7], 25)
    np.savez(tmp_path / "a.npz", images=images, labels=labels)
    dataset = make("dataset", "images", path=str(tmp_path / "a.npz"), size=12)
    train, test = dataset.sample(40, rng()), dataset.held_out(10)
    assert rows_of(train.x) | rows_of(test.x) == rows_of(images[..., None]) and set(train.y) == {
        0,
        1,
    }
    np.savez(tmp_path / "b.npz", images=images)
    unlabelled = make("dataset", "images", path=str(tmp_path / "b.npz"), size=8)
    assert unlabelled.sample(5, rng()).y is None and unlabelled.sample(5, rng()).x.shape == (
        5,
        8,
        8,
        1,
    )
    np.savez(tmp_path / "c.npz", pictures=images)
    with pytest.raises(ValueError, match="`images`"):
        make("dataset", "images", path=str(tmp_path / "c.npz")).sample(1, rng())
    np.savez(tmp_path / "d.npz", images=images / 255)
    with pytest.raises(ValueError, match="uint8"):
        make("dataset", "images", path=str(tmp_path / "d.npz")).sample(1, rng())


def test_flowers_train_on_two_official_parts_and_hold_out_the_third(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The official archive is checked by its digest, so small pictures stand in for it here."""
    monkeypatch.setenv("OUROBOROS_CACHE", str(tmp_path))
    shade = {"train": 10, "test": 100, "val": 200}

    def part(name: str, root: Path, split: str) -> list[tuple[Image.Image, int]]:
        return [(Image.new("RGB", (40 + i, 30), (shade[split],) * 3), i % 3) for i in range(6)]

    monkeypatch.setattr(flowers102, "open_part", part)
    dataset = make("dataset", "flowers102", size=16, root=str(tmp_path))
    assert set(np.unique(dataset.sample(12, rng()).x)) == {10, 100}
    assert set(np.unique(dataset.held_out(6).x)) == {200} and dataset.held_out(6).x.shape == (
        6,
        16,
        16,
        3,
    )


# ---- real data -----------------------------------------------------------------------------------


def need(name: str, **params: Any) -> Any:
    dataset = make("dataset", name, **params)
    try:
        dataset.held_out(1)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    return dataset


@pytest.mark.usefixtures("real_data")
def test_real_mnist() -> None:
    mnist = need("mnist", balanced=True)
    assert np.bincount(mnist.training_set().y).tolist() == [
        5923,
        6742,
        5958,
        6131,
        5842,
        5421,
        5918,
        6265,
        5851,
        5949,
    ]
    assert np.bincount(mnist.held_out(10000).y).tolist() == [
        980,
        1135,
        1032,
        1010,
        982,
        892,
        958,
        1028,
        974,
        1009,
    ]
    assert np.bincount(mnist.sample(500, rng()).y).tolist() == [50] * 10


@pytest.mark.usefixtures("real_data")
def test_real_cifar10() -> None:
    cifar = need("cifar10")
    n_train, n_test = len(cifar.training_set()), len(cifar.held_out(10**6))
    assert (n_train, n_test) in {(50000, 10000), (3000, 500)}
    assert ("subset" in cifar.summary) == (n_train == 3000)
    assert np.ptp(np.bincount(cifar.training_set().y)) == 0 and cifar.training_set().x.shape[
        1:
    ] == (32, 32, 3)


@pytest.mark.usefixtures("real_data")
def test_real_flower_photographs() -> None:
    flowers = need("images", path="flowers5", size=32)
    assert flowers.CLASSES == 5 and len(flowers.training_set()) == 2400
    assert np.bincount(flowers.held_out(10**6).y).tolist() == [120] * 5
    assert 60 < flowers.held_out(100).x.mean() < 160


@pytest.mark.usefixtures("real_data")
@pytest.mark.parametrize("name", ["fashion_mnist", "cifar100", "flowers102"])
def test_other_real_sets(name: str) -> None:
    dataset = need(name)
    assert (len(dataset.training_set()), len(dataset.held_out(10**6))) == type(dataset).SIZE
    assert len(np.unique(dataset.training_set().y)) == type(dataset).CLASSES
