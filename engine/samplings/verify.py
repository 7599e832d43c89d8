"""Verification: of what the model draws, only what a verifier lets pass becomes the synthetic set.

Not curation (`curate`): a verifier judges each sample by itself, or against the batch, and keeps
the real class shares.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from engine.parts import (
    Around,
    Dataset,
    Draw,
    Fraction,
    Generator,
    NonNegativeFloat,
    PartDict,
    PositiveInt,
    traits_of,
)
from engine.registry import make
from engine.samples import Samples
from engine.samplings._in_turn import lessons, prepared
from engine.samplings._quota import Quota, Verdict
from engine.samplings._threshold import fill_design, knowledge, right_singular_vectors


class Verify:
    """The report holds `acceptance`; `reward`, `reward/kept` (top) or `correct`, `correct/kept`
    (imperfect).

    rule      threshold (Yi 2510.16657, linear models): a pair passes where |y - x'theta_c| <=
              radius * |x| + slack, about a knowledge centre theta_c that may be wrong. top (Yi on
              MNIST, XSUM): of each batch of a class the best `share` by a reward, until each class
              is exactly full. imperfect (Feng 2406.07515): a correct sample, whose own label the
              reward likes best, is kept with probability phi, a wrong one with psi.
    radius    of threshold: Yi's r, the verifier's selectivity; smaller ones let pass less.
    delta     of threshold: distance of the knowledge centre from the true weights, the verifier's
              bias.
    slack     of threshold: Yi's sigma_c, in the units of y; None: sqrt(2/pi) times the true noise.
    design    of threshold: the covariates that pairs are drawn at, the singular vectors of the real
              design (block) or its rows (real), in turn.
    share     of top: Yi's q, the share of each batch that is kept, above 0; 1 keeps everything.
    phi       of imperfect: probability of keeping a correct sample.
    psi       of imperfect: probability of keeping a wrong one.
    reward    of top and imperfect: who judges, a reward with its parameters; None: nobody, as
              threshold wants it.
    sampling  of top and imperfect: the sampling whose draws are judged, with its parameters; None:
              plain.
    retrain   of top and imperfect: teach the reward anew with every generation's model; false:
              once, with generation 0's.
    attempts  candidates per kept sample beyond which the quota counts as unfilled, which ends the
              lineage.
    batch     candidates drawn at a time: a matter of memory, and of what top chooses from.
    """

    ACCEPTS = {
        "points": {"rule": ("top", "imperfect")},
        "tokens": {"rule": ("top", "imperfect")},
        "images": {"rule": ("top", "imperfect")},
        "text": {"rule": ("top", "imperfect")},
        "regression": {"rule": ("threshold",)},
    }
    NEEDS = {
        "data.weights": {"rule": ("threshold",)},
        "data.labels": {"rule": ("imperfect",)},
        "draws.labels": {"rule": ("imperfect",)},
    }
    TINY = {"rule": "top", "share": 0.5, "reward": {"name": "true_density"}}
    RECORDS = True

    def __init__(
        self,
        *,
        rule: Literal["threshold", "top", "imperfect"],
        radius: NonNegativeFloat = 0.1,
        delta: NonNegativeFloat = 0.0,
        slack: NonNegativeFloat | None = None,
        design: Literal["block", "real"] = "block",
        share: Fraction = 0.1,
        phi: Fraction = 1.0,
        psi: Fraction = 0.0,
        reward: PartDict | None = None,
        sampling: PartDict | None = None,
        retrain: bool = False,
        attempts: PositiveInt = 1000,
        batch: PositiveInt = 10_000,
    ) -> None:
        self.rule, self.radius, self.delta, self.slack, self.design = (
            rule,
            radius,
            delta,
            slack,
            design,
        )
        self.share, self.phi, self.psi, self.retrain = share, phi, psi, retrain
        self.reward, self.sampling = reward, sampling
        self.attempts, self.batch = attempts, batch
        if rule != "threshold" and reward is None:
            raise ValueError(
                f"verify: rule {rule!r} needs a reward, such as {{name: true_density}} or "
                f"{{name: classifier}}"
            )
        if rule == "threshold" and reward is not None:
            raise ValueError(
                "verify: rule 'threshold' judges by the true weights and takes no reward; leave "
                "it out"
            )
        if rule == "threshold" and sampling is not None:
            raise ValueError(
                "verify: rule 'threshold' draws pairs at its own design and takes no sampling; "
                "leave it out"
            )
        if rule == "top" and share == 0:
            raise ValueError("verify: share must be above 0 (it is the part that is kept)")
        if rule == "imperfect" and phi == psi == 0:
            raise ValueError("verify: phi and psi are both 0, so nothing would ever be kept")

    def prepare(
        self, dataset: Dataset, real: Samples, founder: Generator, rng: np.random.Generator
    ) -> None:
        """Fix the knowledge centre and the design, or teach the reward."""
        if (self.rule == "threshold") != (dataset.GIVES == "regression"):
            raise ValueError(
                f"verify: rule {self.rule!r} does not go with a data set of {dataset.GIVES}: "
                "'threshold' judges regression pairs, the other rules everything else"
            )
        self._dataset = dataset
        if self.rule == "threshold":
            self._verifier = knowledge(
                dataset, delta=self.delta, radius=self.radius, slack=self.slack
            )
            self._directions = right_singular_vectors(real.x)  # [d, replicates, d]
        else:
            assert self.reward is not None
            self._reward: Any = make("reward", **self.reward)
            self._reward.fit(dataset, real, founder, rng)
        self._candidates = prepared(self.sampling, dataset, real, founder, rng)

    def draw(self, generator: Generator, n: int, around: Around, rng: np.random.Generator) -> Draw:
        if self.rule == "threshold":
            design = self._design(n, around.real)
            return fill_design(
                generator, design, self._verifier, rng, attempts=self.attempts, batch=self.batch
            )
        if self.retrain:
            self._reward.fit(self._dataset, lessons(around), generator, rng)
        judge, expected = (
            (self._top, self.share)
            if self.rule == "top"
            else (self._imperfect, max(self.phi, self.psi))
        )
        drawn = self._candidates(generator, around)
        return Quota(n, around.labels, expected, self.attempts, self.batch).fill(drawn, judge, rng)

    def _design(self, n: int, real: Samples) -> np.ndarray:
        """[n, replicates, d]: the singular vectors in turn, n / d of each, or the real rows in
        turn.
        """
        rows = self._directions if self.design == "block" else real.x
        return rows[np.arange(n) % len(rows)]

    def _top(self, batch: Samples, rng: np.random.Generator) -> Verdict:
        """Scores at or above the (1 - share) quantile of the batch's own class and replicate."""
        score = self._reward.score(batch)  # [m] or [m, replicates]
        keep = np.zeros(score.shape, dtype=bool)
        for rows in _rows_by_class(batch):
            keep[rows] = score[rows] >= np.quantile(score[rows], 1 - self.share, axis=0)
        return keep, {"reward": score}

    def _imperfect(self, batch: Samples, rng: np.random.Generator) -> Verdict:
        """Correct: the reward prefers the sample's own label to every other one."""
        correct = self._correct(batch)
        return rng.random(correct.shape) < np.where(correct, self.phi, self.psi), {
            "correct": correct.astype(float)
        }

    def _correct(self, batch: Samples) -> np.ndarray:
        if batch.y is None:
            raise ValueError("verify: rule 'imperfect' judges labels, and these samples have none")
        own = self._reward.score(batch)
        others = [
            self._reward.score(batch.labelled(np.full(len(batch), k)))
            for k in range(traits_of(self._dataset).classes or 0)
        ]
        values: np.ndarray = own >= np.max(others, axis=0)
        return values


def _rows_by_class(batch: Samples) -> list[np.ndarray]:
    if batch.y is None:
        return [np.arange(len(batch))]
    return [np.flatnonzero(batch.y == k) for k in np.unique(batch.y)]
