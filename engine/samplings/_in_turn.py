"""Real rows in turn: what prompted draws, and those that a judge chooses from, go out from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from engine.parts import Around, Dataset, Generator, PartDict, Sampling
from engine.registry import make
from engine.samples import Samples
from engine.samplings._quota import Drawable


def rows_in_turn(real: Samples, n: int, labels: np.ndarray | None, start: int = 0) -> np.ndarray:
    """n rows of the real set in turn, from `start` on; by labels [n] those of each class."""
    if labels is None or real.y is None:
        return (start + np.arange(n)) % len(real)
    rows = np.empty(n, dtype=np.int64)
    for k in np.unique(labels):
        places, own = np.flatnonzero(labels == k), np.flatnonzero(real.y == k)
        rows[places] = own[(start + np.arange(len(places))) % len(own)]
    return rows


def lessons(around: Around) -> Samples:
    """What a judge that is taught anew learns: the real set; of a stream of tasks, whose earlier
    real rows are gone, what the model learnt.
    """
    return around.real if around.task_of is None else around.training()


@dataclass
class Candidates:
    """A model that is drawn from as a sampling does: what a judge chooses from.

    together  so many candidates in a row are for one place, and go out from the same real row.
    """

    sampling: Sampling
    generator: Generator
    around: Around
    together: int = 1
    _drawn: int = 0

    def sample(self, n: int, rng: np.random.Generator, labels: np.ndarray | None = None) -> Samples:
        """n candidates, by labels where the model draws by them; the real rows go on in turn."""
        if self.around.task_of is not None:  # prompts, which go out from real rows, have no tasks
            around = replace(self.around, labels=labels)
            return self.sampling.draw(self.generator, n, around, rng).samples
        first = None if labels is None else labels[:: self.together]
        rows = rows_in_turn(self.around.real, n // self.together, first, self._drawn)
        self._drawn += len(rows)
        real = self.around.real.take(np.repeat(rows, self.together))
        around = replace(self.around, real=real, labels=labels)
        return self.sampling.draw(self.generator, n, around, rng).samples


From = Callable[..., Drawable]  # a model, what is around the draw, how many are together


def prepared(
    sampling: PartDict | None,
    dataset: Dataset,
    real: Samples,
    founder: Generator,
    rng: np.random.Generator,
) -> From:
    """Where a judge's candidates come from; None: the model itself."""
    if sampling is None:
        return lambda generator, *_: generator
    inner: Sampling = make("sampling", **sampling)
    inner.prepare(dataset, real, founder, rng)
    return partial(Candidates, inner)
