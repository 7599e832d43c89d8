"""Contracts of samplings and rewards."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.contracts.companions import accepted, around, fitted, judged, tiny
from engine.contracts.verdicts import Tried, Unneeded, digest, require, same
from engine.lineage.recipe import rng
from engine.samples import Samples


def try_sampling(tried: Tried) -> None:
    """Draw through a sampling on every kind of data that it accepts."""
    for gives in accepted("sampling", tried.name):
        tried.on = gives
        dataset, generator, real = fitted(gives)
        with tried.rule("prepares itself", "prepare", "keep what it needs of the real set"):
            sampling = tiny("sampling", tried.name)
            _prepare(sampling, dataset, real, generator)
            _try_draw(tried, sampling, generator, real)
    tried.on = ""
    worked = [v for v in tried.verdicts if v.rule.startswith("draws exactly n rows")]
    with tried.rule("works on some kind of data", "prepare", "mend ACCEPTS, or TINY"):
        require(bool(worked) or any(v.fault for v in tried.verdicts), "it refused all of them")


def _prepare(sampling: Any, dataset: Any, real: Samples, generator: Any) -> None:
    try:
        sampling.prepare(dataset, real, generator, rng(0, "prepare"))
    except ValueError as error:  # its TINY rule or reward is for other data
        raise Unneeded(str(error)) from None


def _try_draw(tried: Tried, sampling: Any, generator: Any, real: Samples) -> None:
    def draw() -> Any:
        return sampling.draw(generator, 40, around(real, 40, generator), rng(0, "draw"))

    before = digest(real)
    with tried.rule("draws exactly n rows", "draw", "return Draw(samples, report)", vital=True):
        drawn = draw()
    with tried.rule("reports finite numbers by name", "draw", "leave out what is not"):
        bad = [key for key, value in drawn.report.items() if not np.isfinite(value)]
        require(not bad, f"{', '.join(bad)} is not finite")
    with tried.rule("the same stream draws the same bits", "draw", "draw from rng alone"):
        tried.scramble()
        require(same(drawn.samples, draw().samples), "two draws of one stream differ")
    with tried.rule("leaves the real set as it was", "draw", "work on a copy"):
        require(digest(real) == before, "the real set was written to")


def try_reward(tried: Tried) -> None:
    """Fit a reward and let it score, on every kind of data that it accepts."""
    for gives in accepted("reward", tried.name):
        tried.on = gives
        dataset, generator, real = fitted(gives)
        reward, before = tiny("reward", tried.name), digest(real)
        with tried.rule("fits, and reports numbers by name", "fit", "return {}", vital=True):
            reward.fit(dataset, real, generator, rng(0, "reward"))
        with tried.rule(
            "scores every sample", "score", "return [n] or [n, replicates]", vital=True
        ):
            theirs = judged(reward, real)
            score = reward.score(theirs)
            require(bool(np.isfinite(score).all()), "some scores are nan or infinite")
        with tried.rule("scores the same samples the same", "score", "draw nothing in score"):
            require(np.array_equal(score, reward.score(theirs)), "two scores differ")
        with tried.rule("leaves its input as it was", "score", "work on a copy"):
            require(digest(real) == before, "the real set was written to")
    tried.on = ""
