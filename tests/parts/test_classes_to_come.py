"""Classes that come one after another: a network has room for all of them, goes on learning when
one comes, and draws none that it never saw.
"""

from __future__ import annotations

import numpy as np
import pytest

from engine.contracts.companions import constant
from engine.generators._labels import label_counts, labels_for, same_networks
from engine.parts import Finding
from engine.registry import make
from engine.samples import Samples, Traits


def test_a_class_that_was_never_seen_is_not_drawn() -> None:
    y = np.array([1, 3, 3])
    now = Samples(np.zeros((3, 1, 2)), y, traits=Traits("points", 6, 1))
    growing = now.of(Traits("points", 6, 1, growing=True))
    assert label_counts(y, now) == [0, 1, 0, 2], "as it always was"
    assert label_counts(y, growing) == [0, 1, 0, 2, 0, 0] and label_counts(None, growing) == []
    counts = label_counts(y, growing)
    assert labels_for(3, None, counts) is not None
    assert labels_for(2, np.array([3, 1]), counts).tolist() == [3, 1]  # type: ignore[union-attr]
    for label in (0, 2, 5, 6):
        with pytest.raises(Finding, match=f"class {label} is asked for, .* its classes are 1, 3"):
            labels_for(2, np.array([3, label]), counts)
    assert same_networks({"label_counts": counts}, {"label_counts": [9, 0, 0, 0, 0, 1]})
    assert not same_networks({"label_counts": counts}, {"label_counts": [9]})


@pytest.mark.parametrize("name", ["vae", "wgan", "flow_matching", "ddpm", "stylegan2"])
def test_a_network_goes_on_with_classes_that_come_later(name: str) -> None:
    """Every conditional network: the weights that are there go on, and a class that has not come
    yet is refused until it has.
    """
    images = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 1)).astype(np.uint8)
    traits = Traits("images", 4, growing=True)
    few = {**constant("generator", name, "TINY", {}), "steps": 1, "warm_start": True}
    part = make("generator", name, **few)
    part.fit(Samples(images, np.arange(8) % 2, traits=traits), np.random.default_rng(1))
    with pytest.raises(Finding, match="class 3 is asked for"):
        part.sample(1, np.random.default_rng(2), np.array([3]))
    part.fit(Samples(images, np.arange(8) % 2 + 2, traits=traits), np.random.default_rng(1))
    drawn = part.sample(2, np.random.default_rng(2), np.array([3, 2]))
    assert drawn.y is not None and drawn.y.tolist() == [3, 2]
    with pytest.raises(Finding, match="class 0 is asked for"):
        part.sample(1, np.random.default_rng(2), np.array([0]))
