"""Generators of a stream of tasks: with the first classes of ten at hand a network has room for all
of them, draws those it saw and no other, and goes on when more arrive.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from engine.contracts.companions import constant
from engine.parts import Finding, declared, traits_of
from engine.registry import describe, make, names
from engine.samples import Samples

SMALL: dict[str, dict[str, Any]] = {
    "wgan": {"penalty_weight": 1.0},
    "ddpm": {"guidance_by": "solver", "solver_steps": 3, "label_dropout": 0.0},
}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@cache
def digits() -> Samples:
    dataset = make("dataset", "digits")
    found: Samples = dataset.sample(300, rng())
    return found.of(replace(traits_of(dataset), growing=True))


def of(*classes: int) -> Samples:
    """The real digits of these classes, of ten that arrive one after another."""
    y = digits().y
    assert y is not None
    return digits().take(np.flatnonzero(np.isin(y, classes)))


def conditional(name: str) -> bool:
    """Whether a generator of images draws by class label in this process."""
    images = "images" in constant("generator", name, "ACCEPTS")
    return images and constant("generator", name, "COST") != "tiny" and name != "command"


IMAGES = [name for name in names("generator") if conditional(name)]


def tiny(name: str, **own: Any) -> Any:
    params = {**constant("generator", name, "TINY"), **SMALL.get(name, {}), **own}
    if "conditional" in describe("generator", name).parameters:
        params["conditional"] = True
    return make("generator", name, **params)


def test_they_are_those_of_images() -> None:
    assert {"ddpm", "flow_matching", "gan_memory", "stylegan2", "vae", "wgan"} <= {*IMAGES}


@pytest.mark.parametrize("name", IMAGES)
def test_the_classes_at_hand_are_drawn_and_no_other(name: str) -> None:
    generator = tiny(name)
    assert declared(generator, "CONDITIONAL")
    generator.fit(of(0, 1), rng(1))
    drawn = generator.sample(8, rng(2), np.arange(8) % 2)
    assert drawn.y is not None and drawn.y.tolist() == [0, 1] * 4 and drawn.x.std() > 0
    assert sorted({*generator.sample(8, rng(2)).y.tolist()}) == [0, 1], "in their proportions"
    for label in (2, 9):
        with pytest.raises(Finding, match=f"class {label} is asked for") as caught:
            generator.sample(4, rng(2), np.array([0, 1, 0, label]))
        assert caught.value.status == "extinct"


@pytest.mark.parametrize("name", IMAGES)
def test_a_network_goes_on_when_classes_arrive(name: str) -> None:
    """Its steps are too short to move it: whatever it draws of an old class it drew before."""
    own = {"lr": 1e-12} if "lr" in describe("generator", name).parameters else {}
    if isinstance(switch := constant("generator", name, "CONTINUES"), str):
        own[switch] = True
    if "ema" in describe("generator", name).parameters:
        own["ema"] = 0.0
    if name == "ddpm":
        own["guidance"] = 0.0  # the solver learns at a rate of its own
    generator, old = tiny(name, **own), np.arange(8) % 2
    generator.fit(of(0, 1), rng(1))
    before = generator.sample(8, rng(2), old).x
    generator.fit(of(0, 1, 2, 3), rng(3))
    again = generator.sample(8, rng(2), old).x
    assert np.abs(again.astype(int) - before.astype(int)).max() <= 1
    labels = np.array([0, 1, 2, 3])
    assert generator.sample(4, rng(2), labels).y.tolist() == [0, 1, 2, 3]
    with pytest.raises(Finding, match="class 4 is asked for"):
        generator.sample(1, rng(2), np.array([4]))


@pytest.mark.parametrize("name", IMAGES)
def test_a_class_without_rows_any_more_is_gone(name: str) -> None:
    """As under a policy without replay; GAN Memory alone keeps it."""
    generator = tiny(name)
    generator.fit(of(0, 1), rng(1))
    generator.fit(of(2, 3), rng(2))
    assert generator.sample(4, rng(2), np.array([2, 3, 2, 3])).y.tolist() == [2, 3, 2, 3]
    if name == "gan_memory":
        assert generator.sample(1, rng(2), np.array([0])).y.tolist() == [0]
        return
    with pytest.raises(Finding, match="class 0 is asked for"):
        generator.sample(1, rng(2), np.array([0]))
