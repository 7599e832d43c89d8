"""What stands around a draw, for samplings and metrics that are tried without a lineage."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from engine.parts import Around, declared
from engine.samples import Samples, given


def unasked(*_: Any) -> NoReturn:
    """Fail: nothing here should have been asked for."""
    raise AssertionError("this part asked for more than the real set and the labels")


def around(real: Samples, n: int, generator: Any = None) -> Around:
    """The real set, and labels for n samples of a generator that draws by them."""
    labels = given(real, n) if declared(generator, "CONDITIONAL") else None
    return Around(real, labels, unasked, unasked, unasked)


# for metrics, which read none of it
NOTHING = Around(Samples(np.zeros((0, 1))), None, unasked, unasked, unasked)
