"""Curation by K-choice (Ferbach 2407.09499): each kept sample is the winner among K iid draws of
the model.

    P(x_k wins) = e^{r(x_k)} / sum_j e^{r(x_j)}          r = scale * reward

With K -> inf the model is tilted by e^r.  Not verification (`verify`): nothing is judged by itself,
and no draw is wasted for want of quality.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.parts import Around, Dataset, Draw, Finding, Finite, Generator, PartDict, PositiveInt
from engine.registry import make
from engine.samples import Samples
from engine.samplings._in_turn import lessons, prepared


class Curate:
    """A conditional model's K candidates share one label, so class shares stay the real ones;
    otherwise they may drift.

    The report holds the mean scaled reward of all candidates (`reward`) and of the winners
    (`reward/kept`).

    reward   by whose taste: a reward with its parameters.
    k        candidates per kept sample; 1 is plain sampling, more choose more strongly.
    scale    factor of the reward, the inverse temperature of the choice: 0 chooses at random, below
             0 the worst is liked.
    sampling  the sampling whose draws are candidates, with its parameters; None: plain. The K of
             one choice go on from the same real text, where it gives any.
    retrain  teach the reward anew with every generation's model; false: once, with generation 0's.
    batch    candidates drawn at a time: a matter of memory.
    """

    ACCEPTS = ("points", "tokens", "images", "text")
    TINY = {"k": 2, "reward": {"name": "true_density"}}
    RECORDS = True

    def __init__(
        self,
        *,
        reward: PartDict,
        k: PositiveInt = 4,
        scale: Finite = 1.0,
        sampling: PartDict | None = None,
        retrain: bool = False,
        batch: PositiveInt = 10_000,
    ) -> None:
        self.reward, self.k, self.scale, self.retrain, self.batch = reward, k, scale, retrain, batch
        self.sampling = sampling

    def prepare(
        self, dataset: Dataset, real: Samples, founder: Generator, rng: np.random.Generator
    ) -> None:
        self._dataset = dataset
        self._reward: Any = make("reward", **self.reward)
        self._reward.fit(dataset, real, founder, rng)
        self._candidates = prepared(self.sampling, dataset, real, founder, rng)

    def draw(self, generator: Generator, n: int, around: Around, rng: np.random.Generator) -> Draw:
        if self.retrain:
            self._reward.fit(self._dataset, lessons(around), generator, rng)
        labels, drawn = around.labels, self._candidates(generator, around, self.k)
        at_once = max(1, self.batch // self.k)
        x, everyone, winners = list[np.ndarray](), 0.0, 0.0
        beside: dict[str, list[np.ndarray]] = {}
        for start in range(0, n, at_once):
            m = min(at_once, n - start)
            ours = None if labels is None else np.repeat(labels[start : start + m], self.k)
            candidates = drawn.sample(m * self.k, rng, labels=ours)
            score = self._scores(candidates)  # [m, k] or [m, k, replicates]
            chosen = choice(score, rng)  # [m] or [m, replicates]
            x.append(_picked(candidates.x, chosen, self.k))
            of_row = chosen if chosen.ndim == 1 else chosen[:, 0]
            for name, own in candidates.beside.items():
                beside.setdefault(name, []).append(_picked(own, of_row, self.k))
            everyone += float(score.sum()) / (score[0].size * n)
            winners += float(np.take_along_axis(score, chosen[:, None], axis=1).sum()) / (
                chosen[0].size * n
            )
        with_rows = {name: np.concatenate(own) for name, own in beside.items()}
        samples = Samples(np.concatenate(x), labels, beside=with_rows)
        report = {"reward": everyone, "reward/kept": winners}
        return Draw(samples, {name: mean for name, mean in report.items() if np.isfinite(mean)})

    def _scores(self, candidates: Samples) -> np.ndarray:
        """Scaled rewards, the K candidates of one choice beside each other: [m, k] or [m, k,
        replicates].
        """
        with np.errstate(over="ignore", invalid="ignore"):
            score = self.scale * self._reward.score(candidates)
        if (bad := np.isnan(score) | (score == np.inf)).any():
            raise Finding(
                "diverged",
                f"the scaled reward of {int(bad.sum())} candidates is not a number or infinite",
            )
        values: np.ndarray = score.reshape(-1, self.k, *score.shape[1:])
        return values


def choice(score: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Winners [m] or [m, replicates] drawn with probability softmax(score) along axis 1: the
    largest score + Gumbel noise.
    """
    possible = np.isfinite(score).any(
        axis=1, keepdims=True
    )  # K impossible candidates are an even choice
    values: np.ndarray = np.argmax(
        np.where(possible, score, 0.0) + rng.gumbel(size=score.shape), axis=1
    )
    return values


def _picked(x: np.ndarray, chosen: np.ndarray, k: int) -> np.ndarray:
    """The winners among candidates x [m * k, ...]: [m, ...]."""
    rows = np.arange(len(chosen)) * k  # the first candidate of each choice
    if chosen.ndim == 1:
        values: np.ndarray = x[rows + chosen]
        return values
    values = x[rows[:, None] + chosen, np.arange(chosen.shape[1])]
    return values
