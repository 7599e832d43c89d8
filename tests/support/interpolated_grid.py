"""The estimate that a grid is usually read by, to compare with: isotonic means, a monotone cubic
between them, and an interval of resampled seeds.

Cells of one seed share their founder and their noise, so seeds are what is resampled: whole rows of
y [seeds, fractions].  The percentiles are widened for few seeds (Hesterberg 2015, "expanded
percentile": as t with S - 1 degrees instead of normal).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.stats import norm, t

RESAMPLES = 1000
FINE = 401  # points that a cubic is read at


class Crossing(NamedTuple):
    """Where a curve estimated on a grid crosses; infinite where the grid ends first."""

    estimate: float
    low: float
    high: float


def interpolated(
    fractions: np.ndarray, y: np.ndarray, level: float, *, confidence: float = 0.9, seed: int = 0
) -> Crossing:
    """Crossing of the isotonic means of y [seeds, f]; a monotone cubic between grid points, which
    halves the bias of straight lines where the curve bends (and so keeps the interval's promise
    when there are many seeds).
    """
    seeds = len(y)
    rows = np.random.default_rng(seed).integers(seeds, size=(RESAMPLES, seeds))
    estimate = _crossing(fractions, y.mean(0, keepdims=True), level)[0]
    drawn = _crossing(fractions, y[rows].mean(1), level)
    tail = float(norm.sf(math.sqrt(seeds / (seeds - 1)) * t.isf((1 - confidence) / 2, seeds - 1)))
    low = float(np.quantile(drawn, tail, method="lower"))  # infinite values allow no averages
    high = float(np.quantile(drawn, 1 - tail, method="higher"))
    return Crossing(float(estimate), low, high)


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


def _crossing(fractions: np.ndarray, means: np.ndarray, level: float) -> np.ndarray:
    """Where rising curves through means [resamples, f] reach the level: the middle of a flat
    piece.  Fritsch and Carlson's cubics are monotone where the points are.
    """
    fine = np.linspace(fractions[0], fractions[-1], FINE)
    rising = np.asarray(PchipInterpolator(fractions, isotonic(means), axis=1)(fine))
    first, last = (_reach(fine, rising >= level), _reach(fine, rising > level))
    return np.asarray((first + last) / 2)


def _reach(x: np.ndarray, above: np.ndarray) -> np.ndarray:
    i = np.where(above.any(1), above.argmax(1), len(x))
    inside = x[np.clip(i, 0, len(x) - 1)] - (x[1] - x[0]) / 2
    return np.where(i == 0, -np.inf, np.where(i == len(x), np.inf, inside))
