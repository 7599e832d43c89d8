"""Where collapse begins along the synthetic fraction, with an interval, and which lineages to run
next; pure.

An outcome is one lineage's collapse functional y (higher is worse, such as log(metric / its start))
at a fraction, of a seed; collapse begins where E y rises through a level.  The estimate is a level
set of a Gaussian process (levelset.py), for lineages that a search chose and for a grid alike;
grid.py has the estimates that need a grid.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from analysis.threshold import levelset
from engine.outcome.answer import Likely, Verdict
from engine.settings import Threshold

LEAST = 4  # finite outcomes at two fractions or more, before anything is estimated
DRAWS = 512


@dataclass(frozen=True)
class Outcome:
    """One lineage: y is NaN where it has no value, +inf where it ended in an absorbing state."""

    fraction: float
    seed: int
    y: float


@dataclass(frozen=True)
class Estimate:
    """Where collapse begins.

    An end of the interval is None where the axis ends first: not bracketed on that side.
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
    never: float = 0.0  # posterior probability that the level is not reached on this axis
    always: float = 0.0  # ... that it is passed at its beginning already

    @property
    def width(self) -> float:
        """Of the interval; infinite where it is open."""
        return math.inf if self.low is None or self.high is None else self.high - self.low

    @property
    def likely(self) -> Likely:
        """What is more likely than not all along the axis."""
        if self.verdict in ("never", "always"):
            return "safe" if self.verdict == "never" else "collapse"
        if self.verdict == "open" and max(self.never, self.always) >= 0.5:
            return "safe" if self.never >= 0.5 else "collapse"
        return "none"

    @property
    def words(self) -> str:
        """The answer as a sentence's end, with its interval."""
        low, high = self.axis
        if self.verdict == "too few":
            return f"not known yet ({self.lineages} lineages)"
        if self.verdict == "never":
            return f"not bracketed: no collapse up to {high:g}"
        if self.verdict == "always":
            return f"not bracketed: collapse from {low:g} on"
        if self.verdict == "not monotone":
            return "not monotone: the level is passed more than once"
        # the curve more likely stays below the level: an estimate at the end would claim a crossing
        if self.never >= 0.5:
            first = "anywhere" if self.low is None else f"at {self.low:.2f} or later"
            return f"not bracketed: most likely no collapse up to {high:g} (if it begins, {first})"
        if self.always >= 0.5:
            last = "anywhere" if self.high is None else f"at {self.high:.2f} at the latest"
            return (
                f"not bracketed: collapse most likely from {low:g} on (if it begins later, {last})"
            )
        ends = (
            "below " * (self.low is None) + f"{low if self.low is None else self.low:.2f}",
            f"{self.high or high:.2f}",
        )
        past = " or later" if self.high is None else ""
        return (
            f"collapse begins at a synthetic fraction of {self.estimate:.2f} [{ends[0]}, "
            f"{ends[1]}{past}]"
        )


# ---- the estimate ----


def estimate(
    outcomes: Sequence[Outcome],
    level: float,
    *,
    axis: tuple[float, float] = (0.0, 1.0),
    confidence: float = 0.9,
) -> Estimate:
    """The threshold from any outcomes, a search's or a grid's; their order does not matter."""
    return judged(
        outcomes, draws_of(outcomes, level, axis), axis=axis, confidence=confidence, level=level
    )


def draws_of(
    outcomes: Sequence[Outcome], level: float, axis: tuple[float, float]
) -> levelset.Posterior | None:
    """Posterior of curve and crossing; None with too few outcomes."""
    known = sorted(
        (o for o in outcomes if not math.isnan(o.y)), key=lambda o: (o.fraction, o.seed, o.y)
    )
    if len(known) < LEAST or len({o.fraction for o in known}) < 2:
        return None
    x, seeds = np.array([o.fraction for o in known]), np.array([o.seed for o in known])
    y = finite(np.array([o.y for o in known]), level)
    return levelset.posterior(
        x, seeds, y, level, axis=axis, rng=np.random.default_rng(len(known)), draws=DRAWS
    )


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
    known = [o for o in outcomes if not math.isnan(o.y)]
    absorbed, seeds = sum(math.isinf(o.y) for o in known), len({o.seed for o in known})
    empty = Estimate(
        "too few",
        None,
        None,
        None,
        confidence,
        axis,
        len(known),
        seeds,
        absorbed,
        len(outcomes) - len(known),
    )
    if found is None:
        return empty
    tail, c = (1 - confidence) / 2, found.crossings
    never, always = float(np.mean(c >= axis[1])), float(np.mean(c <= axis[0]))
    middle, low, high = (float(np.quantile(c, q)) for q in (0.5, tail, 1 - tail))
    answer = replace(empty, verdict="open", estimate=middle, never=never, always=always)
    answer = replace(
        answer, low=low if always <= tail else None, high=high if never <= tail else None
    )
    if _again_below(found, level) > confidence:
        return replace(answer, verdict="not monotone")
    if max(never, always) >= 1 - tail:
        return replace(
            answer,
            verdict="never" if never > always else "always",
            estimate=None,
            low=None,
            high=None,
        )
    if max(never, always) >= 0.5:  # more likely than not there is no crossing here to estimate
        return replace(answer, estimate=None)
    return replace(answer, verdict="bracketed") if answer.width < math.inf else answer


