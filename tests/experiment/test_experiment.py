"""Experiment files: every mistake at once, with line, key path, what was found and what is allowed;
never a traceback.
"""

from __future__ import annotations

import math
import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.experiment.reader import SpecError
from engine.experiment.sources import load
from engine.experiment.yaml import parse
from engine.names import refusals
from engine.spec import Sweep
from tests.support.sweeps import GAUSSIAN, sweep_of

THRESHOLD = (
    "generations: 1\nmetrics: [moments]\ncollapse: {metric: moments/kl, above: 2}\nthreshold: "
)
BASE = "base: {dataset: gaussian, generator: gaussian, n_real: 10}\n"


def problems(text: str, folder: Path, *overrides: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        sweep_of(text, folder, *overrides)
    return [str(p) for p in caught.value.problems]


@pytest.mark.parametrize(
    ("threshold", "said"),
    [
        ("{between: [0.5]}", "threshold.between"),
        ("{between: [0.5, 2]}", "should be less than or equal to 1"),
        ("{between: [0.5, 0.2]}", "between wants a lower and a higher fraction, got 0.5 and 0.2"),
        (
            "{start: [0, 0.2, 0.4, 0.6, 1], budget: 4}",
            "budget 4 is less than the 5 lineages of start",
        ),
        (
            "{policies: {augmnt: {between: [0, 0.9]}}}",
            "no policy 'augmnt' with a synthetic_fraction is in this grid",
        ),
        (
            "{}\ngrid: {policy: [augment]}",
            "augment keeps all real data, so its synthetic_fraction must be below 1, got 1.0",
        ),
        (
            "{}\ngrid: {policy: [accumulate_subsample]}",
            "no policy of this grid has a synthetic_fraction",
        ),
        ("{width: 0}", "line 5: threshold.width: should be greater than 0, got 0"),
        ("{axis: n_real}", "threshold.axis: should be 'policy.synthetic_fraction', got 'n_real'"),
        ("{widht: 0.1}", "unknown key 'widht'"),
        (
            "{step: 0.05}",
            "a step of 0.05 is less than one row of n_real 10; use 0.1 or leave it out",
        ),
    ],
)
def test_a_mistake_in_a_threshold_is_named(threshold: str, said: str, tmp_path: Path) -> None:
    found = problems(BASE + THRESHOLD + threshold + "\n", tmp_path)
    assert any(said in p for p in found), found


def test_a_threshold_is_kept_and_changes_no_lineage(tmp_path: Path) -> None:
    plain = sweep_of(BASE + THRESHOLD.replace("threshold: ", ""), tmp_path)
    searched = sweep_of(
        BASE + THRESHOLD + "{width: 0.1, policies: {replace: {between: [0.2, 1]}}}\n", tmp_path
    )
    assert (
        plain.threshold is None
        and searched.threshold is not None
        and searched.threshold.width == 0.1
    )
    assert Sweep.from_dict(searched.to_dict()) == searched and plain.lineages == searched.lineages


def test_a_workflow_is_what_fractions_and_seeds_have_in_common(tmp_path: Path) -> None:
    specs = sweep_of(GAUSSIAN, tmp_path).lineages
    assert len({s.workflow for s in specs}) == 3
    one = specs[0].at(0.37, 9)
    assert (
        one.synthetic_fraction == 0.37
        and one.seed == 9
        and one.workflow == specs[0].workflow
        and one.has_fraction
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            BASE + "generation: 3\n",
            "line 2: generation: unknown key 'generation' (did you mean 'generations'?)",
        ),
        (
            BASE + "generations: 3\ngenerations: 4\n",
            "line 3: 'generations' stands here a second time (first on line 2)",
        ),
        (BASE + "generations: '3'\n", "line 2: generations: should be a valid integer, got '3'"),
        (
            BASE + "generations: -1\n",
            "line 2: generations: should be greater than or equal to 0, got -1",
        ),
        (BASE + "generations: true\n", "got True"),
        (
            BASE.replace("n_real: 10", "n_real: ten") + "generations: true\n",
            "n_real: should be a valid integer, got 'ten'",
        ),
        (BASE + "generations: 1\nseeds: []\n", "seeds needs at least one seed"),
        (
            BASE + "generations: 1\nseeds: [-1]\n",
            "line 3: seeds.0: should be greater than or equal to 0",
        ),
        (
            BASE + "generations: 1\ngrid: {policy: [{name: replay, real: 2.5}]}\n",
            "real: should be 'all' or a valid integer, got 2.5",
        ),
        (BASE + "generations: 1\nkeep: some\n", "keep: should be 'all' or 'last', got 'some'"),
        (
            BASE + "generations: 1\ntracking: sqlite\n",
            "tracking: none, or an MLflow URI such as http://127.0.0.1:5000 or",
        ),
        (
            BASE + "generations: 1\ngrid: {n_real: []}\n",
            "line 3: grid.n_real: an axis needs at least one value",
        ),
        (
            BASE + "generations: 1\ngrid: {n_reel: [1]}\n",
            "unknown key 'n_reel' (did you mean 'n_real'?)",
        ),
        (
            BASE + "generations: 1\ngrid: {policy.fraction: [1]}\n",
            "no policy of this grid has a parameter 'fraction'",
        ),
        (
            BASE + "generations: 1\nmetrics: [mments]\n",
            "no metric is called 'mments'; did you mean 'moments'?",
        ),
        (BASE + "generations: 1\nmetrics: [../moments]\n", "no metric is called '../moments'"),
        (BASE + "generations: 1\nmetrics: [moments, moments]\n", "moments is listed twice"),
        (
            BASE + "generations: 1\nmetrics: [discrete]\n",
            "discrete measures tokens, but gaussian gives points",
        ),
        (
            BASE + "generations: 1\nmetrics: [{name: moments, every: 0}]\n",
            "every must be a whole number from 1, got 0",
        ),
        (
            BASE + "generations: 1\nmetrics: [fid]\ncollapse: {metric: fit, above: 2}\n",
            "did you mean 'fid'?",
        ),
        (
            BASE + "generations: 1\nmetrics: [fid]\ncollapse: {metric: fid}\n",
            "collapse needs one of above and below",
        ),
        (
            BASE + "generations: 1\nmetrics: [fid]\ncollapse: {metric: fid, above: .nan}\n",
            "got nan",
        ),
        (
            BASE + "generations: 1\nmetrics: [moments]\nthreshold: {}\n",
            "a threshold needs a collapse rule",
        ),
        (
            BASE.replace("n_real: 10", "n_real: 0") + "generations: 1\n",
            "n_real: should be greater than or equal to 1, got 0",
        ),
        (
            BASE.replace("n_real: 10", "n_real: 1e99") + "generations: 1\n",
            "should be a valid integer",
        ),
        (BASE.replace("n_real: 10", "foo: 1") + "generations: 1\n", "unknown key 'foo'"),
        ("generations: 1\n", "base is missing"),
        (
            "base: {generator: gaussian, n_real: 3}\ngenerations: 1\n",
            "dataset is missing; there are: ",
        ),
        (
            "base: {dataset: gaussian, generator: [1], n_real: 3}\ngenerations: 1\n",
            "a generator is {name: ..., its parameters}",
        ),
        (
            "base: &a {dataset: gaussian}\ngenerations: *a\n",
            "line 1: anchors and aliases are not allowed, got 'a'",
        ),
        ("base: !!python/object:os.system {}\ngenerations: 1\n", "YAML tags are not allowed"),
        ("a: [\n", "this is not YAML"),
        ("a: 1\nb: \0\n", "line 2: this is not YAML: it holds '\\x00', which no text may"),
        ('a: 1\nb: "\\ud800"\n', "line 2: b: '\\ud800': an escape from"),
        ('a: 1\n"\\udfff": 1\n', "line 2: '\\udfff': an escape from"),
        ("- 1\n", "an experiment file is a mapping"),
        ("", "base is missing"),
        ("base: {? [1, 2] : 3}\ngenerations: 1\n", "keys must be plain names"),
    ],
)
def test_a_mistake_is_named(text: str, said: str, tmp_path: Path) -> None:
    assert any(said in p for p in problems(text, tmp_path)), problems(text, tmp_path)


