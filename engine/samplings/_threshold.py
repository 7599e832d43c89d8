"""Yi's verifier of a linear model (2510.16657): it believes that the true weights lie in a ball
about a knowledge centre.

theta_c = theta* + delta * u          u = direction of default_rng(777).normal(size=d); delta is the
                                      verifier's bias
a pair (x, y) passes iff |y - x'theta_c| <= radius * |x| + slack                    slack =
sqrt(2/pi) * noise in the paper
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np

from engine.knowledge import TrueWeights
from engine.parts import Dataset, Draw, Generator
from engine.samples import Samples
from engine.samplings._quota import Ledger

DIRECTION_SEED = 777  # Yi's


@dataclass(frozen=True, eq=False)
class Knowledge:
    centre: np.ndarray  # theta_c [replicates, d]
    radius: float
    slack: float

    def accepts(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Which pairs x [m, replicates, d], y [m, replicates] pass."""
        reach = self.radius * np.sqrt(np.einsum("mrd,mrd->mr", x, x)) + self.slack
        values: np.ndarray = np.abs(y - np.einsum("mrd,rd->mr", x, self.centre)) <= reach
        return values


def knowledge(dataset: Dataset, *, delta: float, radius: float, slack: float | None) -> Knowledge:
    known = cast(TrueWeights, dataset)
    truth, noise = known.weights_, known.noise
    direction = np.random.default_rng(DIRECTION_SEED).normal(size=truth.shape[1])
    centre = truth + delta * direction / np.linalg.norm(direction)  # [replicates, d]
    return Knowledge(centre, radius, np.sqrt(2 / np.pi) * noise if slack is None else slack)


def right_singular_vectors(x: np.ndarray) -> np.ndarray:
    """Of each replicate's design x [n, replicates, d]: [min(n, d), replicates, d]."""
    vectors = np.linalg.svd(np.moveaxis(x, 0, 1), full_matrices=False)[
        2
    ]  # [replicates, min(n, d), d]
    return np.moveaxis(vectors, 1, 0)


def fill_design(
    generator: Generator,
    design: np.ndarray,
    verifier: Knowledge,
    rng: np.random.Generator,
    *,
    attempts: int,
    batch: int,
) -> Draw:
    """One accepted pair for each covariate of the design [n, replicates, d].

    Rejection at each place by itself, so exactly the model's law cut off at the verifier's limits.
    A generator with fresh covariates of its own keeps those.
    """
    x, y, waiting = design, np.zeros(design.shape[:2]), np.ones(design.shape[:2], dtype=bool)
    across, ledger = np.arange(design.shape[1]), Ledger(attempts)
    while waiting.any():
        index, meant = _candidates(waiting, ledger.share, batch)  # [m, replicates]
        covariates = design[index, across]  # [m, replicates, d]
        drawn = generator.sample(len(covariates), rng, labels=covariates)
        assert drawn.y is not None, "a generator of regression pairs gave no responses"
        accepted = verifier.accepts(drawn.x, drawn.y) & meant
        row, replicate = np.nonzero(accepted)
        place = index[
            row, replicate
        ]  # of several accepted ones the last stays, which is as good as any
        y[place, replicate], waiting[place, replicate] = drawn.y[row, replicate], False
        if drawn.x is not covariates:
            x = x.copy() if x is design else x
            x[place, replicate] = drawn.x[row, replicate]
        ledger.note(int(meant.sum()), len(row))
    return Draw(Samples(x, y), {"acceptance": ledger.kept / ledger.tried})


def _candidates(waiting: np.ndarray, share: float, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Waiting places [m, replicates] to try next, several times each where few pass; and which of
    them are meant.

    The candidates are a rectangle although replicates wait for unequally many.
    """
    count = waiting.sum(0)  # [replicates]
    order = np.argsort(~waiting, axis=0, kind="stable")[
        : count.max()
    ]  # the waiting places of a replicate first
    times = max(1, min(int(np.ceil(1 / share)), batch // len(order)))
    turn = np.arange(len(order) * times)[:, None]  # [m, 1]
    index = order[turn % np.maximum(count, 1), np.arange(waiting.shape[1])]
    return index, turn < count * times
