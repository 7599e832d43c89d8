"""An experiment given as values instead of a file, overrides as mappings, and the way back to a
file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.experiment.given import plain
from engine.experiment.reader import SpecError, read
from engine.experiment.sources import load
from engine.experiment.writer import to_yaml
from engine.experiment.yaml import parse
from engine.spec import Sweep
from tests.support.ouro import ROOT

VALUES: dict[str, Any] = {
    "base": {
        "dataset": {"name": "gaussian", "replicates": 2},
        "generator": "gaussian",
        "n_real": 20,
    },
    "grid": {"policy": ["replace", "accumulate"], "policy.synthetic_fraction": [0.0, 0.5, 1.0]},
    "seeds": 2,
    "generations": 3,
    "metrics": ["moments", {"name": "nll", "every": 2}],
    "collapse": {"metric": "moments/trace_ratio", "below": 0.5, "of": "one"},
}


def ids(sweep: Sweep) -> list[str]:
    return [spec.id for spec in sweep.lineages]


def test_values_mean_what_a_file_with_them_means(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(json.dumps(VALUES))
    from_file, from_values = load(tmp_path / "one.yaml"), read(VALUES, name="one")
    assert ids(from_file) == ids(from_values) and from_values.document == VALUES
    assert from_values.name == "one" and from_values.out == from_file.out
    assert from_values.metrics == from_file.metrics and from_values.source == "one"


def test_reading_values_leaves_them_as_they_are() -> None:
    before = json.dumps(VALUES)
    read(VALUES, overrides={"base": {"generator.divisor": "n"}, "seeds": 1})
    assert json.dumps(VALUES) == before


@pytest.mark.parametrize(
    "overrides",
    [
        ["base.n_real=30", "base.dataset.replicates=4", "grid.policy.synthetic_fraction=[0.5]"],
        {
            "base.n_real": 30,
            "base.dataset.replicates": 4,
            "grid.policy.synthetic_fraction": [0.5],
        },
        {
            "base": {"n_real": 30, "dataset": {"replicates": 4}},
            "grid": {"policy.synthetic_fraction": [0.5]},
        },
        {
            "base": {"n_real": np.int64(30), "dataset.replicates": 4},
            "grid": {"policy.synthetic_fraction": np.array([0.5])},
        },
    ],
)
def test_overrides_are_text_or_keys_with_dots_or_nested_mappings(overrides: Any) -> None:
    changed = read(VALUES, overrides=overrides)
    assert {s.n_real for s in changed.lineages} == {30}
    assert {s.dataset.params["replicates"] for s in changed.lineages} == {4}
    assert {s.synthetic_fraction for s in changed.lineages} == {0.5}
    assert changed.document["base"]["n_real"] == 30
    assert ids(read(changed.document)) == ids(changed)


def test_a_part_that_is_named_replaces_and_a_nameless_mapping_goes_into_it() -> None:
    into = read(VALUES, overrides={"base": {"dataset": {"d": 3}}})
    instead = read(VALUES, overrides={"base": {"dataset": {"name": "gaussian", "d": 3}}})
    assert into.lineages[0].dataset.params == {"replicates": 2, "d": 3}
    assert instead.lineages[0].dataset.params == {"d": 3}
    rule = read(VALUES, overrides={"collapse": {"below": 0.1}}).collapse
    assert rule is not None and rule.below == 0.1 and rule.of == "one"


def test_all_problems_of_values_come_at_once_with_their_keys() -> None:
    wrong = {
        "base": {"generator": {"name": "gaussian"}, "dataset": {"name": "gaussian", "n": 1}},
        "seeds": 0,
        "generation": 2,
    }
    with pytest.raises(SpecError) as error:
        read(wrong, name="mine", source="engine.sweep", overrides=["no"])
    said = str(error.value)
    assert all(line.startswith("engine.sweep: ") for line in said.splitlines())
    for key in ("base.dataset", "seeds", "generation", "generations", "--set wants key=value"):
        assert key in said, key
    assert {p.path for p in error.value.problems} >= {("seeds",), ("base", "dataset")}


def test_what_no_file_can_hold_is_refused_by_its_place() -> None:
    with pytest.raises(TypeError, match=r"base\.n_real is set, which an experiment cannot hold"):
        read(VALUES, overrides={"base": {"n_real": {1, 2}}})


def test_numbers_of_numpy_tuples_ranges_and_paths_are_plain() -> None:
    given_values = {"a": (np.float64(0.5), range(2)), "b": Path("x") / "y", "c": np.bool_(True)}
    found = plain(given_values)
    assert found == {"a": [0.5, [0, 1]], "b": "x/y", "c": True}
    assert type(found["a"][0]) is float and type(found["c"]) is bool


# ---- the way back --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "file", sorted((ROOT / "experiments").glob("*.yaml")), ids=lambda f: f.stem
)
def test_an_experiment_written_again_has_the_same_lineages_and_question(
    file: Path, tmp_path: Path
) -> None:
    sweep = load(file)
    (tmp_path / file.name).write_text(to_yaml(sweep.document))
    again = load(tmp_path / file.name)
    assert ids(again) == ids(sweep) and again.question == sweep.question != ""
    assert again.document == sweep.document and again.metrics == sweep.metrics
    assert (again.collapse, again.threshold) == (sweep.collapse, sweep.threshold)
    assert again.resources == sweep.resources and again.keep == sweep.keep


def test_overrides_stay_in_what_is_written(tmp_path: Path) -> None:
    sweep = load(ROOT / "experiments" / "quickstart.yaml", ["seeds=1", "base.n_real=300"])
    (tmp_path / "a.yaml").write_text(to_yaml(sweep.document))
    assert ids(load(tmp_path / "a.yaml")) == ids(sweep)
    assert Sweep.from_dict(json.loads(json.dumps(sweep.to_dict()))) == sweep


PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
TRAPS = st.sampled_from(
    ["1e-4", "1E5", "yes", "null", "1:30", "2026-01-02", "<<", "0x1", "~", "", "\x85"]
)
TREES = st.recursive(
    PLAIN | TRAPS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5) | TRAPS, inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.text(max_size=5) | TRAPS, TREES, max_size=3))
def test_any_values_are_read_back_as_they_were(document: dict[str, Any]) -> None:
    found = parse(to_yaml(document))
    assert found.problems == [] and found.values == document


def test_a_list_that_stands_in_two_places_is_written_twice() -> None:
    shared = [0.5, 1.0]
    found = parse(to_yaml({"a": shared, "b": shared}))
    assert found.problems == [] and found.values == {"a": shared, "b": shared}
