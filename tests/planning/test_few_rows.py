"""Moments in more directions than there are real rows are refused, in nearly as many are said."""

from __future__ import annotations

from typing import Any

import pytest

from engine.console.traits import in_words
from engine.experiment.reader import SpecError
from engine.experiment.sources import load
from engine.registry import describe


def planned(tmp_path: Any, r: int, n_real: int, sampling: str = "") -> Any:
    file = tmp_path / "experiment.yaml"
    own = f"{{name: correct, r: {r}}}"
    file.write_text(
        f"base:\n  dataset: digits\n  generator: vae\n  n_real: {n_real}\n"
        f"  sampling: {sampling.format(own) or own}\ngenerations: 1\nmetrics: [fid]\n"
    )
    return load(file)


@pytest.mark.parametrize(
    "sampling", ["", "{{name: curate, reward: {{name: classifier}}, sampling: {}}}"]
)
def test_more_directions_than_rows_of_a_class_are_refused(tmp_path: Any, sampling: str) -> None:
    with pytest.raises(SpecError, match=r"r must be below 12, and at most 3"):
        planned(tmp_path, 12, 120, sampling)
    assert planned(tmp_path, 11, 120, sampling).lineages


def test_the_rows_of_a_class_are_those_of_its_task(tmp_path: Any) -> None:
    """50 of each of two digits, where ten digits would have 10 each."""
    file = tmp_path / "experiment.yaml"

    def stream(r: int) -> Any:
        file.write_text(
            "base: {dataset: digits, generator: vae, n_real: 100, arrival: tasks, tasks: 5,\n"
            f"  policy: replay, sampling: {{name: correct, r: {r}}}}}\ngenerations: 4\n"
            "metrics: [fid]\n"
        )
        return load(file)

    assert stream(49).lineages
    with pytest.raises(SpecError, match="r must be below 50"):
        stream(50)
    assert planned(tmp_path, 64, 650).lineages, "there are only 64 directions"


def test_the_parts_command_says_how_many_rows_it_needs() -> None:
    said = " ".join(in_words(describe("sampling", "correct")))
    assert "r must be below their number, of each class where per_class is true" in said
    assert "labels what it draws" in in_words(describe("sampling", "relabel"))


def test_few_rows_for_each_direction_are_said(tmp_path: Any) -> None:
    from engine.planning.plan import make_plan
    from engine.store.store import Store

    said = {}
    for r in (3, 4):
        sweep = planned(tmp_path, r, 120)
        said[r] = make_plan(sweep, Store(str(tmp_path / "out")), 1).warnings
    assert not any("directions" in each for each in said[3])
    assert any("correct keeps moments in r 4 directions" in each for each in said[4])
