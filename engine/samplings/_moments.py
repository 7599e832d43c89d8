"""What is kept of real data instead of the data: mean and covariance of every class in a few fixed
directions, as `correct` and `select` use them.

Rows are vectors [replicates, n, d]: points by replicate, pictures as one replicate of pixels in
[0, 1].  Moments are those of maximum likelihood, divisor n.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from engine.parts import Around
from engine.samples import Samples, concat

Basis = Literal["coordinates", "dct", "pca", "task_pca", "class_pca"]
Across = Literal["left", "scaled", "matched"]
NEEDLESS = ("coordinates", "dct")  # of real data, and of memory
FLOAT = 4  # bytes of a number that is kept
GREY = 255.0
# variances below this part of the largest, drawn or wanted, are rounding: none is divided by
ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class Moments:
    """Of the rows of one group in r directions.

    basis       [replicates or 1, r, d], orthonormal.
    mean        [replicates, r].
    covariance  [replicates, r, r].
    centre      [replicates, d], the mean in all coordinates.
    rest        [replicates], the variance across the directions, of all of them together.
    own         whether the directions are those of the group's own rows, in which its covariance
                is diagonal: r numbers instead of r (r + 1) / 2.
    """

    basis: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray
    centre: np.ndarray
    rest: np.ndarray
    own: bool = False

    def numbers(self, of_rest: Across) -> int:
        """How many numbers say the moments of a replicate, with those across the directions."""
        r, d = int(self.basis.shape[1]), int(self.basis.shape[2])
        inside = 2 * r if self.own else r + r * (r + 1) // 2
        beside: dict[Across, int] = {"left": 0, "scaled": 1, "matched": 1 + d - r}
        return inside + (0 if r == d else beside[of_rest])

    def within(self, rows: np.ndarray) -> np.ndarray:
        """Coordinates [replicates, n, r] of rows [replicates, n, d]."""
        values: np.ndarray = rows @ self.basis.transpose(0, 2, 1)
        return values


def of_rows(rows: np.ndarray, basis: np.ndarray, *, own: bool = False) -> Moments:
    """The moments of rows [replicates, n, d] in a basis."""
    mean, covariance = mean_and_covariance(rows @ basis.transpose(0, 2, 1))
    centre = rows.mean(1)
    rest = np.square(across(rows - centre[:, None], basis)).sum(2).mean(1)
    return Moments(basis, mean, covariance, centre, rest, own)


def across(away: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """What of vectors [replicates, n, d] lies across the directions: [replicates, n, d]."""
    values: np.ndarray = away - away @ basis.transpose(0, 2, 1) @ basis
    return values


def mean_and_covariance(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of points z [replicates, n, r], divisor n: [replicates, r] and [replicates, r, r]."""
    mean = z.mean(1)
    away = z - mean[:, None]
    return mean, away.transpose(0, 2, 1) @ away / z.shape[1]


def vectors(x: np.ndarray) -> np.ndarray:
    """Pictures [n, height, width, channels] or points [n, replicates, d] as rows [replicates, n,
    d], float64.
    """
    if x.ndim == 4:
        return x.reshape(1, len(x), -1) / GREY
    return np.ascontiguousarray(x.transpose(1, 0, 2), dtype=np.float64)


# ---- directions ----------------------------------------------------------------------------------


def cosines(shape: tuple[int, ...], r: int) -> np.ndarray:
    """The r lowest frequencies of the cosine transform of height, width and channels, the flattest
    first: [1, r, d], orthonormal.
    """
    axes = [_cosines_of(side) for side in shape]
    frequencies = np.indices(shape).reshape(len(shape), -1)  # [axes, d]
    lowest = np.argsort(np.square(frequencies).sum(0), kind="stable")[:r]
    found = np.ones((len(lowest), 1))
    for axis, which in zip(axes, frequencies[:, lowest], strict=True):
        found = (found[:, :, None] * axis[which][:, None, :]).reshape(len(lowest), -1)
    return found[None]


def _cosines_of(side: int) -> np.ndarray:
    """[side, side]: the cosine transform of one axis (DCT-II), a frequency per row, orthonormal."""
    k, i = np.indices((side, side))
    found = np.cos(np.pi * k * (2 * i + 1) / (2 * side)) * np.sqrt(2 / side)
    found[0] /= np.sqrt(2)
    values: np.ndarray = found
    return values


def coordinates(d: int, r: int) -> np.ndarray:
    """r of d coordinates, evenly spaced: [1, r, d]."""
    return np.eye(d)[None, np.linspace(0, d - 1, min(r, d)).round().astype(int)]


