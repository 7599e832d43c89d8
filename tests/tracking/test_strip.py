"""Pictures of sample sets: what stands where, what a vanished class looks like, and that axes are
the truth's.
"""

from __future__ import annotations

import numpy as np
import pytest

from engine.registry import make
from engine.samples import Samples
from engine.tracking import pictures as strip


def flat_images(labels: np.ndarray, channels: int = 1) -> Samples:
    """Images of one grey level, 20 times their label."""
    x = np.broadcast_to(
        (20 * labels.astype(np.uint8))[:, None, None, None], (len(labels), 8, 8, channels)
    )
    return Samples(x.copy(), labels)


def test_a_column_holds_its_class_alone() -> None:
    picture = strip.picture(flat_images(np.tile(np.arange(4), 6)), classes=4, per_class=3)
    columns = [
        picture[strip.MARGIN + 18 :, strip.MARGIN + 42 * i :][: 3 * 42 - 2, :40] for i in range(4)
    ]
    assert [set(np.unique(column)) - {strip.PAPER} for column in columns] == [{0}, {20}, {40}, {60}]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_vanished_class_is_hatched_and_nothing_shifts(channels: int) -> None:
    labels = np.tile(np.arange(4), 6)
    whole = strip.film([flat_images(labels, channels)], ["generation 0"], classes=4)
    holed = strip.film([flat_images(labels[labels != 2], channels)], ["generation 0"], classes=4)
    assert whole.shape == holed.shape and whole.dtype == np.uint8 and whole.shape[2] == 3
    changed = np.flatnonzero(
        (whole != holed).any(axis=(0, 2))
    )  # columns of pixels that differ: those of class 2 alone
    left = whole.shape[1] - strip.MARGIN - 2 * 42
    assert changed.min() >= left and changed.max() < left + 42
    assert len(np.unique(holed[:, changed.min() : changed.max()])) >= 2


def test_a_film_has_a_row_per_generation_with_its_name() -> None:
    frames = [flat_images(np.arange(5)) for _ in range(3)]
    three, two = (strip.film(frames[:n], ["0", "1", "2"][:n], classes=5) for n in (3, 2))
    assert three.shape[0] - two.shape[0] == 40 + strip.GAP and three.shape[1] == two.shape[1]
    assert (strip.film(frames, ["0", "1", "generation 2"], classes=5).shape[1]) > three.shape[1]


def test_unlabelled_images_fill_a_square() -> None:
    x = np.zeros((10, 32, 32, 3), dtype=np.uint8)
    height, width, _ = strip.picture(Samples(x)).shape
    assert (height, width) == (2 * strip.MARGIN + 3 * 34, 2 * strip.MARGIN + 4 * 34)


def test_a_hundred_classes_are_thinned() -> None:
    assert strip.picture(flat_images(np.arange(100) % 12), classes=100).shape[1] < 20 * 43


@pytest.mark.parametrize("dataset", ["gaussian", "mixture", "shapes", "regression", "categorical"])
def test_every_kind_of_points_has_a_panel(dataset: str) -> None:
    rng = np.random.default_rng(0)
    real = make("dataset", dataset).sample(200, rng)
    picture = strip.picture(real.drawn_at(1), real=real, title="generation 1")
    assert picture.shape == (320, 320, 3) and len(np.unique(picture)) > 10


def test_the_axes_are_those_of_the_real_set() -> None:
    rng = np.random.default_rng(1)
    real = Samples(rng.normal(size=(500, 2, 2)))
    near, far = (
        Samples(0.1 * real.x),
        Samples(np.concatenate([0.1 * real.x[:400], 1e6 + real.x[:100]])),
    )
    grey = np.array([176, 176, 176])
    shown = [(strip.picture(s, real=real) == grey).all(axis=2) for s in (near, far)]
    box = slice(20, 280)  # apart from ticks, and from the note on what is outside
    assert (
        shown[0][60:, box].sum() > 300 and (shown[0][60:, box] == shown[1][60:, box]).mean() > 0.999
    )


def test_what_is_not_finite_is_left_out() -> None:
    x = np.random.default_rng(2).normal(size=(100, 1, 2))
    x[:10] = np.nan, np.inf
    for d in (1, 2):
        assert strip.picture(
            Samples(x[..., :d]), real=Samples(np.nan_to_num(x[..., :d], posinf=0))
        ).shape == (320, 320, 3)


def test_one_replicate_is_shown() -> None:
    x = np.random.default_rng(3).normal(size=(300, 5, 2))
    first, other = x.copy(), x.copy()
    first[:, 0] += 1
    other[:, 3] += 1
    assert (
        strip.picture(Samples(other), real=Samples(x)) == strip.picture(Samples(x), real=Samples(x))
    ).all()
    assert (
        strip.picture(Samples(first), real=Samples(x)) != strip.picture(Samples(x), real=Samples(x))
    ).any()


def test_a_film_of_unlabelled_images_keeps_a_row_per_generation() -> None:
    """A generator that does not condition, on data that have classes; and classes that are known
    from the labels alone.
    """
    frames = [Samples(flat_images(np.arange(10)).x) for _ in range(3)]
    three, two = (strip.film(frames[:n], ["0", "1", "2"][:n], classes=10) for n in (3, 2))
    assert three.shape[0] - two.shape[0] == 40 + strip.GAP
    labelled = [flat_images(np.arange(5)) for _ in range(2)]
    assert np.array_equal(
        strip.film(labelled, ["0", "1"]), strip.film(labelled, ["0", "1"], classes=5)
    )
