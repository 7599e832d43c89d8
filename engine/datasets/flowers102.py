"""Oxford Flowers-102 (Nilsback and Zisserman 2008), reduced to `size` pixels (Zverev: 64): 8,189
photographs of 102 kinds.

The official `val` part (1,020: ten of each kind) is held out; `train` and `test` together (7,169)
are trained on, since the official training part alone is too small for a generative model.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from engine import _digests as digests
from engine.contents import Contents, Lack
from engine.datasets._finite import FiniteSet, shuffled
from engine.datasets._torchvision import (
    FOLDERS,
    kept,
    official,
    open_part,
    thumbnails,
)
from engine.files import data_root
from engine.parts import PositiveInt
from engine.samples import Samples, concat


class Flowers102(FiniteSet):
    """uint8 [n, size, size, 3], central squares; labels 0..101, very unequal in number.

    size  pixels along a side, to which the photographs are reduced (Zverev: 64).
    """

    GIVES = "images"
    CLASSES = 102
    FINITE = True
    SIZE = (7169, 1020)
    TINY = {"size": 16}

    def __init__(
        self, *, size: PositiveInt = 64, root: str | None = None, balanced: bool = False
    ) -> None:
        super().__init__(balanced=balanced)
        self.size, self.root = size, root

    def contents(self) -> Contents | Lack:
        root, shape = data_root(self.root), (self.size, self.size, 3)
        found = official("flowers102", root, self.SIZE, shape, self.CLASSES)
        if isinstance(found, Lack):
            return found
        per_class = count_of_each(root / FOLDERS["flowers102"]) if self.balanced else ()
        why = "the official validation part"
        return replace(found, why=why, per_class=per_class, balanced=self.balanced)

    def read(self) -> tuple[Samples, Samples]:
        root = data_root(self.root)
        photographs = root / FOLDERS["flowers102"] / "jpg"
        return read_flowers(root, self.size, digests.content(photographs) or "")


def count_of_each(folder: Path) -> tuple[int, ...]:
    """Photographs of each kind in the official training and test part."""
    from scipy.io import loadmat

    labels = loadmat(str(folder / "imagelabels.mat"), squeeze_me=True)["labels"]
    parts = loadmat(str(folder / "setid.mat"), squeeze_me=True)
    photographs = np.concatenate([parts["trnid"], parts["tstid"]])  # counted from 1
    return tuple(map(int, np.bincount(labels[photographs - 1] - 1)))


@lru_cache(maxsize=2)
def read_flowers(root: Path, size: int, content: str) -> tuple[Samples, Samples]:
    """Both parts; content: the digest of the photographs, by which decoded ones are found again."""
    train, test, val = (_part(root, split, size, content) for split in ("train", "test", "val"))
    whole = concat([train, test])
    return Samples(whole.x, whole.y), shuffled(val)


def _part(root: Path, split: str, size: int, content: str) -> Samples:
    pictures = open_part("flowers102", root, split=split)
    x, y = kept(
        f"{content}-{split}-{size}",
        lambda: thumbnails((pictures[i] for i in range(len(pictures))), size),
    )
    assert y is not None
    return Samples(x, y.astype(np.int64))
