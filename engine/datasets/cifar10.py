"""CIFAR-10 (Krizhevsky 2009), 32 x 32 colour: the official archive, or where only that is there, an
exact subset of 3,500.

The subset (`cifar10/cifar10_lossless_subset.npz` under the data root: 300 training and 50 test
images of each class, pixels as in the official set) is read when the archive is absent; `summary`
says which of the two was read.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np

from engine import _digests as digests
from engine.contents import Contents, Lack
from engine.datasets._arrays import counts_of
from engine.datasets._finite import FiniteSet, shuffled
from engine.datasets._torchvision import official, read_arrays
from engine.files import data_root
from engine.parts import Params
from engine.samples import Samples

SUBSET = Path("cifar10") / "cifar10_lossless_subset.npz"
SUBSET_SIZE = (3000, 500)


class Cifar10(FiniteSet):
    """uint8 [n, 32, 32, 3], labels 0..9; 50,000 to train on and 10,000 held out (subset: 3,000 and
    500).
    """

    GIVES = "images"
    CLASSES = 10
    FINITE = True
    SIZE = (50000, 10000)
    TINY: ClassVar[Params] = {}

    def __init__(self, *, root: str | None = None, balanced: bool = False) -> None:
        super().__init__(balanced=balanced)
        self.root = root

    def contents(self) -> Contents | Lack:
        root = data_root(self.root)
        found = official("cifar10", root, self.SIZE, (32, 32, 3), self.CLASSES)
        if isinstance(found, Lack) and (root / SUBSET).exists():
            found = replace(subset_contents(root / SUBSET), rest=found)
        return found if isinstance(found, Lack) else replace(found, balanced=self.balanced)

    @property
    def summary(self) -> str:
        """What was read."""
        n = tuple(len(part) for part in self._read_once())
        kind = (
            "the exact subset, the official archive is absent"
            if n == SUBSET_SIZE
            else "the official archive"
        )
        return f"cifar10: {n[0]:,} to train on, {n[1]:,} held out ({kind})"

    def read(self) -> tuple[Samples, Samples]:
        root = data_root(self.root)
        try:
            return read_arrays("cifar10", root)
        except FileNotFoundError:
            if not (root / SUBSET).exists():
                raise
            return read_subset(root / SUBSET, digests.of_file(root / SUBSET))


def subset_contents(path: Path) -> Contents:
    """Of the subset the labels are read, no pictures."""
    classes, train = counts_of(path, "train_labels")
    test = counts_of(path, "test_labels")[1]
    content = digests.of_file(path)
    return Contents(
        "cifar10",
        int(train.sum()),
        int(test.sum()),
        "a part of the official test part; the official archive is absent",
        shape=(32, 32, 3),
        classes=classes,
        per_class=tuple(map(int, train)),
        fingerprint=f"cifar10 {content}",
        content=content,
    )


@lru_cache(maxsize=2)
def read_subset(path: Path, content: str) -> tuple[Samples, Samples]:
    """Both parts; content: the digest of the file, so that another one is read anew."""
    with np.load(path, allow_pickle=False) as file:
        train, test = (
            Samples(file[f"{p}_images"], file[f"{p}_labels"].astype(np.int64))
            for p in ("train", "test")
        )
    return train, shuffled(test)
