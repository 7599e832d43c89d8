"""Convolutional generator and critic for small images, in the manner of DCGAN (Radford et al. 1511.06434), fit for a WGAN.

Where DCGAN normalises over the minibatch there are normalisations of each sample by itself (generator) and none (critic): a
gradient penalty is about single images, and a sample must not depend on its neighbours.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

SMALLEST = 4  # side of the smallest feature map, at least
LABEL_LENGTH = 3.0  # of a one-hot label beside latents of length sqrt(latent)


def halvings(height: int, width: int) -> int:
    """How often both sides can be halved (rounding up) and stay at least SMALLEST."""
    levels = 0
    while min(-(-height >> levels + 1), -(-width >> levels + 1)) >= SMALLEST:
        levels += 1
    return levels


class DcganGenerator(nn.Module):
    """Latents [b, latent] and labels [b] -> images [b, channels, height, width] in [-1, 1]."""

    def __init__(self, shape: list[int], classes: int, latent: int, width: int) -> None:
        super().__init__()
        self.size, self.classes = (shape[0], shape[1]), classes
        levels = halvings(*self.size)
        small = [-(-side // 2**levels) for side in self.size]
        widths = [width * 2**i for i in range(levels, 0, -1)] + [width]
        self.start = nn.Sequential(
            nn.Linear(latent + classes, widths[0] * small[0] * small[1]), nn.Unflatten(1, (widths[0], small[0], small[1]))
        )
        blocks: list[nn.Module] = [nn.GroupNorm(1, widths[0]), nn.ReLU()]
        for n_in, n_out in pairwise(widths):
            blocks += [nn.ConvTranspose2d(n_in, n_out, 4, 2, 1), nn.GroupNorm(1, n_out), nn.ReLU()]
        self.blocks = nn.Sequential(*blocks, nn.Conv2d(width, shape[2], 3, 1, 1), nn.Tanh())

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        if y is not None:
            z = torch.cat([z, LABEL_LENGTH * functional.one_hot(y, self.classes).to(z.dtype)], dim=1)
        x = self.blocks(self.start(z))
        top, left = (x.shape[2] - self.size[0]) // 2, (x.shape[3] - self.size[1]) // 2
        return x[:, :, top : top + self.size[0], left : left + self.size[1]]


class DcganCritic(nn.Module):
    """Images and labels -> [b, 1]; a label enters by its own linear reading of the last features (projection, 1802.05637)."""

    def __init__(self, shape: list[int], classes: int, width: int) -> None:
        super().__init__()
        self.classes = classes
        levels = halvings(shape[0], shape[1])
        widths = [shape[2]] + [width * 2**i for i in range(levels + 1)]
        layers: list[nn.Module] = [nn.Conv2d(widths[0], widths[1], 3, 1, 1), nn.LeakyReLU(0.2)]
        for n_in, n_out in pairwise(widths[1:]):
            layers += [nn.Conv2d(n_in, n_out, 4, 2, 1), nn.LeakyReLU(0.2)]
        self.features = nn.Sequential(*layers, nn.Flatten())
        n_flat = widths[-1] * (shape[0] >> levels) * (shape[1] >> levels)
        self.out = nn.Linear(n_flat, 1 + classes)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        value = self.out(self.features(x))  # [b, 1 + classes]
        if y is None:
            return value
        own = functional.one_hot(y, self.classes).to(value.dtype)  # [b, classes]
        return value[:, :1] + (value[:, 1:] * own).sum(1, keepdim=True)
