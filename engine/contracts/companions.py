"""What a part needs around it to be tried: small data, a fitted generator, a place in a lineage."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NoReturn

import numpy as np

from engine.lineage.recipe import rng
from engine.parts import Around, declared
from engine.registry import describe, make, readable
from engine.samples import Prompted, Samples, given

N = 60
DATA = {"points": "mixture", "tokens": "categorical", "regression": "regression"}
DATA |= {"images": "digits", "text": "markov"}
LABELLED = {"text": "languages"}  # for parts that need labels
MODELS = {"points": "gaussian", "tokens": "categorical", "regression": "linear_regression"}
MODELS |= {"images": "vae", "text": "ngram"}


def constant(kind: str, name: str, which: str, default: Any = None) -> Any:
    """A class constant of a part."""
    return describe(kind, name).constants.get(which, default)


def tiny(kind: str, name: str) -> Any:
    """A part with the smallest parameters that work."""
    return make(kind, name, **constant(kind, name, "TINY", {}))


def accepted(kind: str, name: str) -> list[str]:
    """The kinds of data that a part takes, of those that some data set gives."""
    there = dict.fromkeys(constant("dataset", n, "GIVES") for n in readable("dataset"))
    takes = constant(kind, name, "ACCEPTS")
    return [gives for gives in there if takes is None or gives in takes]


def dataset_for(gives: str, *, labelled: bool = False) -> Any:
    """A small data set of a kind of data; labelled: one with labels, where there is such a one."""
    others = [n for n in readable("dataset") if constant("dataset", n, "GIVES") == gives]
    named = {**DATA, **LABELLED} if labelled else DATA
    return tiny("dataset", named.get(gives) or others[0])


def generator_for(gives: str) -> str:
    """The name of a generator for a kind of data."""
    if gives in MODELS:
        return MODELS[gives]
    return next(n for n in readable("generator") if gives in accepted("generator", n))


def needs_labels(kind: str, name: str) -> bool:
    """Whether a part needs labelled data."""
    return "data.labels" in constant(kind, name, "NEEDS", {})


def fitted(gives: str, name: str = "", *, labelled: bool = False) -> tuple[Any, Any, Samples]:
    """A data set, a generator fitted to it, and the real set."""
    dataset = dataset_for(gives, labelled=labelled)
    real = dataset.sample(N, rng(0, "real"))
    generator = tiny("generator", name or generator_for(gives))
    generator.fit(real, rng(0, "fit"))
    return dataset, generator, real


def _unasked(*_: Any) -> NoReturn:
    raise AssertionError("this part asked for more than the real set and the labels")


def around(real: Samples, n: int, generator: Any = None) -> Around:
    """The real set, which is also what the founder was trained on, and labels for n samples of a
    generator that draws by them.
    """
    labels = given(real, n) if declared(generator, "CONDITIONAL") else None
    return Around(real, labels, lambda: real, _unasked, _unasked)


def judged(reward: Any, real: Samples) -> Samples:
    """Samples for a reward to judge: real ones, where it wants prompts as if they went on from
    other real ones.
    """
    if "draws.prompts" not in declared(reward, "NEEDS"):
        return real
    return replace(real, prompted=Prompted(real.take(slice(None, None, -1)), 1))


def trained_on(samples: Samples) -> Around:
    """For metrics, some of which read the training set, and nothing else of what stands around."""
    return replace(NOTHING, training=lambda: samples)


NOTHING = Around(Samples(np.zeros((0, 1))), None, _unasked, _unasked, _unasked)
