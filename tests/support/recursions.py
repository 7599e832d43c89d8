"""Solvable cases for the interval of a threshold: curves with a known crossing, a seed's effect and
a lineage's own noise, as the level set models them and as it does not.

y(x) - level = curve(x) + seed_sd u(seed) + own_sd(x) e: u normal and shared by all fractions of a
seed, e normal or heavy-tailed (Student, 3 degrees, scaled to variance 1).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

Curve = Callable[[float], float]
FINE = 2001  # points that a sign change is looked for at


@dataclass(frozen=True)
class Case:
    """curve: the median of y minus the level at a fraction; own, grows: the noise of a lineage is
    own (1 + grows x); seeds: how many there are, None: one for every lineage.
    """

    name: str
    curve: Curve
    own: float
    seed_sd: float = 0.0
    grows: float = 0.0
    heavy: bool = False
    seeds: int | None = None

    def y(self, fraction: float, seed: int, search: int) -> float:
        """A lineage's outcome minus the level; the same for the same numbers."""
        shared = np.random.default_rng([17, search, seed]).standard_normal()
        rng = np.random.default_rng([18, search, seed, round(fraction * 1e6)])
        e = rng.standard_t(3) / math.sqrt(3) if self.heavy else rng.standard_normal()
        return self.curve(fraction) + self.seed_sd * shared + self.sd(fraction) * e

    def sd(self, fraction: float) -> float:
        """Of a lineage's own noise."""
        return self.own * (1 + self.grows * fraction)

    @property
    def truth(self) -> float | None:
        """The first fraction at which half of the lineages collapse; None: at none up to 1."""
        return _first(self.curve)

    def safe(self, risk: float) -> float | None:
        """The first fraction at which more than this share of the lineages collapses."""
        return _first(lambda x: self._quantile(x, 1 - risk))

    def _quantile(self, x: float, q: float) -> float:
        """Of y minus the level at a fraction, by 200,000 draws; exact where all noise is normal."""
        own, shared = self.sd(x), self.seed_sd
        if not self.heavy:
            return float(self.curve(x) + norm.ppf(q) * math.hypot(own, shared))
        return float(self.curve(x) + np.quantile(own * _HEAVY + shared * _NORMAL, q))


_RNG = np.random.default_rng(1)
_HEAVY, _NORMAL = _RNG.standard_t(3, 200_000) / math.sqrt(3), _RNG.standard_normal(200_000)


def _first(curve: Curve) -> float | None:
    x = np.linspace(0, 1, FINE)
    y = np.array([curve(float(each)) for each in x])
    if y[0] >= 0:
        return 0.0
    rises = np.flatnonzero((y[:-1] < 0) & (y[1:] >= 0))
    return float(brentq(curve, x[rises[0]], x[rises[0] + 1])) if len(rises) else None


def _flat_then_steep(x: float) -> float:
    return -0.75 + 1.6 * x**12 + 0.1 * x


def _stepped(x: float) -> float:
    return math.tanh((x - 0.6) / 0.06)


def _dips(x: float) -> float:
    return -0.5 + 0.8 * x * x + 0.5 * (x - 0.3) ** 2 - 0.2 * math.sin(2 * math.pi * x)


CASES = (
    Case("linear, middle", lambda x: 2 * (x - 0.5), 0.3),
    Case("linear, strong seeds", lambda x: 2 * (x - 0.5), 0.12, seed_sd=0.35),
    Case("linear, 3 seeds", lambda x: 2 * (x - 0.55), 0.12, seed_sd=0.12, seeds=3),
    Case("flat, then steep", _flat_then_steep, 0.08),
    Case("flat, then steep, 5 seeds", _flat_then_steep, 0.06, seed_sd=0.06, seeds=5),
    Case("upper end", lambda x: 3 * (x - 0.95), 0.2),
    Case("early, concave", lambda x: 1.5 * (math.sqrt(x) - math.sqrt(0.12)), 0.15),
    Case("very early", lambda x: 4 * (x - 0.05), 0.15),
    Case("convex", lambda x: 2 * (x**3 - 0.75**3), 0.15, seed_sd=0.1),
    Case("convex, noise grows", lambda x: 2 * (x**2 - 0.7**2), 0.1, grows=2.0),
    Case("linear, heavy tails", lambda x: 2 * (x - 0.4), 0.3, heavy=True),
    Case("stepped", _stepped, 0.2, seeds=20, seed_sd=0.1),
    Case("dips, then rises", _dips, 0.12),
    Case("none", lambda x: -1 + 0.4 * x, 0.2),
)
