"""What a row says of every metric is what it was: keys, numbers and reasons, compared with
`golden_values.json`, which was written while metrics still answered in the keys of rows.

Written anew with `python -m tests.lineage.test_golden_values`, which is right only for a metric
that is new.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from engine.contracts import companions
from engine.lineage.measure import Measure
from engine.lineage.recipe import rng
from engine.registry import make, names
from engine.samples import Samples, given
from engine.spec import MeasureSpec, Part
from tests.parts.test_contracts import N, accepted, constant, untrained
from tests.support.around import trained_on

GOLDEN = Path(__file__).parent / "golden_values.json"
SETS = ("sound", "equal")  # what is measured: samples of a model, or one of them many times


@cache
def model_of(gives: str, labelled: bool) -> tuple[Any, Any, Samples]:
    return companions.fitted(gives, labelled=labelled)


def measured(name: str, gives: str, which: str) -> dict[str, Any]:
    """What a row says of one set of samples, by a metric under an id of its own."""
    dataset, generator, real = model_of(gives, companions.needs_labels("metric", name))
    raw = untrained(name, gives)
    part = Part("metric", name, {**constant("metric", name, "TINY"), **raw})
    metric = make("metric", name, **part.params)
    metric.prepare(dataset, real, N, rng(0, "reference"))
    drawn = generator.sample(N, rng(0, "draw"), given(real, N)).drawn_at(0)
    if which == "equal":
        same = drawn.take([0] * N)
        drawn = Samples(same.x, drawn.y).drawn_at(0)
    around, stream = trained_on(drawn), rng(0, "metric")
    found = Measure(metric, MeasureSpec(part))(drawn, generator, around, stream)
    return found.to_json()


def case(name: str, gives: str, which: str) -> str:
    return f"{name} of {gives}, {which}"


CASES = [
    (name, gives, which)
    for name in names("metric")
    for gives in accepted("metric", name)
    for which in SETS
]


@pytest.mark.parametrize(("name", "gives", "which"), CASES)
def test_a_row_says_of_a_metric_what_it_always_said(name: str, gives: str, which: str) -> None:
    golden = json.loads(GOLDEN.read_text())[case(name, gives, which)]
    found = measured(name, gives, which)
    assert found["undefined"] == golden["undefined"]
    assert found.get("about") == golden.get("about")
    assert found["values"] == pytest.approx(golden["values"], rel=1e-6, abs=1e-9)


if __name__ == "__main__":
    wanted = {case(*one): measured(*one) for one in CASES}
    GOLDEN.write_text(json.dumps(wanted, indent=1, sort_keys=True) + "\n")