@pytest.mark.parametrize("value", ["-0.1", "1.1", ".nan", ".inf", "half", "[0.5]", "true"])
def test_a_fraction_outside_its_range_is_refused(value: str, tmp_path: Path) -> None:
    text = (
        BASE + f"generations: 1\ngrid: {{policy: [replace], policy.synthetic_fraction: [0.5, "
        f"{value}]}}\n"
    )
    (said,) = problems(text, tmp_path)
    assert said.startswith(
        "line 3: grid.policy.synthetic_fraction.1: policy replace: synthetic_fraction: "
    )


def test_all_mistakes_come_at_once_and_in_order(tmp_path: Path) -> None:
    text = """base:
  dataset: {name: gausian}
  generator: {name: kde, bandwith: 3}
  n_reals: 4
grid:
  n_real: []
generation: 10
metrics: [fidd]
"""
    said = problems(text, tmp_path)
    assert len(said) == 7 and [int(p.split(":")[0].split()[1]) for p in said] == [
        1,
        2,
        3,
        4,
        6,
        7,
        8,
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E3", 1000.0),
        (".5", 0.5),
        ("-.inf", -math.inf),
        ("0100", 100),
        ("-010", -10),
        ("0o17", 15),
        ("0x1F", 31),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("e4", "e4"),
        ("'1e-4'", "1e-4"),
        ("True", True),
        ("no", "no"),
        ("off", "off"),
        ("~", None),
        ("2026-01-02", "2026-01-02"),
    ],
)
def test_plain_words_mean_what_they_mean_in_yaml_1_2(text: str, value: object) -> None:
    found = parse(f"a: {text}\n")
    assert found.problems == [] and found.values == {"a": value}
    assert type(found.values["a"]) is type(value)


