"""What generation 0 lacks predicts, by the founder's ratio and the policy's rows alone: closed
forms, a sampler whose loss is known, and what the page says of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.collapse import lacks
from analysis.frame.rows import from_store
from analysis.report import page
from engine.spec import LineageSpec, Part
from tests.support.sweeps import run, sweep_of

HALVED = """
# Question: a sampler that draws half of the variance
base:
  dataset: {name: gaussian, d: 2, replicates: 4}
  generator: gaussian
  policy: {name: replace, synthetic_fraction: 1.0}
  n_real: 20000
grid:
  sampling: [{name: biased, sampling_bias: 0.5}, plain]
seeds: 2
generations: 3
metrics: [moments]
collapse: {metric: moments/trace_ratio, below: 0.5}
"""


def spec(policy: str, fraction: float | None, n: int = 100) -> LineageSpec:
    params: dict[str, Any] = {} if fraction is None else {"synthetic_fraction": fraction}
    parts = [Part("dataset", "gaussian"), Part("generator", "gaussian")]
    return LineageSpec(
        *parts, Part("policy", policy, params), Part("sampling", "plain"), n_real=n, seed=0
    )


@pytest.mark.parametrize("v0", [0.4, 1.1])
def test_replace_multiplies_by_the_founders_ratio(v0: float) -> None:
    t = np.arange(6)
    assert lacks.predicted(spec("replace", 1.0), v0, 5) == pytest.approx(v0 ** (t + 1))
    assert lacks.predicted(spec("replace", 0.0), v0, 5) == pytest.approx(np.full(6, v0))
    half = [v0]
    for _ in range(5):
        half.append(v0 * (1 + half[-1]) / 2)
    assert lacks.predicted(spec("replace", 0.5), v0, 5) == pytest.approx(half)


def test_accumulated_rows_count_each_by_its_own_generation() -> None:
    v = [0.5]
    for t in range(1, 5):
        v.append(0.5 * (1 + sum(v)) / (1 + t))  # all real and all synthetic so far, equally many
    assert lacks.predicted(spec("accumulate", None), 0.5, 4) == pytest.approx(v)
    v = [0.5]
    for _ in range(4):  # of all past generations at a constant size
        v.append(0.5 * sum(v) / len(v))
    assert lacks.predicted(spec("accumulate", 1.0), 0.5, 4) == pytest.approx(v)
    assert lacks.predicted(spec("augment", 0.5), 0.5, 1)[1] == pytest.approx(0.5 * 1.5 / 2)


def cells(mean: list[float], predicted: list[float], floor_sd: float = 0.05) -> pd.DataFrame:
    n = len(mean)
    about = {"cell": "c", "key": lacks.WITHIN, "t": range(n), "floor": 1.0, "floor_sd": floor_sd}
    return pd.DataFrame({**about, "mean": mean, "predicted": predicted})


@pytest.mark.parametrize(
    ("mean", "predicted", "share"),
    [
        ([0.5, 0.25, 0.125], [0.5, 0.25, 0.125], 1.0),
        ([0.5, 0.2, 0.0625], [0.5, 0.25, 0.125], 0.75),  # just three quarters of the loss
        ([0.5, 0.2, 0.06], [0.5, 0.25, 0.125], None),
        ([0.5, 0.4, 0.2], [0.5, 0.25, 0.125], 1.29),
        ([0.5, 0.4, 0.24], [0.5, 0.25, 0.125], None),  # it predicts half as much again as there is
        ([0.5, 0.49, 0.48], [0.5, 0.5, 0.5], None),  # nothing is lost after the founder
        ([0.93, 0.4, 0.2], [0.93, 0.86, 0.8], None),  # the founder lacks none
        ([0.5, 0.25, 0.0], [0.5, 0.25, 0.125], 1.0),  # judged where something is left
        ([0.5, 0.25, 0.009], [0.5, 0.25, 0.125], 1.0),
        ([0.05, 0.0025, 0.0], [0.05, 0.0025, 0.0001], 1.0),
        ([0.05, 0.0, 0.0], [0.05, 0.0025, 0.0001], None),
    ],
)
def test_a_prediction_explains_a_loss_of_about_its_size(
    mean: list[float], predicted: list[float], share: float | None
) -> None:
    found = lacks.explained(cells(mean, predicted))
    assert list(found["share"]) == ([] if share is None else pytest.approx([share], abs=0.01))


@pytest.fixture(scope="module")
def halved(tmp_path_factory: pytest.TempPathFactory) -> Any:
    sweep = sweep_of(HALVED, tmp_path_factory.mktemp("halved"))
    run(sweep)
    return sweep


def test_a_sampler_that_draws_half_of_the_variance_is_predicted_to_halve_it(halved: Any) -> None:
    table = lacks.ratios(from_store(halved, progress=False), halved.lineages)
    own = lacks.over_cells(table)
    biased, plain = sorted((rows for _, rows in own.groupby("cell")), key=lambda r: r["mean"].min())
    for rows in (biased, plain):
        assert rows["mean"].to_numpy() == pytest.approx(rows["predicted"].to_numpy(), rel=0.1)
    assert biased["mean"].to_numpy() == pytest.approx(0.5 ** np.arange(1, 5), rel=0.1)
    assert list(lacks.explained(own)["cell"]) == [biased["cell"].iloc[0]]
    assert (own["key"] == lacks.TOTAL).all() and (own["n"] == 2).all()


@pytest.mark.slow
def test_the_page_says_it_in_the_answer_and_draws_it(halved: Any, tmp_path: Path) -> None:
    text = page.write(halved, tmp_path, pictures=False).read_text()
    answer = text[text.index("<h2>Answer</h2>") : text.index("</section>")]
    said = "What generation 0 lacks explains the drift of biased"
    assert said in answer and "its draw has 0.5 of the real variance, and" in answer
    assert text.index('id="what-generation-0-already-lacks"') < text.index('id="where-collapse')
    numbers = pd.read_csv(tmp_path / "figures" / "lacks.csv")
    assert set(numbers["key"]) == {lacks.TOTAL} and numbers["predicted"].notna().all()
    assert not (tmp_path / "figures" / "curve_draw_variance_ratio.png").exists()