def _again_below(found: levelset.Posterior, level: float) -> float:
    """Probability that the curve passes the level and comes back clearly: by as much as it went
    above, on both sides of it.
    """
    above = found.curves - level  # [draws, nodes]
    highest = np.maximum.accumulate(above, 1)
    fall = np.minimum(highest, -above).max(1)  # how far above before, and below after
    return float(np.mean(fall > 0.1 * np.std(found.mean) + 1e-12))


# ---- the next lineages ----


def begin(design: Threshold) -> list[tuple[float, int]]:
    """(fraction, seed) of the first lineages: spread over the axis, each of a seed of its own as
    long as there are seeds.
    """
    low, high = design.ends
    taken: list[tuple[float, int]] = []
    for share in design.first[: design.budget]:
        fraction = on_lattice(min(max(share, low), high), design)
        if (seed := seed_for(fraction, taken, design)) is not None:
            taken.append((fraction, seed))
    return taken


def propose(
    found: levelset.Posterior | None, taken: Sequence[tuple[float, int]], design: Threshold
) -> tuple[float, int] | None:
    """The next (fraction, seed): what is left of the start; then where a curve drawn from the
    posterior crosses (Thompson), so those proposed together differ as much as the answer is
    uncertain.  None when no seed is left.

    The seed is the first one not used here: cells of other policies take the same seeds in the same
    order, so their contrasts are paired and founders shared, while in one cell each lineage brings
    noise of its own.
    """
    rng = np.random.default_rng([len(taken), 3])
    low, high = design.ends
    drawn = rng.choice(found.crossings, 32) if found is not None else rng.uniform(low, high, 32)
    left = Counter(b for b, _ in begin(design)) - Counter(b for b, _ in taken)
    if left:
        drawn = np.array([b for b, _ in begin(design) if b in left])
    for x in drawn:
        fraction = on_lattice(float(x), design)
        if (seed := seed_for(fraction, taken, design)) is not None:
            return fraction, seed
    return None


def on_lattice(fraction: float, design: Threshold) -> float:
    """The nearest multiple of the step inside the axis: fractions that round to the same rows would
    repeat a lineage.
    """
    low, high = design.ends
    steps = round((fraction - low) / design.lattice)
    return float(min(max(round(low + steps * design.lattice, 6), low), high))


def seed_for(fraction: float, taken: Sequence[tuple[float, int]], design: Threshold) -> int | None:
    """The seed used least so far, of those not yet at this fraction; None when all are."""
    uses, here = Counter(seed for _, seed in taken), {seed for x, seed in taken if x == fraction}
    there = range(design.seeds if design.seeds is not None else len(taken) + 1)
    return min((s for s in there if s not in here), key=lambda s: (uses[s], s), default=None)


def settled(answer: Estimate, design: Threshold) -> Literal["sure", "narrow", ""]:
    """Why more lineages would not change the answer: the axis ends first for sure, or the interval
    is narrow enough.
    """
    if answer.verdict in ("never", "always") and answer.lineages >= len(design.first) + 4:
        return "sure"
    narrow = (
        answer.verdict == "bracketed"
        and answer.width <= design.width
        and answer.lineages >= len(design.first)
    )
    return "narrow" if narrow else ""


def finished(answer: Estimate, running: int, run: int, design: Threshold) -> bool:
    """Whether to start no more: the answer is settled, or the budget is spent."""
    return settled(answer, design) != "" or run + running >= design.budget
