"""Fashion-MNIST (Xiao et al. 2017): clothes, 28 x 28 grey, 60,000 to train on and 10,000 held out;
a drop-in for MNIST.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from engine.contents import Contents, Lack
from engine.datasets._finite import FiniteSet
from engine.datasets._torchvision import idx_contents, read_arrays
from engine.files import data_root
from engine.parts import Params
from engine.samples import Samples


class FashionMnist(FiniteSet):
    """uint8 [n, 28, 28, 1], labels 0..9."""

    GIVES = "images"
    CLASSES = 10
    FINITE = True
    SIZE = (60000, 10000)
    TINY: ClassVar[Params] = {}

    def __init__(self, *, root: str | None = None, balanced: bool = False) -> None:
        super().__init__(balanced=balanced)
        self.root = root

    def contents(self) -> Contents | Lack:
        found = idx_contents("fashion_mnist", data_root(self.root))
        return found if isinstance(found, Lack) else replace(found, balanced=self.balanced)

    def read(self) -> tuple[Samples, Samples]:
        return read_arrays("fashion_mnist", data_root(self.root))
