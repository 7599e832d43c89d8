"""Whatever becomes of a file in the cache, the next run has the numbers of an unharmed one: in
hundreds of ways, over every kind of file that is kept between runs.
"""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import nn

from engine import _cache as cache
from engine import _digests as digests
from engine.datasets import images
from engine.distances import extractors, features
from engine.registry import make
from engine.store.store import Store
from engine.training import resume
from engine.training.device import seeded
from engine.training.loop import Training, Turn, train

N_PICTURES = 6  # of each of two classes
HOW = Training(steps=4, batch=4)


# ---- what a run asks of the cache ----------------------------------------------------------------


def look_at_pictures(root: Path) -> tuple[float, bytes]:
    """What the features of a set add up to, and its pixels: as a new process finds them."""
    images.read_images.cache_clear()
    dataset = make("dataset", "images", path=str(root / "set"), size=8)
    held_out = dataset.held_out(99)
    found = features.extract(held_out, "lenet", dataset)
    return float(found.sum()), dataset.training_set().x.tobytes() + held_out.x.tobytes()


def train_on(store: Store) -> list[float]:
    """The weights of a training that goes on from where an earlier one was stopped."""
    with seeded(np.random.default_rng(0)):
        model = nn.Linear(2, 2)
    turn = Turn(model, lambda batch, noise: model(batch[0]).square().mean(), lr=0.1)
    x = np.random.default_rng(1).standard_normal((8, 2)).astype(np.float32)
    with resume.keeping(resume.Place(store, "abc", "here", seconds=0)):
        train([turn], [x], np.random.default_rng(0), HOW)
    return [float(v) for v in model.weight.detach().flatten()]


@pytest.fixture
def whole(memory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with pictures, a full cache, and an output with a half-trained state."""
    monkeypatch.setenv("OUROBOROS_CACHE", str(memory / "now" / "cache"))
    monkeypatch.setattr(digests, "UNSETTLED_NS", -(10**12))  # no test waits for files to settle
    tiny = extractors.ClassifierTraining("lenet", "tiny", 8, 1, (2, 2))
    monkeypatch.setitem(extractors.TRAINED, "lenet", tiny)
    rng = np.random.default_rng(0)
    for kind in "ab":
        (memory / "set" / kind).mkdir(parents=True)
        for i in range(N_PICTURES):
            pixels = rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(memory / "set" / kind / f"{i}.bmp")
    look_at_pictures(memory)
    train_on(Store(str(memory / "now" / "out")))
    shutil.copytree(memory / "now", memory / "whole")
    return memory


# ---- what becomes of a file ----------------------------------------------------------------------


def flip(path: Path, others: list[Path], dice: random.Random) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(dice.choice((1, 1, 2, 9))):
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    path.write_bytes(data)


def cut(path: Path, others: list[Path], dice: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: dice.choice((0, len(data) - 1, dice.randrange(len(data))))])


def blank(path: Path, others: list[Path], dice: random.Random) -> None:
    """A block that the disk has lost."""
    data = bytearray(path.read_bytes())
    at = dice.randrange(len(data))
    end = min(len(data), at + dice.choice((1, 64, 4096)))
    data[at:end] = bytes(end - at)
    path.write_bytes(data)


def longer(path: Path, others: list[Path], dice: random.Random) -> None:
    path.write_bytes(path.read_bytes() + dice.randbytes(dice.choice((1, 100))))


def of_another(path: Path, others: list[Path], dice: random.Random) -> None:
    path.write_bytes(dice.choice(others).read_bytes())


def no_file(path: Path, others: list[Path], dice: random.Random) -> None:
    path.unlink()
    what = dice.choice(("gone", "folder", "pipe", "link", "lost link"))
    if what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    elif "link" in what:
        path.symlink_to(dice.choice(others) if what == "link" else "nothing")


HARM = (flip, flip, flip, cut, cut, blank, longer, of_another, no_file)


@pytest.mark.faults
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("times", [100, pytest.param(2000, marks=pytest.mark.soak)])
def test_whatever_becomes_of_the_cache_the_numbers_stay(times: int, whole: Path) -> None:
    dice = random.Random(7)
    now, out = whole / "now", whole / "now" / "out"
    pictures, weights = look_at_pictures(whole), train_on(Store(str(out)))
    kinds: Counter[str] = Counter()
    for trial in range(times):
        shutil.rmtree(now)
        shutil.copytree(whole / "whole", now)
        files = sorted(p for p in now.rglob("*") if p.is_file() and p.suffix != ".lock")
        path = dice.choice(files)
        harm: Callable[[Path, list[Path], random.Random], None] = dice.choice(HARM)
        half_trained = out in path.parents
        if half_trained and harm is no_file:
            harm = cut  # what stands in the place of an output's file is another test's
        harm(path, [p for p in files if p != path], dice)
        kinds[path.relative_to(now).parts[-2]] += 1
        for _ in range(2):  # the second time all is sound again
            said = f"trial {trial}: {harm.__name__} of {path.relative_to(now)}"
            if half_trained:
                assert train_on(Store(str(out))) == weights, said
            else:
                assert look_at_pictures(whole) == pictures, said
        assert len(cache.set_aside()) <= 1
        if trial % 100 == 99:
            print(trial + 1, dict(kinds), flush=True)  # pytest -s
    assert set(kinds) == {"cache", "digests", "images", "trained", "partial"}
