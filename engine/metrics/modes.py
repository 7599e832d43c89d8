"""Live modes of a Gaussian mixture: what a GAN on the five-Gaussian toy of Zverev 2512.11867 loses
first.

A mode lives while enough samples fall near its centre, whatever their labels say; recall would also
count shape.
"""

from __future__ import annotations

from typing import ClassVar, cast

import numpy as np
from scipy.stats import chi2

from engine.knowledge import Components, knows
from engine.parts import (
    Around,
    Dataset,
    Generator,
    Keys,
    Needs,
    Number,
    Params,
    PositiveFloat,
    Undefined,
)
from engine.samples import Samples


class Modes:
    """Counts them: one value per replicate, [replicates].

    share   of the samples that should lie near a mode, from which on it counts as alive.
    radius  in standard deviations of a mode, within which a sample is one of its.
    """

    TINY: ClassVar[Params] = {}
    ACCEPTS = ("points",)
    NEEDS: ClassVar[Needs] = {"data.components": {}}
    KEYS: ClassVar[Keys] = {
        "modes/live": (
            "modes with at least `share` of their expected samples within `radius`",
            "modes",
            "higher",
        ),
        "modes/high_quality": ("samples within `radius` of some centre", "share", "higher"),
        "modes/ceiling": ("the same of the truth's own samples", "share", ""),
    }

    def __init__(self, *, share: PositiveFloat = 0.1, radius: PositiveFloat = 3.0) -> None:
        self.share, self.radius = share, radius

    def prepare(self, dataset: Dataset, real: Samples, n: int, rng: np.random.Generator) -> None:
        has_modes = knows(dataset, "components")
        self._none = "" if has_modes else f"{type(dataset).__name__} has no modes to count"
        if not self._none:
            self._read(cast(Components, dataset))

    def _read(self, mixture: Components) -> None:
        self._centres, self._std = mixture.centres_, mixture.std  # [modes, d]
        self._inside = float(
            chi2.cdf(self.radius**2, df=self._centres.shape[1])
        )  # of a mode's own samples
        self._expected = mixture.weights_ * self._inside  # [modes]

    def __call__(
        self, synthetic: Samples, generator: Generator, around: Around, rng: np.random.Generator
    ) -> dict[str, Number]:
        bad = "" if np.isfinite(synthetic.x).all() else "some samples are not finite"
        reason = self._none or bad or ("" if len(synthetic) else "there are no samples")
        if reason:
            return dict.fromkeys(
                ("modes/live", "modes/high_quality", "modes/ceiling"), Undefined(reason)
            )
        near = np.stack(
            [np.square(synthetic.x - centre).sum(-1) for centre in self._centres]
        )  # [modes, n, replicates]
        near = near <= (self.radius * self._std) ** 2
        live = near.mean(1) >= self.share * self._expected[:, None]  # [modes, replicates]
        return {
            "modes/live": live.sum(0).astype(float),
            "modes/high_quality": near.any(0).mean(0),
            "modes/ceiling": self._inside,
        }
