"""Where collapse begins along the synthetic fraction, with intervals; pure.

An outcome is one lineage's collapse functional y (higher is worse, such as log(metric / its start))
at a fraction, of a seed; it has collapsed where y is above a level.  From the **typical** fraction
on half of the lineages collapse; up to the **safe** one at most a share, the risk.  Both are level
sets of a Gaussian process (levelset.py), for lineages that a search chose (proposals.py) and for a
grid alike.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import binom

from analysis.threshold import levelset
from engine.outcome.answer import Likely, Verdict, along

RISK = 0.1  # share of the lineages that may collapse up to the safe fraction
LEAST = 4  # finite outcomes at two fractions or more, before anything is estimated
DRAWS = 2048
LEAST_SEEDS, DOUBLINGS = 3, 11  # of a grid, that are tried for a width
INSIDE = "no lineage ran inside the typical fraction's interval"
FRACTIONS = 5  # fewer do not tell an even rise from a late one


@dataclass(frozen=True)
class Outcome:
    """One lineage: y is NaN where it has no value (and why), +inf where it ended in an absorbing
    state.
    """

    fraction: float
    seed: int
    y: float
    why: str = ""


@dataclass(frozen=True)
class Safe:
    """The fraction up to which at most a share `risk` of the lineages collapses.

    estimate  None where more do from the axis's beginning on, and where the interval is the whole
      axis: then nothing is known; the axis's end where nowhere more do.
    low, high  its interval; None where it reaches the axis's beginning, or end.
    below, collapsed  how many lineages ran up to low, and how many of these collapsed.
    """

    risk: float
    estimate: float | None
    low: float | None
    high: float | None
    below: int = 0
    collapsed: int = 0

    def words(self, axis: tuple[float, float]) -> str:
        """A part of a sentence."""
        if self.low is None and self.high is None:
            return f"safe fraction not known: it may be anywhere from {axis[0]:g} to {axis[1]:g}"
        if self.estimate is None:
            none = self.high is not None and self.high - axis[0] < 0.005
            last = "" if none else f" (or at most {_number(self.high, axis[1], axis)})"
            return f"no safe fraction{last}: more than {100 * self.risk:g}% do from {axis[0]:g} on"
        ends = (_number(self.low, axis[0], axis), _number(self.high, axis[1], axis))
        interval = f" [{', '.join(ends)}]"
        if self.low is not None and self.low >= axis[1]:
            interval = ""
        safe = _number(self.estimate if self.estimate < axis[1] else None, axis[1], axis)
        return f"safe fraction {safe}{interval}: up to there at most {100 * self.risk:g}% do"

    def counted(self, axis: tuple[float, float]) -> str:
        """What the lineages themselves say of it; '' where none ran that low."""
        if self.low is None or not self.below:
            return ""
        upto = along(self.low, *axis)
        return f"{self.collapsed} of {self.below} lineages up to {upto} collapsed"


@dataclass(frozen=True)
class Estimate:
    """Where collapse begins: the typical fraction, from which half of the lineages collapse, and
    the safe one.

    An end of the interval is None where the axis ends first; the estimate too, where both are.
    axis  where lineages have values: past them nothing is claimed.
    """

    verdict: Verdict
    estimate: float | None
    low: float | None
    high: float | None
    confidence: float
    axis: tuple[float, float]
    lineages: int  # with a value
    seeds: int
    absorbed: int = (
        0  # of the lineages, those that ended in an absorbing state: worse than any number
    )
    undefined: int = 0  # lineages without a value, left out
    why: str = ""  # most of these have none
    never: float = 0.0  # posterior probability that the level is not reached on this axis
    always: float = 0.0  # ... that it is passed at its beginning already
    fractions: tuple[float, ...] = ()  # of the lineages that have a value
    safe: Safe | None = None  # None where there is no answer, or the level is passed twice

    @property
    def ends(self) -> tuple[float, float]:
        """Of the interval, as far as the axis goes."""
        low, high = self.axis
        return (low if self.low is None else self.low, high if self.high is None else self.high)

    @property
    def width(self) -> float:
        """Of the interval, as far as the axis goes."""
        return self.ends[1] - self.ends[0]

    @property
    def anywhere(self) -> bool:
        """Whether the interval is the whole axis: then nothing is known of the crossing."""
        return self.verdict == "open" and self.low is None and self.high is None

    @property
    def likely(self) -> Likely:
        """What is more likely than not all along the axis."""
        if self.verdict in ("never", "always"):
            return "safe" if self.verdict == "never" else "collapse"
        if self.verdict == "open" and max(self.never, self.always) >= 0.5:
            return "safe" if self.never >= 0.5 else "collapse"
        return "none"

    @property
    def because(self) -> str:
        """Why lineages have no value, to follow that they have none; or ''."""
        return f": {self.why}" if self.why else ""

    @property
    def words(self) -> str:
        """The answer as a sentence's end, with its interval."""
        if self.verdict == "no value":
            return f"no answer: none of {self.undefined} lineages has a value{self.because}"
        if self.verdict == "too few":
            without = f", {self.undefined} without a value" if self.undefined else ""
            there = f"{self.lineages} lineage" + "s" * (self.lineages != 1)
            return f"not known yet ({there}{without}{self.because})"
        if self.verdict == "not monotone":
            return "no answer: lineages collapse at some fractions and no longer at higher ones"
        return "; ".join([self._typical, *([self.safe.words(self.axis)] if self.safe else [])])

    @property
    def rests(self) -> list[str]:
        """What one should know beside the words."""
        low, high = self.low, self.high
        inside = low is None or high is None or any(low <= x <= high for x in self.fractions)
        counted = "" if self.safe is None else self.safe.counted(self.axis)
        return [*([] if inside else [INSIDE]), *([counted] if counted else [])]

    @property
    def _typical(self) -> str:
        low, high = self.axis
        likely = "most likely " if self.verdict == "open" else ""
        if self.verdict == "never" or self.never >= 0.5:
            first = (
                ""
                if self.low is None
                else f" (if half do, at {along(self.low, low, high)} or later)"
            )
            return f"{likely}fewer than half of the lineages collapse up to {high:g}{first}"
        if self.verdict == "always" or self.always >= 0.5:
            last = (
                ""
                if self.high is None
                else f" (or from {along(self.high, low, high)} at the latest)"
            )
            return f"{likely}at least half of the lineages collapse from {low:g} on{last}"
        if self.estimate is None:
            return f"typical fraction not known: it may be anywhere from {low:g} to {high:g}"
        first = f"before {low:g}" if self.low is None else along(self.low, low, high)
        last = f"past {high:g}" if self.high is None else along(self.high, low, high)
        half = "from there on half of the lineages collapse"
        return f"typical fraction {along(self.estimate, low, high)} [{first}, {last}]: {half}"


