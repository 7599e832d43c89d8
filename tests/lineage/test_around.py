"""What stands around a draw is made when it is asked for, and leaves the lineage as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.support.sweeps import GAUSSIAN, lineages, run, sweep_of


def test_training_set_older_real_sets_and_older_models_are_given_when_asked(tmp_path: Path) -> None:
    sweep = sweep_of(GAUSSIAN, tmp_path, "grid={}", "seeds=1")
    run(sweep)
    have = lineages(sweep)[0].cache
    newest = have.generator(2)
    around = have.around(have.path[2])
    assert around.labels is None and around.real is have.real(2)
    assert around.training().x.tobytes() == have.training_set(have.path[2]).x.tobytes()
    founder = around.generator(0)
    assert not np.array_equal(founder.mean_, newest.mean_)  # type: ignore[attr-defined]
    assert around.generator(2) is newest, "the model at hand is not forgotten for an older one"
    assert around.real_of(0).x.tobytes() == have.real(0).x.tobytes()
    assert have.fits == 0, "everything was in the store"
