"""Convolutional generator and critic for small images, in the manner of DCGAN (Radford et al.
1511.06434), fit for a WGAN.

Where DCGAN normalises over the minibatch there are normalisations of each sample by itself
(generator) and none (critic): a gradient penalty is about single images, and a sample must not
depend on its neighbours.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

SMALLEST = 4  # side of the smallest feature map, at least
LABEL_LENGTH = 3.0  # of a one-hot label beside latents of length sqrt(latent)


def halvings(height: int, width: int) -> int:
    """How often both sides can be halved and stay at least SMALLEST; at least once."""
    levels = 1
    while min(height, width) >> (levels + 1) >= SMALLEST:
        levels += 1
    return levels


def sizes(shape: list[int], width: int) -> tuple[tuple[int, int], list[int]]:
    """The smallest feature map (height, width) and the channels after each halving, `width` after
    the first.
    """
    levels = halvings(shape[0], shape[1])
    return (-(-shape[0] >> levels), -(-shape[1] >> levels)), [width * 2**i for i in range(levels)]


class DcganGenerator(nn.Module):
    """Latents [b, latent] and labels [b] -> images [b, channels, height, width] in [-1, 1]."""

    def __init__(self, shape: list[int], classes: int, latent: int, width: int) -> None:
        super().__init__()
        self.size, self.classes = (shape[0], shape[1]), classes
        (height, width_px), widths = sizes(shape, width)
        last = widths[-1]
        self.start = nn.Sequential(
            nn.Linear(latent + classes, last * height * width_px),
            nn.Unflatten(1, (last, height, width_px)),
        )
        blocks: list[nn.Module] = [nn.GroupNorm(1, last), nn.ReLU(), nn.Conv2d(last, last, 3, 1, 1)]
        for n_in, n_out in pairwise([*widths[::-1], shape[2]]):
            blocks += [nn.GroupNorm(1, n_in), nn.ReLU(), nn.ConvTranspose2d(n_in, n_out, 4, 2, 1)]
        self.blocks = nn.Sequential(*blocks, nn.Tanh())

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        if y is not None:
            z = torch.cat(
                [z, LABEL_LENGTH * functional.one_hot(y, self.classes).to(z.dtype)], dim=1
            )
        x = self.blocks(self.start(z))
        top, left = (x.shape[2] - self.size[0]) // 2, (x.shape[3] - self.size[1]) // 2
        out: Tensor = x[:, :, top : top + self.size[0], left : left + self.size[1]]
        return out


class DcganCritic(nn.Module):
    """Images and labels -> [b, 1]; a label enters by its own linear reading of the last features
    (projection, 1802.05637).
    """

    def __init__(self, shape: list[int], classes: int, width: int) -> None:
        super().__init__()
        self.classes = classes
        _, widths = sizes(shape, width)
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise([shape[2], *widths]):
            layers += [nn.Conv2d(n_in, n_out, 4, 2, 1), nn.LeakyReLU(0.2)]
        self.features = nn.Sequential(
            *layers, nn.Conv2d(widths[-1], widths[-1], 3, 1, 1), nn.LeakyReLU(0.2), nn.Flatten()
        )
        n_flat = widths[-1] * (shape[0] >> len(widths)) * (shape[1] >> len(widths))
        self.out = nn.Linear(n_flat, 1 + classes)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        value = self.out(self.features(x))  # [b, 1 + classes]
        if y is None:
            out: Tensor = value
            return out
        own = functional.one_hot(y, self.classes).to(value.dtype)  # [b, classes]
        out = value[:, :1] + (value[:, 1:] * own).sum(1, keepdim=True)
        return out
