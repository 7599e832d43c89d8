"""Contracts of generators."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from engine.contracts.companions import N, accepted, dataset_for, tiny
from engine.contracts.knowing import require_knows
from engine.contracts.verdicts import Tried, digest, require, same
from engine.knowledge import OF_MODELS
from engine.lineage.recipe import rng
from engine.parts import declared
from engine.samples import Samples, given
from engine.spec import Part

SEVERAL = (30, 1)


def try_generator(tried: Tried) -> None:
    """Fit, draw, save and load a generator on every kind of data that it accepts."""
    for gives in accepted("generator", tried.name):
        tried.on = gives
        real = dataset_for(gives).sample(N, rng(0, "real"))
        _try_on(tried, real)
    tried.on = ""


def _fit(name: str, real: Samples) -> Any:
    generator = tiny("generator", name)
    generator.fit(real, rng(0, "fit"))
    return generator


def _try_on(tried: Tried, real: Samples) -> None:
    before, labels = digest(real), given(real, 30)
    generator = tiny("generator", tried.name)
    with tried.rule(
        "fits, and reports numbers by name", "fit", "return {name: number}", vital=True
    ):
        generator.fit(real, rng(0, "fit"))
    with tried.rule("fit leaves its input as it was", "fit", "work on a copy of data.x"):
        require(digest(real) == before, "the training set was written to")
    _try_draws(tried, generator, real)
    drawn = generator.sample(30, rng(0, "draw"), labels)
    with tried.rule("the same stream draws the same bits", "sample", "draw from rng alone"):
        tried.scramble()
        again = generator.sample(30, rng(0, "draw"), labels)
        require(same(drawn, again), "two draws of one stream differ")
    with tried.rule("another stream draws other bits", "sample", "draw from rng"):
        other = generator.sample(30, rng(1, "draw"), labels)
        require(not same(drawn, other), "draws of two streams are equal")
    with tried.rule("a fit is deterministic", "fit", "take what is random from rng alone"):
        tried.scramble()
        again = _fit(tried.name, real).sample(30, rng(0, "draw"), labels)
        require(same(drawn, again), "two fits of one stream draw different samples")
    _try_save(tried, generator, drawn, labels)
    with tried.rule("a bias is taken, or ignored", "sample", "let bias change the draw, not n"):
        biased = generator.sample(30, rng(0, "draw"), labels, bias=0.5)
        require(bool(np.isfinite(biased.x).all()), "with bias 0.5 it draws what is not finite")
    _try_declared(tried, generator, real)


def _try_draws(tried: Tried, generator: Any, real: Samples) -> None:
    rule = "draws exactly n rows, as the data have them"
    with tried.rule(rule, "sample", "return n rows", vital=True):
        for n in SEVERAL:
            labels = given(real, n)
            generator.sample(n, rng(0, "draw"), labels)
    with tried.rule("sample leaves the labels as they were", "sample", "work on a copy"):
        before = given(real, n)
        same_labels = labels is None or before is None or np.array_equal(labels, before)
        require(same_labels, "the labels were written to")
    drawn = generator.sample(30, rng(0, "draw"), given(real, 30))
    with tried.rule("draws what is finite", "sample", "raise Finding('diverged', ...) in fit"):
        require(bool(np.isfinite(drawn.x).all()), "some values are nan or infinite")


def _try_save(tried: Tried, generator: Any, drawn: Samples, labels: Any) -> None:
    with (
        tried.rule("load is the inverse of save", "load", "save all that sample needs"),
        tempfile.TemporaryDirectory() as name,
    ):
        generator.save(Path(name))
        loaded = tiny("generator", tried.name)
        loaded.load(Path(name))
        again = loaded.sample(30, rng(0, "draw"), labels)
        require(same(drawn, again), "what was saved and loaded draws other samples")


def _try_declared(tried: Tried, generator: Any, real: Samples) -> None:
    part = Part("generator", tried.name, dict(getattr(generator, "TINY", {})))
    with tried.rule("knows what it declares in KNOWS", "", "write KNOWS as it is"):
        require_knows(generator, OF_MODELS)
    with tried.rule("declares what it is", "", "keep parameters under their own names"):
        conditional, continues = (
            declared(generator, "CONDITIONAL"),
            declared(generator, "CONTINUES"),
        )
        require(part.conditional == conditional, f"CONDITIONAL is {conditional} once made")
        require(part.continues == continues, f"CONTINUES is {continues} once made")
        always = getattr(generator, "CONTINUES", False) is True
        require(always or not continues, "TINY must leave CONTINUES off, where it can be off")
