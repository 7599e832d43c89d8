"""A metric that has no value, from the first generation or from a later one: no drift, no verdict,
no answer, and everywhere the reason.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

import engine
from analysis.threshold.estimate import Outcome, estimate, valued
from engine.running.supply import _numbers
from tests.support.ouro import ouro

WHY = "every replicate's covariance is singular"
SINGULAR = """
base:
  dataset: {name: gaussian, d: 5}
  generator: gaussian
  policy: replace
  n_real: 4
grid:
  policy.synthetic_fraction: [0.0, 0.5, 1.0]
seeds: 2
generations: 1
metrics: [moments]
collapse: {metric: moments, above: 2.0}
threshold: {width: 0.2}
tracking: none
"""


def written(folder: Path) -> Path:
    file = folder / "singular.yaml"
    file.write_text(SINGULAR)
    return file


@pytest.mark.slow
def test_a_grid_without_a_value_has_no_drift_no_verdict_and_a_page(tmp_path: Path) -> None:
    result = engine.run(engine.load(written(tmp_path)), out=tmp_path / "out", local=True)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    for cell in summary["cells"]:
        assert cell["metric"] == "moments/kl"
        for name in ("start", "last", "drift", "accuracy", "collapsed"):
            assert cell[name] is None, name
        assert (cell["judged"], cell["verdict"]) == (0, "-")
    assert "lineages/collapsed" not in _numbers(summary)
    assert result.cells()[["start", "end", "drift"]].isna().all(axis=None)
    page = Path(result.report(tmp_path / "page.html")).read_text()
    said = " ".join(page.split())
    assert "no answer: none of 6 lineages has a value" in said
    assert WHY.replace("'", "&#39;") in said or WHY in said
    assert "no collapse up to" not in said
    assert "How far each lineage went" not in said, "a figure of nothing"


def test_a_search_without_a_value_stops_and_says_why(tmp_path: Path) -> None:
    file = written(tmp_path)
    end = ouro("threshold", str(file), "--local", "--out", str(tmp_path / "out"), cwd=tmp_path)
    said = " ".join((end.stdout + end.stderr).split())
    assert end.returncode == 0, said
    assert "no answer: none of 4 lineages has a value" in said and WHY in said
    assert "no collapse up to" not in said
    (own,) = json.loads((tmp_path / "out" / "threshold.json").read_text())["workflows"]
    assert (own["verdict"], own["lineages"], own["undefined"]) == ("no value", 0, 4)
    assert own["estimate"] is own["low"] is own["high"] is None
    assert WHY in own["undefined_because"] and own["ended"] == "given up: no lineage has a value"


def test_nothing_is_claimed_of_fractions_where_no_lineage_has_a_value() -> None:
    rng = np.random.default_rng(0)
    seen = [Outcome(x / 10, i, -1 + 0.1 * rng.normal()) for x in range(6) for i in range(3)]
    gaps = [Outcome(x, i, math.nan, "a class died out") for x in (0.8, 1.0) for i in range(3)]
    assert estimate(seen, 1.0).words.startswith("fewer than half of the lineages collapse up to 1;")
    found = estimate([*seen, *gaps], 1.0)
    assert found.axis == (0.0, 0.5) and found.words.startswith(
        "fewer than half of the lineages collapse up to 0.5;"
    )
    assert (found.undefined, found.why) == (6, "a class died out")
    within = [Outcome(0.25, 9, math.nan, "a class died out")]
    assert valued([*seen, *within], (0.0, 1.0)) == (0.0, 1.0), "left out and counted"


@pytest.mark.parametrize("n", [0, 1, 5])
def test_few_values_are_not_yet_an_answer_and_none_is_none(n: int) -> None:
    gaps = [Outcome(1.0, i, math.nan, "all equal") for i in range(n)]
    words = {0: "not known yet (0 lineages)"}.get(
        n, f"no answer: none of {n} lineages has a value: all equal"
    )
    assert estimate(gaps, 1.0).words == words
    one = estimate([*gaps, Outcome(0.0, 0, 0.5)], 1.0)
    assert one.verdict == "too few" and one.words.startswith("not known yet (1 lineage")
