"""The threshold from a grid: isotonic and logistic curves of P(collapse | fraction), interpolated
means, and their intervals.

Cells of one seed share their founder and their noise, so seeds are what is resampled: whole rows of
y [seeds, fractions].  The percentiles are widened for few seeds (Hesterberg 2015, "expanded
                       percentile": as t with S - 1 degrees instead of normal).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.stats import norm, t

from analysis.threshold.estimate import Outcome

RESAMPLES = 1000
FINE = 401  # points that a cubic is read at
Curve = Callable[
    [np.ndarray, np.ndarray], np.ndarray
]  # fractions [f], means [resamples, f] -> crossings [resamples]


@dataclass(frozen=True)
class Crossing:
    """Where a curve estimated on a grid crosses; ends are None where the grid ends first."""

    estimate: float | None
    low: float | None
    high: float | None
    seeds: int
    se: float  # of the estimate over resampled seeds
    words: str  # "bracketed", "not bracketed: ...", "not monotone: ..."


def table(outcomes: Sequence[Outcome]) -> tuple[np.ndarray, np.ndarray]:
    """Fractions [f] and y [seeds, f] of the seeds that have every fraction; raises ValueError where
    there are not two.
    """
    fractions = sorted({o.fraction for o in outcomes})
    known = {(o.seed, o.fraction): o.y for o in outcomes if not math.isnan(o.y)}
    curves = {}  # of the seeds that have every fraction
    for seed in sorted({o.seed for o in outcomes}):
        curve = [known.get((seed, x)) for x in fractions]
        if None not in curve:
            curves[seed] = curve
    if len(curves) < 2 or len(fractions) < 2:
        raise ValueError(
            "a grid's interval resamples seeds that have every fraction: it needs 2 of them "
            f"and 2 fractions, got {len(curves)} "
            f"and {len(fractions)}; run more seeds"
        )
    return np.array(fractions), np.array(list(curves.values()))


def interpolated(
    fractions: np.ndarray, y: np.ndarray, level: float, *, confidence: float = 0.9, seed: int = 0
) -> Crossing:
    """Crossing of the isotonic means of y [seeds, f]; a monotone cubic between grid points, which
    halves the bias of straight lines where the curve bends (and so keeps the interval's promise
    when there are many seeds).
    """
    fine = np.linspace(fractions[0], fractions[-1], FINE)
    return _resampled(
        fractions,
        y,
        lambda x, mean: _crossing(fine, _cubic(x, isotonic(mean), fine), level),
        level,
        confidence,
        seed,
    )


def by_verdict(
    fractions: np.ndarray, collapsed: np.ndarray, *, confidence: float = 0.9, seed: int = 0
) -> Crossing:
    """Crossing of 1/2 by the isotonic P(collapse | fraction); collapsed [seeds, f] of 0 and 1.

    Verdicts say nothing between two grid points, so the interval ends on grid points: the whole gap
    belongs to it.
    """
    x, p = fractions, np.asarray(collapsed, float)
    crossing = _resampled(
        x, p, lambda x, mean: _crossing(x, isotonic(mean), 0.5), 0.5, confidence, seed
    )
    below = None if crossing.low is None else float(x[x <= crossing.low][-1])
    above = None if crossing.high is None else float(x[x >= crossing.high][0])
    return Crossing(crossing.estimate, below, above, crossing.seeds, crossing.se, crossing.words)


def by_logistic(
    fractions: np.ndarray, collapsed: np.ndarray, *, confidence: float = 0.9, seed: int = 0
) -> Crossing:
    """Crossing of 1/2 by a logistic curve."""
    p = np.asarray(collapsed, float)
    return _resampled(
        fractions, p, lambda x, mean: _logistic_half(x, mean, len(p)), 0.5, confidence, seed
    )


def seeds_needed(
    fractions: np.ndarray, y: np.ndarray, level: float, width: float, *, confidence: float = 0.9
) -> int | None:
    """Seeds per fraction for an interval of this width, from the spread over the seeds there are;
    None while not bracketed.
    """
    now = interpolated(fractions, y, level, confidence=confidence)
    if now.low is None or now.high is None:
        return None
    per_seed = now.se * math.sqrt(now.seeds)
    enough = (
        s
        for s in range(2, 100_000)
        if 2 * t.isf((1 - confidence) / 2, s - 1) * per_seed / math.sqrt(s) <= width
    )
    return next(enough, None)


# ---- curves ----


def isotonic(means: np.ndarray) -> np.ndarray:
    """The nearest rising curves to means [resamples, f]: max over beginnings of min over ends of
    the averages between them.
    """
    f = means.shape[1]
    sums = np.concatenate([np.zeros((len(means), 1)), np.cumsum(means, 1)], 1)
    first, last = np.arange(f)[:, None], np.arange(f)
    averages = (sums[:, None, 1:] - sums[:, :-1, None]) / np.maximum(
        last - first + 1, 1
    )  # [resamples, first, last]
    fitted = np.empty_like(means)
    for j in range(f):
        fitted[:, j] = averages[:, : j + 1, j:].min(2).max(1)
    return fitted


def _cubic(x: np.ndarray, rising: np.ndarray, fine: np.ndarray) -> np.ndarray:
    """Fritsch-Carlson: monotone where the points are."""
    return np.asarray(PchipInterpolator(x, rising, axis=1)(fine))


def _crossing(x: np.ndarray, rising: np.ndarray, level: float) -> np.ndarray:
    """Where rising curves [resamples, f] reach the level: -inf before the grid, inf after it, the
    middle of a flat piece.
    """
    values: np.ndarray = (
        _reach(x, rising, level, right=False) + _reach(x, rising, level, right=True)
    ) / 2
    return values


def _reach(x: np.ndarray, rising: np.ndarray, level: float, *, right: bool) -> np.ndarray:
    above = rising > level if right else rising >= level
    i = np.where(above.any(1), above.argmax(1), len(x))
    j = np.clip(i, 1, len(x) - 1)
    rows = np.arange(len(rising))
    a, b = rising[rows, j - 1], rising[rows, j]
    share = np.divide(level - a, b - a, out=np.zeros_like(a), where=b > a)
    inside = x[j - 1] + share * (x[j] - x[j - 1])
    return np.where(i == 0, -np.inf, np.where(i == len(x), np.inf, inside))


def _logistic_half(x: np.ndarray, p: np.ndarray, seeds: int, rounds: int = 30) -> np.ndarray:
    """Where logit P = a + b x is 0, by Newton, for all resamples at once.  A weak prior on a and b
    (sd 10 on an axis of length 1, centred) keeps the slope finite where the verdicts part without
    overlap.
    """
    z = (x - x.mean()) / (x[-1] - x[0])
    basis = np.stack([np.ones_like(z), z], 1)  # [f, 2]
    w = np.zeros((len(p), 2))
    for _ in range(rounds):
        fitted = 1 / (1 + np.exp(-np.clip(w @ basis.T, -30, 30)))
        gradient = seeds * (p - fitted) @ basis - w / 100
        hessian = (
            np.einsum("rf,fi,fj->rij", seeds * fitted * (1 - fitted), basis, basis)
            + np.eye(2) / 100
        )
        w = w + np.clip(np.linalg.solve(hessian, gradient[..., None])[..., 0], -4, 4)
    rising = w[:, 1] > 1e-9
    half = np.divide(-w[:, 0], w[:, 1], out=np.zeros(len(w)), where=rising)
    root = x.mean() + half * (x[-1] - x[0])
    root = np.where(root > x[-1], np.inf, np.where(root < x[0], -np.inf, root))
    return np.where(rising, root, np.where(w[:, 0] > 0, -np.inf, np.inf))


# ---- resampling seeds ----


def _resampled(
    x: np.ndarray, y: np.ndarray, curve: Curve, level: float, confidence: float, seed: int
) -> Crossing:
    seeds = len(y)
    rows = np.random.default_rng(seed).integers(seeds, size=(RESAMPLES, seeds))
    means = y[rows].mean(1)  # [resamples, f]
    all_of_them = y.mean(0, keepdims=True)
    estimate, drawn = float(curve(x, all_of_them)[0]), curve(x, means)
    tail = float(norm.sf(math.sqrt(seeds / (seeds - 1)) * t.isf((1 - confidence) / 2, seeds - 1)))
    low = float(np.quantile(drawn, tail, method="lower"))  # infinite values allow no averages
    high = float(np.quantile(drawn, 1 - tail, method="higher"))
    inside = drawn[np.isfinite(drawn)]
    se = float(inside.std() * math.sqrt(seeds / (seeds - 1))) if len(inside) else math.nan
    ends = [v if math.isfinite(v) else None for v in (estimate, low, high)]
    return Crossing(ends[0], ends[1], ends[2], seeds, se, _words(x, means, level, ends, estimate))


def _words(
    x: np.ndarray, means: np.ndarray, level: float, ends: list[float | None], estimate: float
) -> str:
    if (back := _comes_back(x, means, level)) is not None:
        return f"not monotone: above the level at {back[0]:g}, below it at {back[1]:g}"
    if None not in ends:
        return "bracketed"
    if math.isinf(estimate):
        return (
            f"not bracketed: no collapse up to {x[-1]:g}"
            if estimate > 0
            else f"not bracketed: collapse from {x[0]:g} on"
        )
    return f"not bracketed: the interval leaves [{x[0]:g}, {x[-1]:g}]"


def _comes_back(x: np.ndarray, means: np.ndarray, level: float) -> tuple[float, float] | None:
    """A pair of fractions with the level passed at the lower and not at the higher one, in (nearly)
    all resamples.
    """
    for i in range(len(x)):
        for j in range(i + 1, len(x)):
            if np.mean((means[:, i] > level) & (means[:, j] < level)) > 1 - 0.05 / len(x):
                return float(x[i]), float(x[j])
    return None
