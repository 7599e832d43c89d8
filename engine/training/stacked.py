"""Stacked networks: one small network per replicate, all in one batched product."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from engine.training.device import device

STACK_PAYS = 4  # replicates from which oneDNN's batched products are faster than the default ones


class StackedLinear(nn.Module):
    """One linear layer per replicate, all in one batched product: [replicates, b, n_in] ->
    [replicates, b, n_out].
    """

    def __init__(self, replicates: int, n_in: int, n_out: int) -> None:
        super().__init__()
        bound = n_in**-0.5  # nn.Linear's
        self.weight = nn.Parameter(torch.empty(replicates, n_in, n_out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(replicates, 1, n_out).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x, self.weight)


def stacked_mlp(
    replicates: int, sizes: Sequence[int], activation: type[nn.Module]
) -> nn.Sequential:
    """An MLP per replicate; sizes are the widths from input to output."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        layers += [StackedLinear(replicates, n_in, n_out), activation()]
    return nn.Sequential(*layers[:-1])


class Standardise(nn.Module):
    """Zero mean and unit variance for each replicate and direction of the points [n, replicates, d]
    it learnt from.
    """

    mean: Tensor
    sd: Tensor

    def __init__(self, replicates: int, d: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(replicates, 1, d))
        self.register_buffer("sd", torch.ones(replicates, 1, d))

    def learn(self, x: np.ndarray) -> None:
        mean, sd = x.mean(0)[:, None], x.std(0)[:, None]  # [replicates, 1, d]
        self.mean.copy_(torch.from_numpy(mean))
        self.sd.copy_(torch.from_numpy(np.where(sd > 0, sd, 1.0)))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.sd

    def inverse(self, z: Tensor) -> Tensor:
        return z * self.sd + self.mean


@contextmanager
def fast_products(replicates: int | None) -> Iterator[None]:
    """Inside, batched float32 products of stacked networks go through oneDNN (x1.7 where it has
    AVX-512 kernels and MKL not).

    The switch allows bf16 inside, so it is kept only where a probe finds float32's accuracy (with
    AMX units it would round).
    """
    # made by torch when it is imported
    setting = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = setting.fp32_precision
    if (replicates or 1) >= STACK_PAYS and device().type == "cpu":
        setting.fp32_precision = "bf16"
        if not _products_are_exact():
            setting.fp32_precision = before
    try:
        yield
    finally:
        setting.fp32_precision = before


def _products_are_exact() -> bool:
    a = torch.linspace(-1, 1, 4 * 64 * 64).sin().view(4, 64, 64)
    error = torch.bmm(a, a).double() - torch.bmm(a.double(), a.double())
    return float(error.abs().max()) < 1e-4