def test_what_is_too_deep_or_too_large_is_refused_by_its_limit(tmp_path: Path) -> None:
    deep = parse("base:\n  - " + "[" * 100_000 + "]" * 100_000)
    assert [p.message for p in deep.problems] == [
        "lists and mappings stand at most 100 deep inside each other"
    ]
    assert parse("[" * 100 + "]" * 100).problems == []
    large = tmp_path / "large.yaml"
    large.write_text("#" * 10_000_001)
    with pytest.raises(OSError, match="it has more than 10,000,000 bytes"):
        load(large)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(OSError, match="this is a pipe, not a file"):
        load(tmp_path / "pipe.yaml")


def test_ten_million_cells_are_refused_in_a_second_with_their_factors(tmp_path: Path) -> None:
    axis = f"[{', '.join(map(str, range(1, 3163)))}]"
    text = BASE + f"generations: 1\ngrid: {{n_real: {axis}, n_synthetic: {axis}}}\n"
    file = tmp_path / "big.yaml"
    file.write_text(text)
    started = time.process_time()
    with pytest.raises(
        SpecError,
        match=r"3162 \(n_real\) x 3162 \(n_synthetic\) x 1 \(seeds\) = 9,998,244 lineages",
    ):
        load(file)
    assert (
        time.process_time() - started < 5
    )  # a second on a quiet machine; reading the axes is most of it


def test_cells_that_make_no_sense_are_refused_by_name_and_the_others_stay(tmp_path: Path) -> None:
    text = (
        BASE
        + "generations: 1\ngrid: {policy: [replace, augment], policy.synthetic_fraction: [0.5, "
        "1.0]}\n"
    )
    sweep = sweep_of(text, tmp_path)
    assert len(sweep.lineages) == 3
    assert refusals(sweep.refused, sweep.lineages) == [
        "augment 1: augment keeps all real data, so its synthetic_fraction must be "
        "below 1, got 1.0; "
        "replace with synthetic_fraction 1 trains on synthetic data alone",
    ]
    assert Sweep.from_dict(sweep.to_dict()) == sweep