def principal(rows: np.ndarray, r: int) -> np.ndarray:
    """The r directions in which rows [replicates, n, d] vary most: [replicates, r, d]."""
    away = rows - rows.mean(1, keepdims=True)
    if rows.shape[1] < rows.shape[2]:
        values: np.ndarray = np.linalg.svd(away, full_matrices=False)[2][:, :r]
        return values
    of_all = np.linalg.eigh(away.transpose(0, 2, 1) @ away)[1]  # the least first
    values = of_all[:, :, ::-1][:, :, :r].transpose(0, 2, 1)
    return values


# ---- what is kept --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Group:
    """Real rows that share moments: those that arrived at some tasks, of one class or of all."""

    tasks: tuple[int, ...] = (0,)
    label: int | None = None


class Memory:
    """Moments of the classes, or of all classes of a task together, or of the whole set.

    Of class k they are those of the real set that arrived with it, real_of(task_of[k]); without
    tasks those of the real set of generation 0.  Nothing but the moments is used of it.
    """

    def __init__(self, basis: Basis, r: int, per_class: bool, first: Samples) -> None:
        self.basis, self.r, self.per_class, self.first = basis, r, per_class, first
        self._kept: dict[tuple[Group, tuple[int, ...]], Moments | None] = {}
        self._bases: dict[tuple[int, ...], np.ndarray] = {}  # principal directions, by tasks

    def of(
        self, labels: np.ndarray | None, n: int, around: Around
    ) -> list[tuple[np.ndarray, Moments]]:
        """Which rows of a draw of n with these labels [n], and the moments they should have.

        A class without a real row has no moments and is left out.  Only tasks are asked for whose
        classes are drawn: the model has learnt from these, so that its key implies them.
        """
        groups = [*_groups(labels, n, around.task_of, self.per_class)]
        earliest = min((group.tasks for group, _ in groups), default=(0,))[:1]
        found = []
        for group, rows in groups:
            of = earliest if self.basis == "pca" else group.tasks
            if (group, of) not in self._kept:
                self._kept[group, of] = self._moments(group, of, around)
            moments = self._kept[group, of]
            if moments is not None:
                found.append((rows, moments))
        return found

    def _moments(self, group: Group, of: tuple[int, ...], around: Around) -> Moments | None:
        """The moments of a group, in directions of the real rows of these tasks."""
        real = self._real(group.tasks, around)
        own = real if group.label is None else real.of_class(group.label)
        if not len(own):
            return None
        rows = vectors(own.x)
        if self.basis == "class_pca":
            return of_rows(rows, principal(rows, self.r), own=True)
        return of_rows(rows, self._directions(of, around))

    def _directions(self, tasks: tuple[int, ...], around: Around) -> np.ndarray:
        if self.basis == "dct":
            return cosines(self.first.x.shape[1:], self.r)
        if self.basis == "coordinates":
            return coordinates(vectors(self.first.x[:1]).shape[2], self.r)
        if tasks not in self._bases:
            self._bases[tasks] = principal(vectors(self._real(tasks, around).x), self.r)
        return self._bases[tasks]

    def _real(self, tasks: tuple[int, ...], around: Around) -> Samples:
        """The real rows that arrived at these tasks."""
        return concat([around.real_of(j) if j else self.first for j in tasks])

    def bytes_per_class(
        self, kept: list[Moments], labels: np.ndarray | None, of_rest: Across = "left"
    ) -> float:
        """Of what stands for the real data, each number as a float32; of replicates one counts."""
        numbers = sum(each.numbers(of_rest) for each in kept)
        if self.basis not in NEEDLESS:
            bases = {id(each.basis): each.basis[0].size for each in kept}
            numbers += sum(bases.values())
        return FLOAT * numbers / (1 if labels is None else len(np.unique(labels)))


def _groups(
    labels: np.ndarray | None, n: int, task_of: Mapping[int, int] | None, per_class: bool
) -> Iterator[tuple[Group, np.ndarray]]:
    """Each group of a draw, and its rows."""
    if labels is None:
        tasks = {0} if task_of is None else {*task_of.values()}
        yield Group(tuple(sorted(tasks))), np.arange(n)
        return
    classes = np.unique(labels).tolist()
    task = dict.fromkeys(classes, 0) if task_of is None else task_of
    if per_class:
        for k in classes:
            yield Group((task[k],), k), np.flatnonzero(labels == k)
        return
    tasks_of_rows = np.array([task[k] for k in labels.tolist()])
    for j in np.unique(tasks_of_rows).tolist():
        yield Group((j,)), np.flatnonzero(tasks_of_rows == j)
