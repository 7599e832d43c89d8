"""Replay: how a stream of tasks is learnt, with what each generation has of the earlier ones (deep
generative replay, Shin 1705.08690; buffers, Rolnick 1811.11682; Zverev 2512.11867 let replay
drift).

With n_real rows of each task, generation t trains on

    replayed  real   beside the real rows of task t
    false     0      nothing: what forgetting costs (the lower bound)
    false     m      m real rows of each earlier class: a buffer
    false     all    all real rows of the earlier tasks: joint training (the upper bound)
    true      0      t n_real rows that generation t-1 drew: generative replay
    true      m      both: replay with a buffer

so that, where tasks have equally many classes, replay gives every class as many rows as it had when
it arrived.  Not `accumulate`, which keeps the draws of all generations.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from engine.parts import NonNegativeInt, Params, Pick, Recipe


class Replay:
    """The real rows of the new task, and of the earlier ones what is replayed or kept.

    replayed  train on what the generation before draws of the earlier tasks, n_real rows of each.
    real      real rows of each class of the earlier tasks that stay at hand, the same ones in every
              generation; all: of those tasks nothing is given up.
    """

    TINY: ClassVar[Params] = {}
    TASKS = True

    def __init__(self, *, replayed: bool = True, real: NonNegativeInt | Literal["all"] = 0) -> None:
        self.replayed, self.real = replayed, real

    def recipe(self, sizes: Mapping[int, int], t: int) -> Recipe:
        found = [Pick((-1,), sizes[-1])]
        earlier = tuple(-2 - j for j in range(t))
        if self.real == "all":
            found.append(Pick(earlier, sum(sizes[task] for task in earlier)))
        elif self.real:
            found.append(Pick(earlier, 0, per_class=self.real))
        if self.replayed:
            found.append(Pick((t - 1,), t * sizes[-1]))
        return tuple(found)

    def needs(self, n_real: int) -> int:
        return n_real if self.replayed else 1
