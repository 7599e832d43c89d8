"""Handwritten digits, 8 x 8 pixels, embedded in scikit-learn (UCI's optical recognition test set);
not MNIST.

1,797 grey images of the ten digits; a fixed stratified split gives 1,200 to train on and 597 held
out.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import ClassVar

import numpy as np

from engine.contents import Contents
from engine.datasets._finite import FiniteSet, stratified_split
from engine.datasets._listing import split_of
from engine.parts import Params
from engine.samples import Samples

COUNTS = (178, 182, 177, 183, 181, 182, 181, 179, 174, 180)  # of each digit


class Digits(FiniteSet):
    """uint8 [n, 8, 8, 1], grey values 0..16 stretched to 0..255; labels 0..9."""

    GIVES = "images"
    CLASSES = 10
    FINITE = True
    SIZE = (1200, 597)
    TINY: ClassVar[Params] = {}

    def __init__(self, *, balanced: bool = False) -> None:
        super().__init__(balanced=balanced)

    def contents(self) -> Contents:
        names = tuple(map(str, range(self.CLASSES)))
        split = split_of("digits", np.array(COUNTS), names, self.SIZE[0], "a fixed third")
        return replace(split, shape=(8, 8, 1), balanced=self.balanced, fingerprint="digits")

    def read(self) -> tuple[Samples, Samples]:
        return read_digits(self.SIZE[0])


@lru_cache(maxsize=1)
def read_digits(n_train: int) -> tuple[Samples, Samples]:
    from sklearn.datasets import load_digits  # a plan needs none of it

    x, y = load_digits(return_X_y=True)
    images = np.round(x.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    return stratified_split(images, y.astype(np.int64), n_train)
