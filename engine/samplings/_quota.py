"""Filling a synthetic set with the samples that a verifier lets pass, until every class and every
replicate is exactly full.

What cannot be filled is a finding, not a hang: a verifier that lets pass fewer than one in
`attempts` candidates for the places that are still empty ends the lineage.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from engine.parts import Draw, Finding
from engine.samples import Samples

Verdict = tuple[
    np.ndarray, dict[str, np.ndarray]
]  # keep [m] or [m, replicates] bool; figures of all candidates, same shape


class Drawable(Protocol):
    """A model, or what draws from one in a way of its own."""

    def sample(self, n: int, rng: np.random.Generator, labels: np.ndarray | None = None) -> Samples:
        """n candidates."""
        ...


Judge = Callable[[Samples, np.random.Generator], Verdict]


@dataclass
class Ledger:
    """How many candidates for empty places were tried and kept, in all and lately."""

    attempts: int  # candidates per kept sample beyond which the quota counts as unfilled
    share: float = 1.0  # kept lately: how many candidates the next ones will cost
    tried: int = 0
    kept: int = 0
    _lately: list[int] = field(default_factory=lambda: [0, 0])

    def note(self, tried: int, kept: int) -> None:
        """Raises Finding once 10 * attempts candidates in a row have shown that too few pass."""
        self.tried, self.kept = self.tried + tried, self.kept + kept
        self._lately = [self._lately[0] + tried, self._lately[1] + kept]
        self.share = max(self._lately[1] / self._lately[0], 1 / self.attempts)
        if self._lately[0] < 10 * self.attempts:
            return
        if self._lately[1] * self.attempts < self._lately[0]:
            raise self._unfilled()
        self._lately = [0, 0]

    def _unfilled(self) -> Finding:
        tried, kept = self._lately
        reason = (
            f"of the last {tried} samples drawn for empty places the verifier kept {kept}, "
            f"fewer than 1 in {self.attempts}"
        )
        return Finding("quota_unfilled", f"{reason} (in all {self.kept} of {self.tried})")


class Places:
    """n places with the labels wanted there; candidates take the next free place of their class,
    replicate by replicate.
    """

    def __init__(self, n: int, labels: np.ndarray | None) -> None:
        self.labels = np.zeros(n, dtype=np.int64) if labels is None else labels
        self.of_class = {
            k: np.flatnonzero(self.labels == k) for k in np.unique(self.labels).tolist()
        }
        self.filled = {k: np.zeros(1, dtype=np.int64) for k in self.of_class}  # [replicates]
        self.x: np.ndarray | None = None  # [n, replicates, ...]
        self.beside: dict[str, np.ndarray] = {}  # what stands beside rows, where replicates is 1

    def missing(self) -> dict[int, int]:
        """Empty places of each class that is not full, in the emptiest replicate."""
        short = {k: len(places) - int(self.filled[k].min()) for k, places in self.of_class.items()}
        return {k: m for k, m in short.items() if m}

    def offer(
        self,
        x: np.ndarray,
        labels: np.ndarray,
        keep: np.ndarray,
        beside: Mapping[str, np.ndarray],
    ) -> tuple[int, int]:
        """Of candidates x [m, replicates, ...] those kept [m, replicates] take places; (tried,
        kept) where some were free.
        """
        for name, own in beside.items():
            shape = (len(self.labels), *own.shape[1:])
            self.beside.setdefault(name, np.zeros(shape, dtype=own.dtype))
        if self.x is None:
            self.x = np.zeros((len(self.labels), *x.shape[1:]), dtype=x.dtype)
            self.filled = {k: np.zeros(keep.shape[1], dtype=np.int64) for k in self.of_class}
        tried = kept = 0
        for k in np.unique(labels).tolist():
            rows, places, filled = np.flatnonzero(labels == k), self.of_class[k], self.filled[k]
            place = filled + np.cumsum(keep[rows], axis=0) - 1  # [m_k, replicates]
            row, replicate = np.nonzero(keep[rows] & (place < len(places)))
            self.x[places[place[row, replicate]], replicate] = x[rows[row], replicate]
            for name, own in beside.items():
                self.beside[name][places[place[row, replicate]]] = own[rows[row]]
            free = filled < len(places)  # [replicates]
            tried, kept = tried + len(rows) * int(free.sum()), kept + int(keep[rows][:, free].sum())
            self.filled[k] = np.minimum(filled + keep[rows].sum(0), len(places))
        return tried, kept


@dataclass(frozen=True)
class Quota:
    """n samples with the classes of labels [n], in batches of about `batch` candidates of which
    `expected` should pass.
    """

    n: int
    labels: np.ndarray | None
    expected: float
    attempts: int
    batch: int

    def fill(self, generator: Drawable, judge: Judge, rng: np.random.Generator) -> Draw:
        """Samples that the judge keeps; reports acceptance and the judge's figures over all and
        over kept candidates.
        """
        places, ledger = Places(self.n, self.labels), Ledger(self.attempts, share=self.expected)
        sums: dict[str, float] = {}
        candidates = passed = 0
        while missing := places.missing():
            wanted = _labels_of(missing, ledger.share, self.batch)
            drawn = generator.sample(
                len(wanted), rng, labels=None if self.labels is None else wanted
            )
            keep, figures = judge(drawn, rng)
            candidates, passed = candidates + keep.size, passed + int(keep.sum())
            for name, values in figures.items():
                sums[name] = sums.get(name, 0.0) + float(values.sum())
                sums[f"{name}/kept"] = sums.get(f"{name}/kept", 0.0) + float(values[keep].sum())
            across = keep.ndim == 2
            ledger.note(
                *places.offer(
                    drawn.x if across else drawn.x[:, None],
                    wanted,
                    keep if across else keep[:, None],
                    drawn.beside,
                )
            )
        assert places.x is not None
        figures_mean = {
            name: total / (passed if name.endswith("/kept") else candidates)
            for name, total in sums.items()
        }
        x = places.x if across else places.x[:, 0]
        samples = Samples(x, None if drawn.y is None else self.labels, beside=places.beside)
        return Draw(samples, {"acceptance": passed / candidates, **figures_mean})


def _labels_of(missing: dict[int, int], share: float, batch: int) -> np.ndarray:
    """Labels [m] of the next candidates: as many of each class as should fill it, at most about
    `batch` in all.
    """
    wanted = {k: m / share for k, m in missing.items()}
    part = min(1.0, batch / sum(wanted.values()))
    return np.repeat(list(wanted), [int(np.ceil(w * part)) for w in wanted.values()])
