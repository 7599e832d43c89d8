"""Every generator, found by its file name, draws the variance of its data to within the band that
it declares (VARIANCE; 0.9 to 1.1 where it declares none), after one fit to a known law.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine._drawn_variance import FAITHFUL
from engine.commands import permitting
from engine.contracts.companions import DATA, accepted, constant
from engine.lineage.recipe import rng
from engine.parts import declared
from engine.registry import make, names
from engine.samples import Samples, given

N = 20_000  # points; images are the 1,200 smallest there are
LAWS = {kind: (name,) for kind, name in DATA.items()} | {"points": ("mixture", "gaussian")}
PLANE = {"gaussian": {"d": 2}}  # on a line a WGAN's default network often collapses by itself
# where a fit with the default parameters takes minutes
SHORT: dict[tuple[str, str], dict[str, Any]] = {
    ("ddpm", "images"): {"steps": 1000},
    ("flow_matching", "images"): {"steps": 1000},
    ("stylegan2", "images"): {"steps": 300},
    ("wgan", "images"): {"steps": 300},
    ("gan_memory", "images"): {"steps": 300},
    ("flow", "points"): {"steps": 300},
}
LONG = {("ddpm", "images"), ("flow_matching", "images"), ("stylegan2", "images")}
LONG |= {("wgan", "images"), ("wgan", "points"), ("flow", "points"), ("command", "images")}
LONG |= {("gpt", "text"), ("gan_memory", "images")}


def cases() -> list[Any]:
    """Every generator on every law of the kinds of data that it accepts."""
    found = []
    for name in names("generator"):
        for kind in accepted("generator", name):
            for law in LAWS[kind]:
                marks = [pytest.mark.slow] if (name, kind) in LONG else []
                found.append(pytest.param(name, kind, law, marks=marks, id=f"{name}-{law}"))
    return found


def variance(x: np.ndarray) -> float:
    """The total variance of samples, of tokens that of their indicators."""
    if np.issubdtype(x.dtype, np.integer) and x.dtype != np.uint8:
        shares = np.unique(x, return_counts=True)[1] / x.size
        return 1 - float(np.square(shares).sum())
    return float(x.reshape(len(x), -1).astype(float).var(0).sum())


@pytest.mark.parametrize(("name", "kind", "law"), cases())
def test_a_generator_draws_as_much_variance_as_it_declares(name: str, kind: str, law: str) -> None:
    dataset, n = make("dataset", law, **PLANE.get(law, {})), 1200 if kind == "images" else N
    real, held_out = dataset.sample(n, rng(0, "real")), dataset.held_out(N)
    params = constant("generator", name, "TINY") if name == "command" else {}
    with permitting():
        generator = make("generator", name, **{**params, **SHORT.get((name, kind), {})})
        if not declared(generator, "CONDITIONAL"):
            real = Samples(real.x, None, real.born, traits=real.traits)
        generator.fit(real, rng(0, "fit"))
        drawn = generator.sample(n, rng(0, "draw"), given(real, n))
    low, high = constant("generator", name, "VARIANCE", {}).get(kind, FAITHFUL)
    assert low <= variance(drawn.x) / variance(held_out.x) <= high