@pytest.mark.parametrize("metric", ["discrete", "discrete/sum_p2"])
def test_cells_without_the_metric_of_the_collapse_rule_are_refused(
    metric: str, tmp_path: Path
) -> None:
    """Whether the rule names the metric or one of its keys."""
    text = (
        "base: {n_real: 30}\ngenerations: 1\nmetrics: [discrete]\n"
        "grid: {dataset: [gaussian, categorical], generator: [gaussian, categorical]}\n"
        f"collapse: {{metric: {metric}, above: 2.0}}\n"
    )
    sweep = sweep_of(text, tmp_path)
    (left,) = sweep.lineages
    assert (left.dataset.name, left.generator.name) == ("categorical", "categorical")
    reasons = {(r.cell.dataset.name, r.cell.generator.name): r.reason for r in sweep.refused}
    assert len(reasons) == 3 and "discrete measures tokens" in reasons["gaussian", "gaussian"]


def test_a_grid_without_a_sensible_cell_is_an_error(tmp_path: Path) -> None:
    (said,) = problems(
        BASE.replace("gaussian, n_real", "categorical, n_real") + "generations: 1\n", tmp_path
    )
    assert (
        "no cell of this grid makes sense: categorical" in said and "gaussian gives points" in said
    )


def test_more_real_rows_than_there_are_is_refused(tmp_path: Path) -> None:
    text = "base: {dataset: digits, generator: vae, n_real: 5000}\ngenerations: 1\n"
    assert "digits has 1,200 training rows, n_real is 5,000" in problems(text, tmp_path)[0]


def test_a_policy_that_ignores_the_fraction_runs_once(tmp_path: Path) -> None:
    text = (
        BASE + "generations: 1\ngrid: {policy: [accumulate_subsample], policy.synthetic_fraction: "
        "[0.1, 0.9]}\n"
    )
    assert "no policy of this grid has a parameter" in problems(text, tmp_path)[0]
    both = sweep_of(text.replace("[acc", "[replace, acc"), tmp_path)
    assert sorted(s.policy.name for s in both.lineages)[0] == "accumulate_subsample"
    assert len(both.lineages) == 3


def test_overrides(tmp_path: Path) -> None:
    sweep = sweep_of(
        GAUSSIAN,
        tmp_path,
        "base.dataset.d=7",
        "generations=1",
        "grid.policy=[replace]",
        "seeds=[5]",
    )
    assert sweep.lineages[0].dataset.params["d"] == 7 and sweep.generations == 1
    assert len(sweep.lineages) == 4 and {s.seed for s in sweep.lineages} == {5}
    assert problems(GAUSSIAN, tmp_path, "generations") == [
        "--set wants key=value, got 'generations'"
    ]
    assert "unknown key 'generatoins'" in problems(GAUSSIAN, tmp_path, "generatoins=3")[0]


def test_the_question_is_read_from_the_first_lines(tmp_path: Path) -> None:
    sweep = sweep_of(GAUSSIAN, tmp_path)
    assert sweep.question == "a test of the loop" and sweep.name == "experiment"
    assert Sweep.from_dict(sweep.to_dict()) == sweep


def test_nested_parts_are_checked_too(tmp_path: Path) -> None:
    text = BASE.replace(
        "n_real", "sampling: {name: curate, k: 4, reward: {name: true_densitty}}, n_real"
    )
    assert (
        "no reward is called 'true_densitty'; did you mean 'true_density'?"
        in problems(text + "generations: 1\n", tmp_path)[0]
    )


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(place=st.integers(0, len(GAUSSIAN)), junk=st.text(max_size=6), cut=st.integers(0, 8))
def test_no_mutation_of_a_file_makes_a_traceback(
    place: int, junk: str, cut: int, tmp_path: Path
) -> None:
    text = GAUSSIAN[:place] + junk + GAUSSIAN[place + cut :]
    file = tmp_path / "mutant.yaml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        load(file)
    except SpecError as error:
        assert error.problems