def _number(fraction: float | None, end: float, axis: tuple[float, float]) -> str:
    """None: the axis's end."""
    return f"{end:g}" if fraction is None else along(fraction, *axis)


# ---- the estimate ----


def estimate(
    outcomes: Sequence[Outcome],
    level: float,
    *,
    axis: tuple[float, float] = (0.0, 1.0),
    confidence: float = 0.9,
    risk: float = RISK,
) -> Estimate:
    """The threshold from any outcomes, a search's or a grid's; their order does not matter."""
    found = draws_of(outcomes, level, axis, risk)
    return judged(outcomes, found, axis=axis, confidence=confidence, level=level)


def draws_of(
    outcomes: Sequence[Outcome], level: float, axis: tuple[float, float], risk: float = RISK
) -> levelset.Posterior | None:
    """Posterior of curve and crossing on the axis as far as there are values; None with too few."""
    axis = valued(outcomes, axis)
    known = sorted(
        (o for o in outcomes if not math.isnan(o.y)), key=lambda o: (o.fraction, o.seed, o.y)
    )
    if len(known) < LEAST or len({o.fraction for o in known}) < 2:
        return None
    x, seeds = np.array([o.fraction for o in known]), np.array([o.seed for o in known])
    y = finite(np.array([o.y for o in known]), level)
    return levelset.posterior(
        x, seeds, y, level, axis=axis, risk=risk, rng=np.random.default_rng(0), draws=DRAWS
    )


def valued(outcomes: Sequence[Outcome], axis: tuple[float, float]) -> tuple[float, float]:
    """The axis as far as lineages have values, where past them all that ran have none."""
    known = [o.fraction for o in outcomes if not math.isnan(o.y)]
    gaps = [o.fraction for o in outcomes if math.isnan(o.y)]
    if not known or not gaps:
        return axis
    low, high = min(known), max(known)
    return (low if min(gaps) < low else axis[0], high if max(gaps) > high else axis[1])


def finite(y: np.ndarray, level: float) -> np.ndarray:
    """Absorbed lineages get the worst number seen, at least as far above the level as the best one
    is below it.
    """
    seen = y[np.isfinite(y)]
    worst = (
        max(float(seen.max()), 2 * level - float(seen.min()), level) if len(seen) else level + 1.0
    )
    return np.where(np.isfinite(y), y, worst if worst > level else level + 1.0)


