"""A kernel density estimate with a Gaussian kernel: Kazdan 2410.16713, section on kernel density estimation.

The bandwidth is in the data's units, per coordinate; "scott" and "silverman" are scikit-learn's rules in n and d alone, which
unlike scipy's do not scale with the data's spread.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from engine.parts import PositiveFloat
from engine.samples import Samples

CHUNK = 100_000  # kernel values worked on at once, so that they stay in the second-level cache


class Kde:
    """The mean of normal densities N(x_i, bandwidth_^2 I) at the training points, those of blocks_.

    bias multiplies the kernel's variance: at 0 training points are drawn.
    """

    TINY: ClassVar[dict[str, Any]] = {}
    ACCEPTS = ("points",)
    COST = "tiny"

    def __init__(self, *, bandwidth: PositiveFloat | Literal["scott", "silverman"] = 0.5) -> None:
        self.bandwidth = bandwidth

    def fit(self, data: Samples, rng: np.random.Generator) -> dict[str, float]:
        self.blocks_ = data.blocks or (data,)
        self.bandwidth_ = _bandwidth(self.bandwidth, len(data), self.blocks_[0].x.shape[2])
        return {"bandwidth": self.bandwidth_}

    def sample(self, n: int, rng: np.random.Generator, labels: np.ndarray | None = None, bias: float | None = None) -> Samples:
        fast = np.random.Generator(np.random.SFC64(rng.integers(2**63)))  # a third faster than PCG64
        _, replicates, d = self.blocks_[0].x.shape
        x = fast.standard_normal((n, replicates, d))
        x *= self.bandwidth_ if bias is None else self.bandwidth_ * np.sqrt(bias)
        ends = np.cumsum([len(block) for block in self.blocks_])
        rows = fast.integers(ends[-1], size=(n, replicates))
        for block, end in zip(self.blocks_, ends, strict=True):  # joining them would copy every old point
            here = np.nonzero((rows >= end - len(block)) & (rows < end))
            x[here] += block.x[rows[here] - (end - len(block)), here[1]]
        return Samples(x)

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """Of points x [m, replicates, d]: [m, replicates], to a millionth of its size (1e-4 nats at worst).

        Kernel sums over whole blocks of the training set are kept with the block, and so is their running total: for the
        same array x, no point that was scored before is scored again.
        """
        n, d = sum(len(block) for block in self.blocks_), x.shape[2]
        total = _running_log_sum(self.blocks_, x, self.bandwidth_)
        return total - np.log(n) - 0.5 * d * np.log(2 * np.pi * self.bandwidth_**2)

    def save(self, folder: Path) -> None:
        sizes = [len(block) for block in self.blocks_]
        points = np.concatenate([block.x for block in self.blocks_])  # [n, replicates, d]
        np.savez(folder / "kde.npz", points=points, sizes=sizes, bandwidth=self.bandwidth_)

    def load(self, folder: Path) -> None:
        with np.load(folder / "kde.npz", allow_pickle=False) as saved:
            points, sizes, self.bandwidth_ = saved["points"], saved["sizes"], float(saved["bandwidth"])
        self.blocks_ = tuple(Samples(x) for x in np.split(points, np.cumsum(sizes)[:-1]))


def _bandwidth(rule: float | str, n: int, d: int) -> float:
    if rule == "scott":
        return float(n ** (-1 / (d + 4)))
    if rule == "silverman":
        return float((n * (d + 2) / 4) ** (-1 / (d + 4)))
    return float(rule)


def _running_log_sum(blocks: tuple[Samples, ...], x: np.ndarray, h: float) -> np.ndarray:
    """log of the kernel sums over all blocks, [m, replicates]; each running total is kept with its newest block."""
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
    return value


def _log_kernel_sum(x: np.ndarray, points: np.ndarray, h: float) -> np.ndarray:
    """log sum_i exp(-|x - x_i|^2 / 2h^2) at x [m, replicates, d] over points [n, replicates, d]: [m, replicates]."""
    m, replicates, _ = x.shape
    centre = points.mean(0)
    scale = np.sqrt(0.5 * np.log2(np.e)) / h  # then the kernel is 2 ** -distance^2
    at, to = _columns(x, centre, scale), _columns(points, centre, scale)  # [replicates, d, m], [replicates, d, n]
    rows = min(m, max(1, CHUNK // len(points)))
    group = max(1, CHUNK // (rows * len(points)))
    out = torch.empty(replicates, m, dtype=torch.float64)
    for r in range(0, replicates, group):
        for i in range(0, m, rows):
            out[r : r + group, i : i + rows] = _log2_sum(at[r : r + group, :, i : i + rows], to[r : r + group])
    return out.numpy().T * np.log(2)


def _columns(x: np.ndarray, centre: np.ndarray, scale: float) -> torch.Tensor:
    """Centred and scaled in float64, then float32: [n, replicates, d] -> [replicates, d, n]."""
    return torch.from_numpy(np.ascontiguousarray(((x - centre) * scale).transpose(1, 2, 0), dtype=np.float32))


def _log2_sum(at: torch.Tensor, to: torch.Tensor) -> torch.Tensor:
    """log2 sum_i 2 ** -|at - to_i|^2 for at [g, d, m] and to [g, d, n]: [g, m].

    Differences rather than one matrix product: as fast for few columns, and far points lose no digits.  The larger of m
    and n lies innermost; powers below 2 ** -125 of the largest are cut there, since denormal numbers are slow.
    """
    over = -1 if to.shape[2] >= at.shape[2] else -2  # the axis of `to`
    at, to = at.unsqueeze(over), to.unsqueeze(-3 - over)
    squares = (at[:, 0] - to[:, 0]).square_()
    for j in range(1, at.shape[1]):
        gap = at[:, j] - to[:, j]
        squares.addcmul_(gap, gap)
    least = squares.amin(over, keepdim=True)
    powers = torch.sub(least, squares, out=squares).clamp_(min=-125).exp2_()
    return powers.sum(over).double().log2_() - least.squeeze(over)
