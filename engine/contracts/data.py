"""Contracts of data sets."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np

from engine.contracts.companions import N, constant, tiny
from engine.contracts.knowing import require_knows
from engine.contracts.verdicts import Tried, Unneeded, require, same
from engine.knowledge import OF_DATA
from engine.lineage.recipe import rng
from engine.parts import traits_of
from engine.samples import Samples
from engine.spec import Part


def try_dataset(tried: Tried) -> None:
    """Draw from a data set, and hold what it declares against what it gives."""
    dataset = tiny("dataset", tried.name)
    rule, real = "draws exactly n real rows, as it declares them", None
    with tried.rule(rule, "sample", "return n rows, born REAL", vital=True):
        with contextlib.suppress(FileNotFoundError):
            real = dataset.sample(N, rng(0, "real"))
            dataset.sample(7, rng(0, "real"))
        if real is None:
            raise Unneeded(f"{tried.name} is not on this machine")
    if real is None:
        return
    with tried.rule("the same stream draws the same bits", "sample", "draw from rng alone"):
        tried.scramble()
        require(same(real, dataset.sample(N, rng(0, "real"))), "two draws of one stream differ")
    with tried.rule("another stream draws other bits", "sample", "draw from rng"):
        require(not same(real, dataset.sample(N, rng(1, "real"))), "two streams draw the same")
    _try_held_out(tried, dataset, real)
    with tried.rule("uses the range of pictures", "sample", "see engine/parts.py"):
        if real.declared.kind == "images":
            require(int(real.x.min()) < 64 and int(real.x.max()) > 192, "its range is not 0..255")
    with tried.rule("declares what it gives", "sample", "return Samples(...).of(traits_of(self))"):
        _require_traits(tried.name, dataset, real)
    with tried.rule("knows what it declares in KNOWS", "", "write KNOWS as it is"):
        require_knows(dataset, OF_DATA)
    size = constant("dataset", tried.name, "SIZE")
    if size:
        _try_size(tried, dataset, size[0])


def _try_held_out(tried: Tried, dataset: Any, real: Samples) -> None:
    with tried.rule("holds out the same rows every time", "held_out", "draw from a fixed stream"):
        tried.scramble()
        held_out = dataset.held_out(20)
        require(same(held_out, tiny("dataset", tried.name).held_out(20)), "they differ")
    with tried.rule("trains on nothing that it holds out", "held_out", "hold out other rows"):
        if real.x.dtype.kind == "f" and len(held_out):
            rows = {row.tobytes() for row in np.asarray(real.x)}
            both = sum(row.tobytes() in rows for row in np.asarray(held_out.x))
            require(not both, f"{both} of {len(held_out)} rows held out are trained on")


def _require_traits(name: str, dataset: Any, real: Samples) -> None:
    """Broken unless samples, object and plan say the same, and it is true."""
    data = traits_of(dataset)
    part = Part("dataset", name, dict(constant("dataset", name, "TINY", {})))
    require(part.traits == data, f"a plan reads {part.traits}, the object says {data}")
    require(real.traits == data, f"its samples say {real.traits}, the object {data}")
    require(dataset.held_out(5).traits == data, "what it holds out says something else")
    if data.classes and real.y is not None and data.kind != "regression":
        require(real.y.dtype == np.int64, f"labels are {real.y.dtype}, not int64")


def _try_size(tried: Tried, dataset: Any, size: int) -> None:
    with tried.rule("refuses more rows than it has", "sample", "raise ValueError"):
        try:
            dataset.sample(size + 1, rng(0, "real"))
        except ValueError as error:
            named = type(dataset).__name__ in str(error)
            require(named, f"its error does not name it: {error}")
            return
        require(False, f"it gave {size + 1} rows of {size}")
