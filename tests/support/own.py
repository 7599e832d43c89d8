"""A generator, a metric and a data set of one's own, and the doors through which they come."""

from __future__ import annotations

from pathlib import Path

JITTER = '''"""Draws training points again, with a little noise: a smoothed bootstrap."""

from __future__ import annotations

import numpy as np

from engine.parts import NonNegativeFloat
from engine.samples import Samples

from ._noise import SCALE, noisy


class Jitter:
    """A smoothed bootstrap.

    scale  standard deviation of the noise, in the data's units
    """

    TINY = {}
    ACCEPTS = ("points",)
    COST = "tiny"

    def __init__(self, *, scale: NonNegativeFloat = SCALE) -> None:
        self.scale = scale

    def fit(self, data, rng):
        self.x_ = data.x
        return {}

    def sample(self, n, rng, labels=None, bias=None):
        scale = self.scale if bias is None else self.scale * bias
        return Samples(noisy(self.x_[rng.integers(len(self.x_), size=n)], scale, rng))

    def save(self, folder):
        np.savez(folder / "jitter.npz", x=self.x_)

    def load(self, folder):
        with np.load(folder / "jitter.npz") as file:
            self.x_ = file["x"]
'''
NOISE = '''"""Noise, for whoever wants some."""

SCALE = 2 * 0.05


def noisy(x, scale, rng):
    return x + scale * rng.normal(size=x.shape)
'''
SPREAD = '''"""Mean distance of the samples from their mean, over that of the real set."""

from __future__ import annotations

import numpy as np

from engine.parts import Value


def spread_of(x):
    centred = x - x.mean(axis=0)  # [n, replicates, d]
    return np.sqrt((centred**2).sum(axis=-1)).mean(axis=0)  # [replicates]


class Spread:
    """1 where nothing was lost, 0 where all samples are equal."""

    TINY = {}
    KEYS = {"spread": ("mean distance from the mean, over the real set's", "a ratio", "near 1")}
    ACCEPTS = ("points",)

    def prepare(self, dataset, real, n, rng):
        self.real_ = spread_of(real.x)

    def __call__(self, synthetic, generator, around, rng):
        return {"spread": Value(spread_of(synthetic.x) / self.real_, n=float(len(synthetic)))}
'''
RING = '''"""Points near a circle of radius 1."""

from __future__ import annotations

import numpy as np

from engine.parts import PositiveFloat, PositiveInt, traits_of
from engine.samples import Samples


class Ring:
    """A circle with noise.

    width       standard deviation of the radius
    replicates  how many independent sets are drawn at once
    """

    TINY = {"replicates": 2}
    GIVES = "points"
    REPLICATES = "replicates"

    def __init__(self, *, width: PositiveFloat = 0.1, replicates: PositiveInt = 5) -> None:
        self.width, self.replicates = width, replicates

    def sample(self, n, rng):
        angle = rng.uniform(0, 2 * np.pi, size=(n, self.replicates))
        radius = 1 + self.width * rng.normal(size=angle.shape)
        x = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
        return Samples(x).of(traits_of(self))

    def held_out(self, n):
        return self.sample(n, np.random.default_rng(10**6))
'''
FILES = {
    "generators/jitter.py": JITTER,
    "generators/_noise.py": NOISE,
    "metrics/spread.py": SPREAD,
    "datasets/ring.py": RING,
}
EXPERIMENT = """
base: {dataset: {name: ring, replicates: 4}, n_real: 40,
       generator: {name: jitter, scale: 0.5}}
grid: {policy: [replace], policy.synthetic_fraction: [0.0, 1.0]}
seeds: 2
generations: 3
metrics: [spread]
collapse: {metric: spread, above: 1.15}
threshold: {seeds: 2, width: 0.5}
tracking: none
"""


def folder(root: Path, **changed: str) -> Path:
    """A folder with all three; changed: other texts, by the part's name."""
    for path, text in FILES.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(changed.get(Path(path).stem, text))
    return root


def package(root: Path, **changed: str) -> Path:
    """An installed package `mylab` that holds them; root is where packages are installed."""
    folder(root / "mylab" / "ouro", **changed)
    (root / "mylab" / "__init__.py").write_text(
        "import sys\n\nprint('mylab is imported', file=sys.stderr)\n"
    )
    told = root / "mylab-1.2.dist-info"
    told.mkdir(exist_ok=True)
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: mylab\nVersion: 1.2\n")
    (told / "entry_points.txt").write_text("[ouroboros.parts]\nmylab = mylab.ouro\n")
    return root
