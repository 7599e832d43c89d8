"""Moment-corrected draws: what a model draws is moved onto the mean and covariance of the real data
in a few fixed directions, by the optimal map between Gaussians.

    z = B x         A = S^-1/2 (S^1/2 C S^1/2)^1/2 S^-1/2         z' = m_k + A (z - m)

B [r, d] directions, m and S mean and covariance (divisor n) of this draw's z of a class, m_k and C
those of its real rows (Knott and Smith 1984).  Across the directions a draw is left as it is, or
scaled about its mean until its variance there is that of the real rows.  The drift of what is kept
is switched off.  Not a sampling bias (`biased`), and not selection (`select`): every draw is kept,
and moved.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from engine.parts import Around, Dataset, Draw, Finding, Generator, NonNegativeInt, PartDict
from engine.registry import make
from engine.samples import Samples
from engine.samplings._moments import (
    GREY,
    ROUNDING,
    Across,
    Memory,
    Moments,
    across,
    vectors,
)


class Correct:
    """Of labelled draws each class by itself; of others the whole set.

    The report holds `bytes_per_class`, the memory that stands for the real data; `moved`, the root
    mean square by which the coordinates of a draw were moved; and of pictures `clipped`, the share
    of pixels that would have left the grey levels.

    basis      the directions: pca, those in which the first real set varies most, with tasks that
               of the earliest task of which a class is drawn; task_pca, those of the real set that
               arrived with the class; class_pca, each class's own; dct, the lowest frequencies of
               the cosine transform of a picture, and coordinates, so many pixels evenly spaced,
               need no memory.
    r          how many directions, all where data have fewer; 0: none, which is the sampling that
               is wrapped.
    across     what lies across the directions: left as it was drawn; scaled to the variance that it
               has in the real data, one more number; or matched, which gives it their mean too, a
               number for every coordinate.
    per_class  moments of every class; false: of all classes that arrived together.
    sampling   the sampling whose draws are corrected, with its parameters; None: plain.
    """

    ACCEPTS = {
        "points": {"basis": ("coordinates", "pca", "task_pca", "class_pca")},
        "images": {},
    }
    DIRECTIONS = ("r", "per_class")
    LABELS = "sampling"
    TINY = {"r": 2}

    def __init__(
        self,
        *,
        basis: Literal["coordinates", "dct", "pca", "task_pca", "class_pca"] = "pca",
        r: NonNegativeInt = 16,
        across: Literal["left", "scaled", "matched"] = "scaled",
        per_class: bool = True,
        sampling: PartDict | None = None,
    ) -> None:
        self.basis, self.r, self.across = basis, r, across
        self.per_class, self.sampling = per_class, sampling

    def prepare(
        self, dataset: Dataset, real: Samples, founder: Generator, rng: np.random.Generator
    ) -> None:
        self._inner = make("sampling", **(self.sampling or {"name": "plain"}))
        self._inner.prepare(dataset, real, founder, rng)
        self._memory = Memory(self.basis, self.r, self.per_class, real)

    def draw(self, generator: Generator, n: int, around: Around, rng: np.random.Generator) -> Draw:
        drawn: Draw = self._inner.draw(generator, n, around, rng)
        if not self.r:
            return drawn
        samples = drawn.samples
        if not np.isfinite(samples.x).all():
            raise Finding("diverged", "a draw that was to be corrected is not finite")
        groups = self._memory.of(samples.y, n, around)
        x, moved, clipped = np.array(samples.x), 0.0, 0.0
        for rows, moments in groups:
            before = vectors(x[rows])
            after = corrected(before, moments, self.across)
            moved += float(np.square(after - before).sum())
            if x.ndim == 4:
                grey = np.rint(GREY * after).reshape(x[rows].shape)
                x[rows] = grey.clip(0, GREY)
                clipped += float((grey < 0).sum() + (grey > GREY).sum())
            else:
                x[rows] = after.transpose(1, 0, 2)
        report = {**drawn.report, "moved": float(np.sqrt(moved / x.size))}
        if x.ndim == 4:
            report["clipped"] = clipped / x.size
        kept = [moments for _, moments in groups]
        report["bytes_per_class"] = self._memory.bytes_per_class(kept, samples.y, self.across)
        return Draw(Samples(x, samples.y, samples.born, traits=samples.traits), report)


def corrected(rows: np.ndarray, moments: Moments, of_rest: Across) -> np.ndarray:
    """Rows [replicates, n, d] with these moments in the directions, and across them as asked."""
    centre = rows.mean(1, keepdims=True)
    away = rows - centre
    z, rest = moments.within(away), across(away, moments.basis)
    covariance = z.transpose(0, 2, 1) @ z / z.shape[1]
    wanted = z @ transport(covariance, moments.covariance)
    shift = moments.centre[:, None] - centre
    if of_rest != "matched":
        shift = moments.within(shift) @ moments.basis
    after = rows + shift + (wanted - z) @ moments.basis
    if of_rest != "left" and z.shape[2] < rows.shape[2]:
        drawn = np.square(rest).sum(2).mean(1)
        varies = drawn > ROUNDING * (moments.rest + np.trace(covariance, axis1=1, axis2=2))
        factor = np.sqrt(np.divide(moments.rest, drawn, out=np.ones_like(drawn), where=varies))
        after += (factor[:, None, None] - 1) * rest
    values: np.ndarray = after
    return values


def transport(of: np.ndarray, onto: np.ndarray) -> np.ndarray:
    """The symmetric A with A of A = onto, for covariances [..., r, r]; where `of` is singular, in
    the directions in which it varies.
    """
    values, vectors = np.linalg.eigh(of)
    largest = np.maximum(values[..., -1], np.trace(onto, axis1=-2, axis2=-1))
    varies = values > ROUNDING * largest[..., None]
    root = np.sqrt(np.where(varies, values, 0.0))
    inverse = np.divide(1.0, root, out=np.zeros_like(root), where=varies)
    half, back = _with(root, vectors), _with(inverse, vectors)
    inner, axes = np.linalg.eigh(half @ onto @ half)
    found: np.ndarray = back @ _with(np.sqrt(np.maximum(inner, 0.0)), axes) @ back
    return found


def _with(values: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """The symmetric matrices [..., r, r] with these eigenvalues [..., r] and eigenvectors."""
    found: np.ndarray = (vectors * values[..., None, :]) @ np.swapaxes(vectors, -1, -2)
    return found
