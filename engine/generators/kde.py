"""A kernel density estimate with a Gaussian kernel: Kazdan 2410.16713, section on kernel density
estimation.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from engine.generators._normals import add_noise
from engine.parts import Bands, Params, PositiveFloat
from engine.samples import Samples

CHUNK = 150_000  # kernel values worked on at once, so that they stay in the second-level cache
# squared scaled distance from the centre at which float32 products would be off by 1e-4 nats
FAR = 2048.0


class Kde:
    """The mean of normal densities N(x_i, bandwidth_^2 I) at the training points, those of blocks_.

    bias multiplies the kernel's variance: at 0 training points are drawn.

    bandwidth  standard deviation of the kernel in the data's units, per coordinate: larger ones
               smooth more, and add more variance each generation; "scott", n^(-1/(d+4)), and
               "silverman", (n(d+2)/4)^(-1/(d+4)), are scikit-learn's rules in n and d alone, which
               unlike scipy's do not scale with the data's spread.
    """

    TINY: ClassVar[Params] = {}
    ACCEPTS = ("points",)
    VARIANCE: ClassVar[Bands] = {"points": (1.1, 1.3)}  # of data 1 to 1.5 wide
    KNOWS = ("density",)
    COST = "tiny"

    def __init__(self, *, bandwidth: PositiveFloat | Literal["scott", "silverman"] = 0.5) -> None:
        self.bandwidth = bandwidth

    def fit(self, data: Samples, rng: np.random.Generator) -> dict[str, float]:
        self.blocks_ = data.blocks or (data,)
        self.bandwidth_ = _bandwidth(self.bandwidth, len(data), self.blocks_[0].x.shape[2])
        return {"bandwidth": self.bandwidth_}

    def sample(
        self,
        n: int,
        rng: np.random.Generator,
        labels: np.ndarray | None = None,
        bias: float | None = None,
    ) -> Samples:
        _, replicates, d = self.blocks_[0].x.shape
        x = np.empty((n, replicates, d))
        ends = np.cumsum([len(block) for block in self.blocks_])
        rows = rng.integers(ends[-1], size=(n, replicates))
        for block, end in zip(
            self.blocks_, ends, strict=True
        ):  # joining them would copy every old point
            here = np.nonzero((rows >= end - len(block)) & (rows < end))
            x[here] = block.x[rows[here] - (end - len(block)), here[1]]
        add_noise(
            x, self.bandwidth_ if bias is None else self.bandwidth_ * float(np.sqrt(bias)), rng
        )
        return Samples(x)

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """Of points x [m, replicates, d]: [m, replicates], in float32: to 1e-6 of its size or 2e-4
        nats.

        Kernel sums over whole blocks of the training set are kept with the block, and so is their
        running total: for the same array x, no point that was scored before is scored again.
        """
        n, d = sum(len(block) for block in self.blocks_), x.shape[2]
        total = _running_log_sum(self.blocks_, x, self.bandwidth_)
        values: np.ndarray = total - np.log(n) - 0.5 * d * np.log(2 * np.pi * self.bandwidth_**2)
        return values

    def save(self, folder: Path) -> None:
        sizes = [len(block) for block in self.blocks_]
        points = np.concatenate([block.x for block in self.blocks_])  # [n, replicates, d]
        np.savez(folder / "kde.npz", points=points, sizes=sizes, bandwidth=self.bandwidth_)

    def load(self, folder: Path) -> None:
        with np.load(folder / "kde.npz", allow_pickle=False) as saved:
            points, sizes, self.bandwidth_ = (
                saved["points"],
                saved["sizes"],
                float(saved["bandwidth"]),
            )
        self.blocks_ = tuple(Samples(x) for x in np.split(points, np.cumsum(sizes)[:-1]))


def _bandwidth(rule: float | str, n: int, d: int) -> float:
    if rule == "scott":
        return float(n ** (-1 / (d + 4)))
    if rule == "silverman":
        return float((n * (d + 2) / 4) ** (-1 / (d + 4)))
    return float(rule)


def _running_log_sum(blocks: tuple[Samples, ...], x: np.ndarray, h: float) -> np.ndarray:
    """log of the kernel sums over all blocks, [m, replicates]; each running total is kept with its
    newest block.
    """
    total = _log_sum_of(blocks[0], x, h)
    for block in blocks[1:]:
        before, after = block.memo.get(("kde_pool", h), (None, None))
        if before is not total:
            after = np.logaddexp(total, _log_sum_of(block, x, h))
            block.memo["kde_pool", h] = (total, after)
        total = after
    return total


def _log_sum_of(block: Samples, x: np.ndarray, h: float) -> np.ndarray:
    scored, value = block.memo.get(("kde", h), (None, None))
    if scored is not x:
        value = _log_kernel_sum(x, block.x, h)
        block.memo["kde", h] = (x, value)
    values: np.ndarray = value
    return values


def _log_kernel_sum(x: np.ndarray, points: np.ndarray, h: float) -> np.ndarray:
    """log sum_i exp(-|x - x_i|^2 / 2h^2) at x [m, replicates, d] over points [n, replicates, d]:
    [m, replicates].
    """
    m, replicates, _ = x.shape
    centre, scale = (
        points.mean(0),
        np.sqrt(0.5 * np.log2(np.e)) / h,
    )  # then the kernel is 2 ** -distance^2
    at, to = (
        _columns(x, centre, scale),
        _columns(points, centre, scale),
    )  # [replicates, d, m], [replicates, d, n]
    at_square, to_square = at.square().sum(1, keepdim=True), to.square().sum(1, keepdim=True)
    exponents = _by_differences
    if max(at_square.max(), to_square.max()) < FAR:
        exponents = _by_product
        at = torch.cat(
            [2 * at, torch.ones_like(at_square), -at_square], 1
        )  # [replicates, d + 2, m]
        to = torch.cat([to, -to_square, torch.ones_like(to_square)], 1)  # [replicates, d + 2, n]
    rows = min(m, max(1, CHUNK // len(points)))
    group = max(1, CHUNK // (rows * len(points)))
    out = torch.empty(replicates, m, dtype=torch.float64)
    for r in range(0, replicates, group):
        for i in range(0, m, rows):
            out[r : r + group, i : i + rows] = _log2_sum(
                exponents, at[r : r + group, :, i : i + rows], to[r : r + group]
            )
    values: np.ndarray = out.numpy().T * np.log(2)
    return values


def _columns(x: np.ndarray, centre: np.ndarray, scale: float) -> Tensor:
    """Centred and scaled in float64, then float32: [n, replicates, d] -> [replicates, d, n]."""
    return torch.from_numpy(
        np.ascontiguousarray(((x - centre) * scale).transpose(1, 2, 0), dtype=np.float32)
    )


def _log2_sum(exponents: Callable[[Tensor, Tensor], Tensor], at: Tensor, to: Tensor) -> Tensor:
    """log2 of the sum of 2 ** exponents over all of `to` [g, k, n], at each of `at` [g, k, m]: [g,
    m].

    The longer of m and n lies innermost.  Powers below 2 ** -125 of the largest are cut there:
    denormal numbers are slow.
    """
    over = 2 if to.shape[2] >= at.shape[2] else 1  # the axis of `to`
    powers = exponents(at, to) if over == 2 else exponents(to, at)
    most = powers.amax(over, keepdim=True)
    powers.sub_(most).clamp_(min=-125).exp2_()
    return powers.sum(over).double().log2_() + most.squeeze(over)


def _by_product(a: Tensor, b: Tensor) -> Tensor:
    """-|a_i - b_j|^2 [g, i, j], columns [g, d + 2, .] of one being (2a, 1, -|a|^2), of the other
    (b, -|b|^2, 1).
    """
    return a.transpose(1, 2) @ b


def _by_differences(a: Tensor, b: Tensor) -> Tensor:
    """The same from columns [g, d, .], for points so far out that the product would lose digits by
    cancellation.
    """
    out = torch.zeros(a.shape[0], a.shape[2], b.shape[2])
    for j in range(a.shape[1]):
        gap = a[:, j, :, None] - b[:, j, None, :]
        out.addcmul_(gap, gap, value=-1)
    return out
