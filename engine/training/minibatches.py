"""Minibatches: which rows each training step sees, from a named stream, and the rows themselves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


class Minibatches:
    """Rows [batch] without end, or [batch, replicates] shuffled apart: a new order every epoch, its
    incomplete rest dropped.
    """

    def __init__(
        self, n: int, batch: int, rng: np.random.Generator, replicates: int | None = None
    ) -> None:
        self.n, self.batch, self.rng, self.replicates = n, min(batch, n), rng, replicates
        self.left = torch.empty(0, dtype=torch.int64)  # of this epoch's order

    def __next__(self) -> Tensor:
        if not len(self.left):
            self.left = torch.from_numpy(self._order())[: self.n - self.n % self.batch]
        now, self.left = self.left[: self.batch], self.left[self.batch :]
        return now

    def _order(self) -> np.ndarray:
        if self.replicates is None:
            return self.rng.permutation(self.n)  # [n]
        return self.rng.permuted(
            np.tile(np.arange(self.n), (self.replicates, 1)), axis=1
        ).T.copy()  # [n, replicates]

    def get_state(self) -> Tensor:
        return self.left

    def set_state(self, left: Tensor) -> None:
        self.left = left


def take(tensors: Sequence[Tensor], rows: Tensor) -> tuple[Tensor, ...]:
    """The rows [b], or per replicate [b, replicates], of each tensor (labels [n] are shared by all
    replicates).
    """
    if rows.ndim == 1:
        return tuple(t.index_select(0, rows) for t in tensors)
    across = torch.arange(rows.shape[1], device=rows.device)
    return tuple(t[rows, across] if t.ndim > 1 else t[rows] for t in tensors)


def balanced_rows(y: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of labels y [n] that hold each class equally often: as often as the largest class, or a
    share of about `most` rows where that is less.  A smaller class is gone through again.
    """
    classes, counts = np.unique(y, return_counts=True)
    each = min(int(counts.max()), -(-most // len(classes)))
    found = []
    for k, count in zip(classes, counts, strict=True):
        own = np.flatnonzero(y == k)
        rounds = [rng.permutation(own) for _ in range(-(-each // count))]
        found.append(np.concatenate(rounds)[:each])
    return np.concatenate(found)
