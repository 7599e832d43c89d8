"""Real data that arrive in parts: no row twice, whatever is asked for later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.experiment.consistency import refusal
from engine.lineage.generations import GenerationCache
from engine.lineage.loop import Lineage
from engine.lineage.recipe import path, real_key
from engine.samples import Samples
from engine.spec import LineageSpec, Part
from engine.store.store import Store

CLASSES, ROWS = 3, 40


def spec(folder: Path, arrival: str = "parts", n_real: int = 12, **more: Any) -> LineageSpec:
    """A lineage of a table of ROWS rows of each class, a fifth of them held out."""
    rows = [f"{i},{i // ROWS}" for i in range(ROWS * CLASSES)]
    (folder / "own.csv").write_text("\n".join(["x,class", *rows]))
    given = {"path": str(folder / "own.csv"), "label": "class", **more}
    policy = Part("policy", "augment")
    parts = Part("dataset", "table", given), Part("generator", "gaussian"), policy
    return LineageSpec(*parts, Part("sampling", "plain"), n_real, seed=4, arrival=arrival)


def reals(own: LineageSpec, tmp_path: Path, generations: int) -> list[Samples]:
    cache = GenerationCache(own, Store(str(tmp_path / "out")), path(own, generations))
    return [cache.real(t) for t in range(generations + 1)]


@pytest.mark.parametrize("balanced", [False, True])
def test_no_row_arrives_twice(tmp_path: Path, balanced: bool) -> None:
    own = spec(tmp_path, balanced=balanced)
    found = reals(own, tmp_path, 7)
    rows = np.concatenate([real.x.ravel() for real in found])
    assert len(rows) == 96 and len({*rows}) == 96  # all that there are to train on
    again = reals(own, tmp_path, 3)
    assert all((a.x == b.x).all() for a, b in zip(found, again, strict=False))
    if balanced:
        assert all(np.bincount(real.y).tolist() == [4, 4, 4] for real in found)  # type: ignore[arg-type]
    else:
        permuted = own.dataset.make().training_set().take(np.random.default_rng(0).permutation(96))
        assert {*permuted.x.ravel()} == {*rows}


def test_the_first_part_is_the_first_draw_and_the_founder_is_shared(tmp_path: Path) -> None:
    fixed, fresh, parts = (spec(tmp_path, how) for how in ("fixed", "fresh", "parts"))
    for balanced in (False, True):
        firsts = [
            reals(spec(tmp_path, a, balanced=balanced), tmp_path, 0)[0] for a in ("fixed", "parts")
        ]
        assert (firsts[0].x == firsts[1].x).all()
    assert len({real_key(own, 0) for own in (fixed, fresh, parts)}) == 1
    assert path(fixed, 3)[0].draw == path(parts, 3)[0].draw
    assert len({real_key(own, 2) for own in (fixed, fresh, parts)}) == 3
    assert len({own.id for own in (fixed, fresh, parts)}) == 3
    assert [node.model for node in path(parts, 3)] == [node.model for node in path(parts, 6)][:4]


def test_a_lineage_of_parts_trains_on_them_and_is_resumed(tmp_path: Path) -> None:
    own, store = spec(tmp_path), Store(str(tmp_path / "out"))
    first = Lineage(own, store, generations=3)
    while not first.done:
        first.advance()
    longer = Lineage(own, Store(str(tmp_path / "out")), generations=5)
    while not longer.done:
        longer.advance()
    assert longer.fits == 2
    reference = Lineage(own, Store(str(tmp_path / "other")), generations=5)
    while not reference.done:
        reference.advance()
    assert longer.rows()[5].fit == reference.rows()[5].fit
    for t in (4, 5):
        data = longer.cache.training_set(longer.path[t])
        real = data.x[data.born == -1]
        assert {*real.ravel()} == {*longer.cache.real(t).x.ravel()}


def test_more_rows_than_there_are_are_refused_with_the_numbers(tmp_path: Path) -> None:
    assert refusal(spec(tmp_path), 7) is None
    said = refusal(spec(tmp_path), 8)
    assert said == (
        "arrival parts: n_real 12 x 9 generations (0 to 8) = 108 rows, and own.csv has 96 to train "
        "on, which are enough for 8; lower n_real or generations"
    )
    said = refusal(spec(tmp_path, n_real=10, balanced=True), 8)
    assert said is not None
    assert "balanced draws of each class are enough for 8" in said
    assert refusal(spec(tmp_path, "fresh"), 100) is None
    endless = spec(tmp_path)
    endless = LineageSpec(
        Part("dataset", "mixture"),
        endless.generator,
        endless.policy,
        endless.sampling,
        5,
        0,
        arrival="parts",
    )
    said = refusal(endless, 1)
    assert said is not None and said.startswith("arrival parts is for finite data, and mixture is")
    mnist = LineageSpec(
        Part("dataset", "mnist", {"root": str(tmp_path)}),
        Part("generator", "vae"),
        endless.policy,
        endless.sampling,
        20_000,
        0,
        arrival="parts",
    )
    assert refusal(mnist, 2) is None  # by its published size: it is not here
    said = refusal(mnist, 3)
    assert said is not None and "80,000 rows, and mnist has 60,000" in said
