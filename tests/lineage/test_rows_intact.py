"""A row of a training set is a row of one of its sources, byte for byte: nothing is shuffled apart.

Layout is declared, never guessed from dtype and shape: tokens [n, length] look as tokens [n,
replicates] do.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from engine.lineage.recipe import rng, take
from engine.parts import Around, Pick, Recipe, traits_of
from engine.registry import describe, make, names
from engine.samples import LENGTHS, PROMPT_LENGTHS, Samples, Traits
from engine.samplings._quota import Quota
from engine.store.artifacts import decode, encode

N = 40
RECIPES: dict[str, Recipe] = {
    "a part of each": (Pick((-1,), 15), Pick((0,), 25)),
    "a part of all": (Pick((-1, 0), 30),),
    "of any source": (Pick((-1, 0), 30, "uniform_source"),),
    "all of one": (Pick((0,), N),),
}


def rows(samples: Samples, replicate: int | None) -> list[bytes]:
    """Every row with its label, of one replicate or of all together."""
    found = []
    for i in range(len(samples)):
        x = samples.x[i] if replicate is None else samples.x[i, replicate]
        label = b"" if samples.y is None else _of(samples.y[i], replicate)
        found.append(np.ascontiguousarray(x).tobytes() + label)
    return found


def _of(y: Any, replicate: int | None) -> bytes:
    own = y if replicate is None or np.ndim(y) == 0 else y[replicate]
    return bytes(np.asarray(own).tobytes())


def assert_intact(sources: dict[int, Samples], recipe: Recipe) -> None:
    data = take(sources, recipe, seed=3, t=1)
    width = sources[-1].replicates
    for replicate in [None] if width is None else range(width):
        known = {row for source in sources.values() for row in rows(source, replicate)}
        strange = [row for row in rows(data, replicate) if row not in known]
        assert not strange, f"{len(strange)} of {len(data)} rows are rows of no source"


def assert_born(sources: dict[int, Samples], recipe: Recipe) -> None:
    """The generation that a row says it was born in is that of the source it is a row of."""
    data = take(sources, recipe, seed=3, t=1)
    width = sources[-1].replicates
    for replicate in [None] if width is None else range(width):
        origin = {s: set(rows(source, replicate)) for s, source in sources.items()}
        own = data.born if data.born.ndim == 1 else data.born[:, replicate or 0]
        for row, born in zip(rows(data, replicate), own, strict=True):
            assert row in origin[int(born)]


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("name", names("dataset"))
def test_every_row_is_a_row_of_a_source(name: str, recipe: Recipe) -> None:
    dataset = make("dataset", name, **describe("dataset", name).constants["TINY"])
    try:
        real, second = (dataset.sample(N, rng(0, "real", t)) for t in (0, 1))
    except FileNotFoundError:
        pytest.skip(f"{name} is not on this machine")
    sources = {-1: real, 0: second.drawn_at(0)}
    assert_intact(sources, recipe)
    if name != "categorical":  # where rows of two sources are equal, nothing tells them apart
        assert_born(sources, recipe)


TEXTS = {
    "replicated": (Traits("text", replicates=3), (N, 3, 24)),
    "unreplicated": (Traits("text"), (N, 24)),
    "labelled": (Traits("text", classes=4, replicates=3), (N, 3, 24)),
}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("layout", TEXTS)
def test_tokens_of_a_text_stay_in_their_order(layout: str, recipe: Recipe) -> None:
    traits, shape = TEXTS[layout]
    draw = np.random.default_rng(0)
    sources = {}
    for s in (-1, 0):
        x = draw.integers(65, size=shape).astype(np.uint8)
        y = draw.integers(4, size=N) if traits.classes else None
        sources[s] = Samples(x, y, np.full(N, s, np.int32), traits=traits)
    assert_intact(sources, recipe)
    assert_born(sources, recipe)


def test_replicates_are_chosen_apart_where_they_are_declared() -> None:
    """And only there: the same numbers without the axis move as whole rows."""
    x = np.arange(N * 3).reshape(N, 3)
    for replicates, apart in ((3, True), (None, False)):
        sets = {-1: Samples(x, traits=Traits("tokens", replicates=replicates))}
        data = take(sets, (Pick((-1,), 20),), seed=3, t=1)
        rows_of = data.x // 3  # the row that each entry came from
        assert bool((rows_of == rows_of[:, :1]).all()) is not apart


def test_samples_that_nobody_has_described_are_refused() -> None:
    with pytest.raises(ValueError, match=r"do not say what they are.*samples\.of\(traits_of"):
        take({-1: Samples(np.zeros((5, 3), int))}, (Pick((-1,), 2),), seed=3, t=1)


def test_what_is_declared_is_kept_by_every_way_of_making_samples() -> None:
    dataset = make("dataset", "mixture", replicates=2)
    real = dataset.sample(10, rng(0, "real"))
    traits = traits_of(dataset)
    assert traits == Traits("points", classes=5, replicates=2)
    joined = take({-1: real, 0: real}, (Pick((-1,), 10), Pick((0,), 10)), seed=0, t=1)
    for each in (real, real.take(slice(0, 3)), real.drawn_at(4), joined, joined.take(slice(0, 2))):
        assert each.traits == traits


def records(born: int) -> Samples:
    """Rows whose first token says what stands beside them."""
    x = np.arange(N, dtype=np.uint8)[:, None, None].repeat(8, axis=2)
    beside = {LENGTHS: np.arange(N, dtype=np.int32) % 8, PROMPT_LENGTHS: np.zeros(N, np.int32)}
    traits = Traits("text", replicates=1, vocabulary=N)
    return Samples(x, None, np.full(N, born, np.int32), traits=traits, beside=beside)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_what_stands_beside_a_row_goes_with_it(recipe: Recipe) -> None:
    data = take({-1: records(-1), 0: records(0)}, recipe, seed=3, t=1)
    kept = decode(encode(data.take(slice(0, N)).drawn_at(1)))
    for each in (data, data.take(np.arange(5)), data.of(Traits("text")), kept):
        assert each.lengths is not None and each.prompt_lengths is not None
        assert (each.lengths == each.x[:, 0, 0] % 8).all() and not each.prompt_lengths.any()
    assert {*decode(encode(Samples(data.x))).beside} == set()


class Writes:
    """A model of records, each with its first token beside it."""

    def sample(self, n: int, rng: np.random.Generator, labels: Any = None) -> Samples:
        return records(0).take(rng.integers(N, size=n))


def test_samplings_choose_rows_with_what_stands_beside_them() -> None:
    keep = np.arange(N) % 3 == 0
    quota = Quota(20, None, expected=0.3, attempts=100, batch=16)
    passed = quota.fill(Writes(), lambda s, rng: (keep[s.x[:, :, 0]], {}), rng(0, "draw"))  # type: ignore[arg-type]
    curate = make("sampling", "curate", reward={"name": "true_density"}, k=3)
    curate._reward = SimpleNamespace(score=lambda samples: samples.x[:, :, 0].astype(float))
    curate._candidates = lambda generator, *_: generator
    around = Around(records(-1), None, *[lambda *_: None] * 3)  # type: ignore[arg-type, list-item]
    for draw in (passed, curate.draw(Writes(), 20, around, rng(0, "draw"))):
        lengths = draw.samples.lengths
        assert lengths is not None and (lengths == draw.samples.x[:, 0, 0] % 8).all()
