"""Experiments as objects: from a file, from arguments, planned, written, refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import engine
from tests.api.conftest import VALUES
from tests.support.ouro import ROOT, TINY, environment

HEAVY = (
    "torch",
    "ray",
    "transformers",
    "mlflow",
    "pandas",
    "matplotlib",
    "sklearn",
    "pydantic",
    "yaml",
)


def ids(sweep: engine.Sweep) -> list[str]:
    return [spec.id for spec in sweep.lineages]


def test_importing_engine_imports_nothing_and_its_names_are_listed() -> None:
    program = (
        "import sys, time; began = time.perf_counter(); import engine; "
        "took = time.perf_counter() - began; assert set(engine.__all__) <= set(dir(engine)); "
        f"print(took < 0.2, [name for name in {HEAVY!r} if name in sys.modules])"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True
    )
    assert said.stdout.strip() == "True []", said.stderr


def test_every_public_name_is_there_and_a_misspelt_one_names_the_nearest() -> None:
    for name in engine.__all__:
        assert getattr(engine, name).__doc__, name
    with pytest.raises(AttributeError, match="engine has no 'thresold'; did you mean 'threshold'"):
        engine.thresold  # noqa: B018  # the attribute is what is asked for


def test_arguments_mean_what_a_file_with_these_sections_means(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    of_file = engine.load(tmp_path / "tiny.yaml")
    of_arguments = engine.sweep(
        dataset={"name": "gaussian", "replicates": 20},
        generator="gaussian",
        n_real=50,
        grid={"policy": ["replace", "accumulate"], "policy.synthetic_fraction": [0.0, 0.5, 1.0]},
        seeds=2,
        generations=4,
        metrics=["moments"],
        collapse={"metric": "moments/trace_ratio", "below": 0.5},
    )
    assert ids(of_arguments) == ids(of_file) and of_arguments.metrics == of_file.metrics
    assert of_arguments.name == "sweep" and of_arguments.out == "runs/sweep"


def test_a_file_is_changed_in_place_by_its_sections_or_by_keys(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    by_section = engine.load(tmp_path / "tiny.yaml", seeds=1, base={"dataset.replicates": 3})
    by_key = engine.load(tmp_path / "tiny.yaml", {"base.dataset.replicates": 3, "seeds": 1})
    assert ids(by_section) == ids(by_key) and len(by_key.lineages) == 6
    assert by_key.lineages[0].dataset.params["replicates"] == 3
    assert by_section.question == "how fast does a Gaussian lose its variance?"


def test_an_experiment_is_written_as_a_file_that_means_the_same(
    small: engine.Sweep, tmp_path: Path
) -> None:
    text = small.to_yaml(tmp_path / "mine.yaml")
    assert (tmp_path / "mine.yaml").read_text() == text
    assert ids(engine.load(tmp_path / "mine.yaml")) == ids(small)


def test_a_plan_counts_and_makes_nothing(small: engine.Sweep, tmp_path: Path) -> None:
    plan = small.plan(out=tmp_path / "out")
    assert (plan.missing, plan.present) == (22, 0) and not (tmp_path / "out").exists()
    assert "22 distinct (2 founders)" in str(plan) and "22 distinct" in plan._repr_html_()


def test_a_plan_a_sweep_and_a_result_say_the_same_by_the_same_names(
    result: engine.Result,
) -> None:
    sweep = result.sweep
    plan = sweep.plan()
    assert sweep.cells == tuple(result.cells()["cell"]) and sweep.seeds == (0, 1)
    assert sweep.collapse is not None and sweep.collapse.metric == "moments/trace_ratio"
    assert {own.name for own in (sweep, plan, result)} == {"small"}
    assert {own.out for own in (sweep, plan, result)} == {result.out}
    assert plan.complete and result.complete and plan.changed == result.changed == ()
    assert (plan.asked, plan.unique, plan.present, plan.missing) == (32, 22, 22, 0)
    assert plan.bytes == 0 and plan.seconds == 0 and plan.lacks == ()
    longer = engine.load(result.out, generations=4).plan()
    assert (longer.asked, longer.present, longer.missing) == (40, 22, 8) and not longer.complete
    assert repr(longer).startswith("<Plan of small: 8 generations to compute, 22 of 30 there, out")


def test_a_plan_says_what_this_computer_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUROBOROS_DATA", str(tmp_path))
    sweep = engine.sweep("mnist", "vae", n_real=20, policy="replace", generations=1)
    (lack,) = sweep.plan(out=tmp_path / "out").lacks
    assert "mnist" in lack and "ouro download mnist" in lack


def test_one_of_a_thing_is_not_many(small: engine.Sweep) -> None:
    one = engine.sweep("gaussian", "gaussian", n_real=9, generations=1, metrics=["moments"])
    assert repr(one) == "<Sweep sweep: 1 lineage, generations 0 to 1, 1 metric, out runs/sweep>"
    assert "(1 founder)" in str(one.plan()) and "8 lineages" in repr(small)


def test_a_lineage_shows_itself_in_a_line_whether_its_parts_are_known_or_not(
    small: engine.Sweep,
) -> None:
    about = "gaussian(replicates=2), gaussian, replace(synthetic_fraction=0.5), plain"
    assert repr(small.lineages[0]) == f"<LineageSpec {about}, n_real 30, seed 0>"
    other = {**small.lineages[0].to_dict(), "generator": {"name": "nobodys", "a": {"name": "b"}}}
    assert "nobodys(a=" in repr(engine.LineageSpec.from_dict({**other, "n_synthetic": 7}))


def test_all_problems_come_at_once_each_with_its_key() -> None:
    wrong: dict[str, Any] = {**VALUES, "seeds": 0, "generator": {"name": "kde", "bandwith": 1}}
    with pytest.raises(engine.SpecError) as error:
        engine.sweep(**wrong)
    found = {problem.path: problem.message for problem in error.value.problems}
    assert ("seeds",) in found
    assert "did you mean 'bandwidth'" in found["base", "generator"]
    with pytest.raises(engine.SpecError, match="tracking"):
        engine.sweep(**{**VALUES, "tracking": "mlfow://here"})


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: engine.sweep(seds=1), r"sweep\(\) has no argument 'seds' \(did you mean 'seeds'"),
        (lambda: engine.load("x.yaml", grids={}), r"load\(\) has no argument 'grids'"),
        (lambda: engine.run("x.yaml", adress="auto"), r"did you mean 'address'"),
        (lambda: engine.threshold("x.yaml", buget=4), r"did you mean 'budget'"),
        (lambda: engine.sweep("digits", "vae", "replace"), "positional"),
    ],
)
def test_a_misspelt_argument_names_the_nearest(call: Any, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        call()


def test_a_file_that_is_not_there_is_python_s_own_error() -> None:
    with pytest.raises(FileNotFoundError):
        engine.load("no_such_file.yaml")


def test_shipped_experiments_are_objects_of_one_line(small: engine.Sweep) -> None:
    assert repr(engine.load(ROOT / "experiments" / "quickstart.yaml")).startswith("<Sweep quick")
    assert "\n" not in repr(small) and "moments/trace_ratio below 0.9" in small._repr_html_()
