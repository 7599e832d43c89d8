"""The page of the Python API as its users read it: every example, at its smallest size."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

import engine
from engine import registry
from engine.parts import NonNegativeFloat
from engine.samples import Samples
from tests.support.ouro import ROOT

EXPERIMENTS = ROOT / "experiments"


class Jitter:
    """Training points again, with a little noise.

    scale  standard deviation of the noise, in the data's units
    """

    TINY = {"scale": 0.1}
    ACCEPTS = ("points",)
    COST = "tiny"

    def __init__(self, *, scale: NonNegativeFloat) -> None:
        self.scale = scale

    def fit(self, data: Samples, rng: np.random.Generator) -> dict[str, float]:
        self.x_ = data.x
        return {}

    def sample(
        self,
        n: int,
        rng: np.random.Generator,
        labels: np.ndarray | None = None,
        bias: float | None = None,
    ) -> Samples:
        rows = rng.integers(len(self.x_), size=n)
        return Samples(self.x_[rows] + self.scale * rng.normal(size=self.x_[rows].shape))

    def save(self, folder: Path) -> None:
        np.savez(folder / "jitter.npz", x=self.x_)

    def load(self, folder: Path) -> None:
        with np.load(folder / "jitter.npz") as file:
            self.x_ = file["x"]


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No class that a test gave is a part afterwards."""
    monkeypatch.setattr(registry, "_classes", {})
    registry.refresh()
    yield
    monkeypatch.undo()
    registry.refresh()


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> engine.Result:
    """2, 4 and 5: from nothing, run, and opened again."""
    out = tmp_path_factory.mktemp("page") / "mine"
    sweep = engine.sweep(
        dataset="digits",
        generator={"name": "vae", "steps": 2, "width": 8},
        policy="replace",
        n_real=60,
        grid={"policy.synthetic_fraction": [0, 1], "generator.latent": [2, 4]},
        seeds=2,
        generations=1,
        metrics=[{"name": "fid", "extractor": "raw"}],
        collapse={"metric": "fid.extractor-raw", "above": 3},
        tracking="none",
    )
    assert sweep.plan(out=out).missing == 4 + 4 + 4
    engine.run(sweep, out=out, local=True)
    return engine.open(out)


def test_an_experiment_comes_from_a_file_changed_in_place() -> None:
    sweep = engine.load(
        EXPERIMENTS / "quickstart.yaml", seeds=1, base={"generator.steps": 100, "n_real": 300}
    )
    assert {spec.seed for spec in sweep.lineages} == {0}
    assert {spec.generator.params["steps"] for spec in sweep.lineages} == {100}
    assert engine.load("quickstart", seeds=1).name == "quickstart"


@pytest.mark.slow
def test_a_result_has_numbers_figures_and_the_page(digits: engine.Result, tmp_path: Path) -> None:
    frame = digits.frame()
    columns = ["lineage", "seed", "t", "policy", "synthetic_fraction", "latent", "status"]
    assert {*columns, "fid.extractor-raw", "fid.extractor-raw_floor"} <= {*frame.columns}
    assert frame["latent"].dtype == "int64" and frame["synthetic_fraction"].dtype == "float64"
    assert len(frame) == 2 * 2 * 2 * 2 and len(digits.cells()) == 4
    assert set(digits.cells()["verdict"]) <= {"no", "collapsed", "collapsed 1/2"}
    contrast = digits.paired(
        "fid.extractor-raw", at=1, a={"synthetic_fraction": 0.0}, b={"synthetic_fraction": 1.0}
    )
    assert contrast.n == 2 and contrast.low < contrast.estimate < contrast.high
    drawn = digits.samples(cell=0, seed=0, t=1)
    assert drawn.x.shape == (60, 8, 8, 1) and drawn.x.dtype == np.uint8 and drawn.y is not None
    labels = np.arange(10)
    model = digits.model(cell=0, seed=0, t=1)
    assert len(model.sample(10, np.random.default_rng(0), labels)) == 10
    assert isinstance(digits.plot.curve("fid.extractor-raw"), Figure)
    assert isinstance(digits.plot.response(), Figure) and isinstance(digits.plot.film(), Figure)
    page = digits.report(tmp_path / "report.html", pictures=False)
    assert page.stat().st_size > 10_000


def test_a_result_in_a_notebook_has_its_table_and_film_strip(digits: engine.Result) -> None:
    shown = digits._repr_html_()
    assert "<table" in shown and 'src="data:image/png;base64,' in shown and "latent" in shown


def test_a_part_of_one_s_own_is_a_class_or_an_instance(tmp_path: Path) -> None:
    values: dict[str, Any] = {"dataset": "mixture", "n_real": 40, "generations": 1}
    one = engine.sweep(generator=Jitter(scale=0.1), metrics=["fid"], tracking="none", **values)
    (spec,) = one.lineages
    assert (spec.generator.name, spec.generator.params) == ("jitter", {"scale": 0.1})
    result = engine.run(one, out=tmp_path, local=True)
    assert list(result.frame()["generator"]) == ["jitter"] * 2 and not len(result.failures)
    both = engine.sweep(grid={"generator": [Jitter(scale=0.1), "kde"]}, **values)
    assert [spec.generator.name for spec in both.lineages] == ["jitter", "kde"]
    assert both.lineages[0].id == spec.id


def test_a_class_that_is_no_part_is_refused() -> None:
    class Half:
        pass

    with pytest.raises(engine.SpecError, match=r"engine\.sweep"):
        engine.sweep(dataset="mixture", generator=Half, n_real=40, generations=1)
    with pytest.raises(TypeError, match=r"base\.n_real is object, which an experiment cannot"):
        engine.sweep(dataset="mixture", generator="kde", n_real=object(), generations=1)  # type: ignore[arg-type]


def test_a_threshold_is_searched(tmp_path: Path) -> None:
    answer = engine.threshold(
        engine.load(EXPERIMENTS / "threshold_mixture.yaml", generations=2, tracking="none"),
        out=tmp_path,
        budget=5,
        local=True,
    )
    frame = answer.frame()
    assert len(answer.workflows) >= 1 and frame.groupby("workflow").size().max() <= 5
    assert set(answer.table()["workflow"]) == {own.workflow for own in answer.workflows}
    level = answer[answer.workflows[0].workflow]
    assert level.confidence == 0.9 and 4 <= level.lineages + frame["y"].isna().sum() <= 5
    if len(answer.workflows) == 1:
        assert answer.typical == level
    else:
        with pytest.raises(LookupError, match=r"take one of answer\.workflows"):
            answer.typical  # noqa: B018
    assert isinstance(answer.plot(), Figure) and repr(answer).startswith("<Answer threshold_mix")
    again = engine.threshold(tmp_path, budget=5, local=True)
    assert again.frame().equals(frame) and "collapse" in again._repr_html_()


def test_a_threshold_needs_to_be_asked_for(tmp_path: Path) -> None:
    sweep = engine.sweep(dataset="mixture", generator="kde", n_real=40, generations=1)
    with pytest.raises(engine.SpecError, match="there is no threshold section"):
        engine.threshold(sweep, out=tmp_path, local=True)
