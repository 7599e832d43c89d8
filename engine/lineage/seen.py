"""A data set restricted to some of its classes: those of a task, or all that a stream of tasks has
brought so far.

Labels stay what they are, and so does CLASSES: of ten digits after two tasks of two, a network has
ten outputs and four classes are drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import numpy as np

from engine.knowledge import OF_ROWS, AllRows, knows
from engine.parts import Dataset, Params, traits_of
from engine.samples import Samples, Traits, concat, proportional_counts

HELD_OUT = 1 << 20  # rows: more than any finite set holds out
AT_ONCE, IDLE = 1024, 50  # rows of endless data, and how often so many may bring nothing


class Seen:
    """The rows of a labelled data set that are of these classes: a data set itself.

    whole    the data set: what is learnt of all real data, such as an extractor, is learnt of it.
    classes  in the order in which they arrived.
    """

    TINY: ClassVar[Params] = {}

    def __init__(self, dataset: Dataset, classes: Sequence[int]) -> None:
        self.whole, self.classes = dataset, tuple(classes)
        traits = traits_of(dataset)
        self.GIVES, self.REPLICATES, self.SIZE = traits.kind, traits.replicates, traits.sizes
        self.CLASSES, self.VOCABULARY = traits.classes, traits.vocabulary
        self.KNOWS = tuple(word for word in OF_ROWS if knows(dataset, word))
        self.tokenizer_ = traits.tokenizer

    @property
    def traits(self) -> Traits:
        """Of all its samples: those of the whole data set."""
        return traits_of(self.whole)

    def sample(self, n: int, rng: np.random.Generator) -> Samples:
        """n real training samples, of each class equally many (the first ones one more where n does
        not divide), shuffled.  ValueError where a class has fewer.
        """
        wanted = dict(zip(self.classes, self._shares(n), strict=True))
        if knows(self.whole, "all rows"):
            return self._of_rows(wanted, rng)
        return self._of_draws(wanted, rng)

    def training_set(self) -> Samples:
        """All real training samples of these classes, in a fixed order; the same object every time
        for the same classes.
        """
        return self._only(cast(AllRows, self.whole).training_set())

    def held_out(self, n: int) -> Samples:
        """The first n held-out samples of these classes; fewer where a finite set has fewer."""
        if knows(self.whole, "all rows"):
            return self._only(self.whole.held_out(HELD_OUT)).take(slice(0, n))
        asked = n
        while True:  # of endless data: more of the same rows, until there are n
            asked *= 2
            found = self._only(self.whole.held_out(asked))
            if len(found) >= n or asked > AT_ONCE * IDLE + 1000 * n:
                return found.take(slice(0, n))

    def characters(self, samples: Samples) -> np.ndarray:
        """Of each row of a text: [n]."""
        found: np.ndarray = cast(Any, self.whole).characters(samples)
        return found

    def decoded(self, x: np.ndarray) -> str:
        """Tokens [length] as text."""
        return str(cast(Any, self.whole).decoded(x))

    def _shares(self, n: int) -> list[int]:
        each = np.ones(len(self.classes), dtype=int)
        return [int(share) for share in proportional_counts(each, n)]

    def _only(self, samples: Samples) -> Samples:
        """The samples of these classes; remembered by the set they are of."""
        assert samples.y is not None, "tasks are of labelled data"
        key = ("of classes", self.classes)
        if key not in samples.memo:
            rows = np.flatnonzero(np.isin(samples.y, self.classes))
            samples.memo[key] = samples.take(rows)
        found: Samples = samples.memo[key]
        return found

    def _of_rows(self, wanted: dict[int, int], rng: np.random.Generator) -> Samples:
        everything, picked = cast(AllRows, self.whole).training_set(), list[np.ndarray]()
        assert everything.y is not None, "tasks are of labelled data"
        for label, n in wanted.items():
            rows = np.flatnonzero(everything.y == label)
            if n > len(rows):
                raise ValueError(self._too_few(label, n, len(rows)))
            picked.append(rng.permutation(rows)[:n])
        return everything.take(rng.permutation(np.concatenate(picked)))

    def _of_draws(self, wanted: dict[int, int], rng: np.random.Generator) -> Samples:
        """From data without end: drawn until every class is full."""
        found: dict[int, list[Samples]] = {label: [] for label in wanted}
        missing = {label: n for label, n in wanted.items() if n}
        idle = 0
        while missing:
            drawn, before = self.whole.sample(AT_ONCE, rng), sum(missing.values())
            for label, n in missing.items():
                found[label].append(drawn.of_class(label).take(slice(0, n)))
                missing[label] -= len(found[label][-1])
            missing = {label: n for label, n in missing.items() if n}
            idle = idle + 1 if sum(missing.values()) == before else 0
            if idle == IDLE:
                label, n = next(iter(missing.items()))
                raise ValueError(self._too_few(label, wanted[label], wanted[label] - n))
        rows = concat([own for label in wanted for own in found[label] if len(own)])
        return rows.take(rng.permutation(len(rows)))

    def _too_few(self, label: int, wanted: int, have: int) -> str:
        return (
            f"{wanted:,} real rows of class {label} were asked of {type(self.whole).__name__}, "
            f"which has {have:,} to train on; lower n_real, the rows of one task"
        )
