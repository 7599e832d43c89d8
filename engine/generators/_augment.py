"""Adaptive discriminator augmentation (Karras et al. 2006.06676): images are changed with
probability p before they are judged.

A short list: integer shifts, mirroring, cutout, brightness, contrast, saturation.  Each is applied
to each image independently with probability p, so the true distribution stays recognisable while p
< 1; every step is twice differentiable and is exactly
the identity where it is not applied.  Not augmentation of the training set: the generator never
                                       learns to shift or mirror.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

SHIFT = 1 / 8  # largest, of the side
CUT = 1 / 2  # side of the hole, of the side


class Chance:
    """Random numbers per image [b]: from one stream, and which images a change applies to."""

    def __init__(self, images: Tensor, p: Tensor, noise: torch.Generator) -> None:
        self.like, self.p, self.noise = images[:, 0, 0, 0].detach(), p, noise

    def uniform(self) -> Tensor:
        return torch.empty_like(self.like).uniform_(generator=self.noise)

    def normal(self) -> Tensor:
        return torch.empty_like(self.like).normal_(generator=self.noise)

    def gate(self) -> Tensor:
        """1 with probability p, else 0."""
        return (self.uniform() < self.p).to(self.like.dtype)


def augmented(images: Tensor, p: Tensor, noise: torch.Generator, flip: bool = False) -> Tensor:
    """Images [b, c, h, w] in [-1, 1], each changed with probability p by each item of the list."""
    chance = Chance(images, p, noise)
    return _cut_out(_colours(_moved(images, chance, flip), chance), chance)


def _moved(x: Tensor, chance: Chance, flip: bool) -> Tensor:
    """Shifted, mirrored at the edge, by products with matrices that pick rows and columns."""
    rows = _picks(x.shape[2], chance.gate() * (2 * chance.uniform() - 1))
    columns = _picks(x.shape[3], chance.gate() * (2 * chance.uniform() - 1))
    if flip:
        mirrored = (chance.gate() * (chance.uniform() < 0.5))[:, None, None] > 0
        columns = torch.where(mirrored, columns.flip(1), columns)
    with torch.autocast(x.device.type, enabled=False):
        return rows[:, None] @ x @ columns[:, None].mT


def _picks(n: int, share: Tensor) -> Tensor:
    """Row i picks row i + shift, reflected at both ends: [b, n, n] of 0 and 1.

    share: [b] in [-1, 1], of the largest shift.
    """
    shift = (share * n * SHIFT).round()[:, None]
    source = (torch.arange(n, device=share.device) + shift).abs()  # [b, n]
    source = (n - 1) - ((n - 1) - source).abs()
    return functional.one_hot(source.long(), n).to(share.dtype)


def _colours(x: Tensor, chance: Chance) -> Tensor:
    brightness = 0.2 * chance.normal() * chance.gate()
    contrast = torch.exp2(0.5 * chance.normal() * chance.gate())
    saturation = torch.exp2(chance.normal() * chance.gate())
    x = (x + _per_image(brightness)) * _per_image(contrast)
    return x + _per_image(saturation - 1) * (x - x.mean(1, keepdim=True))  # grey images have none


def _cut_out(x: Tensor, chance: Chance) -> Tensor:
    """A square of zeros around a random place."""
    inside = _per_image(chance.gate())
    for axis in (2, 3):
        n = x.shape[axis]
        at = torch.arange(n, device=x.device) + 0.5 - n * chance.uniform()[:, None]  # [b, n]
        shape = [len(x), 1, 1, 1]
        shape[axis] = n
        inside = inside * (at.abs() < n * CUT / 2).view(shape)
    return x * (1 - inside)


def _per_image(value: Tensor) -> Tensor:
    return value[:, None, None, None]
