"""CIFAR-100 (Krizhevsky 2009): 32 x 32 colour, 100 fine classes, 50,000 to train on and 10,000 held
out.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from engine.contents import Contents, Lack
from engine.datasets._finite import FiniteSet
from engine.datasets._torchvision import official, read_arrays
from engine.files import data_root
from engine.parts import Params
from engine.samples import Samples


class Cifar100(FiniteSet):
    """uint8 [n, 32, 32, 3], labels 0..99."""

    GIVES = "images"
    CLASSES = 100
    FINITE = True
    SIZE = (50000, 10000)
    TINY: ClassVar[Params] = {}

    def __init__(self, *, root: str | None = None, balanced: bool = False) -> None:
        super().__init__(balanced=balanced)
        self.root = root

    def contents(self) -> Contents | Lack:
        found = official("cifar100", data_root(self.root), self.SIZE, (32, 32, 3), self.CLASSES)
        return found if isinstance(found, Lack) else replace(found, balanced=self.balanced)

    def read(self) -> tuple[Samples, Samples]:
        return read_arrays("cifar100", data_root(self.root))