def test_combinations_of_parts_can_be_left_out(tmp_path: Path) -> None:
    text = (
        BASE + "generations: 1\ngrid: {generator: [gaussian, kde], policy: [replace, accumulate]}\n"
    )
    assert len(sweep_of(text, tmp_path).lineages) == 4
    left = sweep_of(text + "without: [{generator: kde, policy: accumulate}]\n", tmp_path).lineages
    assert [(s.generator.name, s.policy.name) for s in left] == [
        ("gaussian", "replace"),
        ("gaussian", "accumulate"),
        ("kde", "replace"),
    ]
    said = problems(text + "without: [{generater: kde}, {generator: kda}, {}]\n", tmp_path)
    assert (
        len(said) == 3
        and "did you mean 'generator'" in said[0]
        and "'kde'" in said[1]
        and "names parts" in said[2]
    )


def test_combinations_with_a_parameter_can_be_left_out(tmp_path: Path) -> None:
    text = BASE + "generations: 1\ngrid: {policy: [replace, augment], "
    text += "policy.synthetic_fraction: [0.25, 0.5]}\n"
    text += "without: [{policy: augment, policy.synthetic_fraction: 0.5}]\n"
    kept = sweep_of(text, tmp_path).lineages
    assert [(s.policy.name, s.synthetic_fraction) for s in kept] == [
        ("replace", 0.25),
        ("replace", 0.5),
        ("augment", 0.25),
    ]
    wrong = text.replace("augment, policy.synthetic_fraction", "augment, policy.fraction")
    assert "no policy has a parameter 'fraction'" in problems(wrong, tmp_path)[0]
    refused = BASE + "generations: 1\ngrid: {sampling: [plain, recall]}\n"
    assert sweep_of(refused, tmp_path).refused
    left = sweep_of(refused + "without: [{sampling: recall}]\n", tmp_path)
    assert not left.refused, "what is left out is not told as well"
    inner = BASE + "generations: 1\ngrid: {sampling: [plain, {name: verify, rule: top, "
    inner += "reward: {name: likelihood}}]}\nwithout: [{sampling.reward: likelihood}]\n"
    assert [s.sampling.name for s in sweep_of(inner, tmp_path).lineages] == ["plain"]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/dev/zero", "path: /dev/zero is neither a file nor a folder"),
        (r"a\0b", r"path: no path holds a null byte, got 'a\x00b'"),
        ("x" * 300, f"path: {'x' * 200} cannot be read: file name too long"),
        ("$NOWHERE/a", "path: $NOWHERE/a: the variable $NOWHERE is not set"),
    ],
)
@pytest.mark.parametrize("name", ["images", "table"])
def test_what_is_no_file_is_said_of_the_parameter_that_leads_there(
    name: str, path: str, said: str, tmp_path: Path
) -> None:
    text = f"""base:
  dataset: {{name: {name}, path: "{path}"}}
  generator: gaussian
  n_real: 4
generations: 1
"""
    (found,) = problems(text, tmp_path)
    assert found.startswith(f"line 2: base.dataset: dataset {name}: {said}")


def test_a_file_that_may_not_be_read_is_said_of_its_parameter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / "a.csv").write_text("x\n1\n2\n3\n")
    monkeypatch.setattr("engine._digests.of_file", refused)
    text = BASE.replace("dataset: gaussian", f"dataset: {{name: table, path: {tmp_path}/a.csv}}")
    (found,) = problems(text + "generations: 1\n", tmp_path)
    assert "dataset table: path: " in found and found.endswith("cannot be read: permission denied")
