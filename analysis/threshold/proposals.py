"""Which lineages a search runs next, and when it has enough; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np

from analysis.threshold import levelset
from analysis.threshold.estimate import Estimate
from engine.settings import Threshold

NEAR = 6  # lineages near the crossing before a narrow interval is believed
SETTLED = 4  # lineages beyond the first before it is believed that there is no crossing


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


def settled(answer: Estimate, design: Threshold) -> Literal["no crossing", "narrow", ""]:
    """Why more lineages would not change the answer: there is no crossing on the axis, or the
    interval is narrow and lineages lie in and about it.

    An interval that reaches past the axis is as wide as the axis goes: were it asked for more,
    searches would end where they err to the inside, and go on where to the outside.
    """
    if answer.verdict in ("never", "always") and answer.lineages >= len(design.first) + SETTLED:
        return "no crossing"
    if answer.verdict not in ("bracketed", "open") or answer.estimate is None:
        return ""
    margin, (low, high) = design.width / 2, answer.ends
    near = sum(low - margin <= x <= high + margin for x in answer.fractions)
    narrow = answer.width <= design.width and answer.lineages >= len(design.first)
    return "narrow" if narrow and near >= NEAR else ""


def finished(answer: Estimate, running: int, run: int, design: Threshold) -> bool:
    """Whether to start no more: the answer is settled, or the budget is spent."""
    return settled(answer, design) != "" or run + running >= design.budget