def judged(
    outcomes: Sequence[Outcome],
    found: levelset.Posterior | None,
    *,
    axis: tuple[float, float],
    confidence: float,
    level: float,
) -> Estimate:
    """What the posterior says, in one verdict."""
    axis = valued(outcomes, axis)
    known = [o for o in outcomes if not math.isnan(o.y)]
    reasons = Counter(o.why for o in outcomes if math.isnan(o.y) and o.why)
    absorbed, seeds = sum(math.isinf(o.y) for o in known), len({o.seed for o in known})
    empty = Estimate(
        "no value" if outcomes and not known else "too few",
        None,
        None,
        None,
        confidence,
        axis,
        len(known),
        seeds,
        absorbed,
        len(outcomes) - len(known),
        max(reasons, key=lambda why: reasons[why], default=""),
        fractions=tuple(sorted(o.fraction for o in known)),
    )
    if found is None:
        return empty
    tail = (1 - confidence) / 2
    c = _gap(found.crossings, known, tail)
    never, always = float(np.mean(c >= axis[1])), float(np.mean(c <= axis[0]))
    middle, low, high = (float(np.quantile(c, q)) for q in (0.5, tail, 1 - tail))
    answer = replace(empty, verdict="open", estimate=middle, never=never, always=always)
    answer = replace(answer, low=low if always <= tail else None)
    answer = replace(answer, high=high if never <= tail else None)
    if _again_below(found, level, answer.fractions) > confidence:
        return replace(answer, verdict="not monotone")
    answer = replace(answer, safe=_safe(found, known, axis, tail, level))
    if max(never, always) >= 1 - tail:
        which: Verdict = "never" if never > always else "always"
        return replace(answer, verdict=which, estimate=None, low=None, high=None)
    # more likely than not there is no crossing here to estimate, or it may be anywhere
    if max(never, always) >= 0.5 or answer.anywhere:
        return replace(answer, estimate=None)
    closed = answer.low is not None and answer.high is not None
    return replace(answer, verdict="bracketed") if closed else answer


def _safe(
    found: levelset.Posterior,
    known: Sequence[Outcome],
    axis: tuple[float, float],
    tail: float,
    level: float,
) -> Safe:
    """From the fitted distribution of outcomes; its lower end only where the counted collapses
    agree with it.
    """
    c = _gap(found.risky, known, tail)
    middle, low, high = (float(np.quantile(c, q)) for q in (0.5, tail, 1 - tail))
    ends = (low if low > axis[0] else None, high if high < axis[1] else None)
    safe = Safe(found.risk, middle if middle > axis[0] else None, *ends)
    if ends == (None, None):
        return replace(safe, estimate=None)
    if ends[0] is None:
        return safe
    fractions = sorted({o.fraction for o in known if axis[0] < o.fraction < ends[0]}, reverse=True)
    for lower in [ends[0], *fractions]:
        below = [o for o in known if o.fraction <= lower]
        collapsed = sum(o.y > level for o in below)
        if binom.sf(collapsed - 1, len(below), found.risk) >= tail:
            return replace(safe, low=lower, below=len(below), collapsed=collapsed)
    return replace(safe, low=None, estimate=None if safe.high is None else safe.estimate)


def _gap(crossings: np.ndarray, known: Sequence[Outcome], tail: float) -> np.ndarray:
    """The crossings [draws]; where their interval lies between two fractions of few, or below one
    where all ended in an absorbing state, with as many spread evenly over that gap: nothing tells
    an even rise from a late one there, or from a sudden end.
    """
    low, high = np.quantile(crossings, [tail, 1 - tail])
    fractions = sorted({o.fraction for o in known})
    below, above = [x for x in fractions if x < low], [x for x in fractions if x > high]
    inside = len(below) + len(above) < len(fractions)
    if inside or not below or not above:
        return crossings
    ended = all(math.isinf(o.y) for o in known if o.fraction == above[0])
    if len(fractions) >= FRACTIONS and not ended:
        return crossings
    return np.concatenate([crossings, np.linspace(below[-1], above[0], len(crossings))])


def _again_below(found: levelset.Posterior, level: float, fractions: Sequence[float]) -> float:
    """Probability that the curve passes the level and comes back clearly: by as much as it went
    above, on both sides of it, between fractions that ran (beyond them a curve is free).
    """
    ran = (found.x >= fractions[0] - 1e-9) & (found.x <= fractions[-1] + 1e-9)
    if ran.sum() < 2:
        return 0.0
    above = found.curves[:, ran] - level  # [draws, nodes]
    highest = np.maximum.accumulate(above, 1)
    fall = np.minimum(highest, -above).max(1)  # how far above before, and below after
    return float(np.mean(fall > 0.1 * np.std(found.mean) + 1e-12))


# ---- how many seeds a grid would need ----


def seeds_needed(
    found: levelset.Posterior, fractions: Sequence[float], width: float, confidence: float
) -> int | None:
    """Seeds at each of a grid's fractions for an interval of at most this width, as the posterior
    predicts it; None where no number of them is enough: other fractions are needed.
    """

    grid = [Outcome(x, 0, 0.0) for x in fractions]

    def wide(seeds: int) -> bool:
        rng, tail = np.random.default_rng(0), (1 - confidence) / 2
        drawn = levelset.planned(found, np.array(fractions), seeds, rng=rng)
        low, high = np.quantile(_gap(drawn, grid, tail), [tail, 1 - tail])
        return bool(high - low > width)

    tried = [LEAST_SEEDS << k for k in range(DOUBLINGS)]
    enough = next((seeds for seeds in tried if not wide(seeds)), None)
    if enough is None or enough == LEAST_SEEDS:
        return enough
    tried = list(range(enough // 2 + 1, enough + 1))
    return tried[bisect_left(tried, True, key=lambda seeds: not wide(seeds))]
