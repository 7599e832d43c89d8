"""Mistakes of what is given beside a file are told of where they were given, with the value as it
was written; mistakes of a section name the keys of that section.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from engine.experiment.given import Overrides
from engine.experiment.reader import SpecError, read
from engine.experiment.sources import load

TEXT = """base:
  dataset: {name: gaussian, d: 2}
  generator: {name: gaussian}
  n_real: 40
grid:
  policy: [replace, accumulate]
  policy.synthetic_fraction: [0.5, 1.0]
generations: 2
metrics: [moments]
collapse: {metric: moments/kl, above: 3.0}
threshold: {budget: 20}
resources: {cpu: 1}
keep: {every: 2}
tracking: none
"""


def told(folder: Path, text: str = TEXT, overrides: Overrides = ()) -> list[str]:
    """The lines of a refusal, without the file's name."""
    file = folder / "e.yaml"
    file.write_text(text)
    with pytest.raises(SpecError) as error:
        load(file, overrides)
    return [line.removeprefix(f"{file}: ") for line in str(error.value).splitlines()]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("base.n_real=4e1", "should be a valid integer, got 4e1"),
        ("base.n_real='40'", "should be a valid integer, got '40'"),
        ("sedes=3", "unknown key 'sedes' (did you mean 'seeds'?); allowed: base, grid"),
        ("n_real=3", "--set n_real=3: unknown key 'n_real' (did you mean 'base.n_real'?)"),
        ("generator.steps=3", "unknown key 'generator' (did you mean 'base.generator'?)"),
        ("base.n_reel=3", "unknown key 'n_reel' (did you mean 'n_real'?)"),
        ("base.generator=gausian", "no generator is called 'gausian'; did you mean 'gaussian'"),
        ("base.dataset.dd=3", "dataset gaussian has no parameter 'dd'"),
        (
            "base.dataset.d=0x0",
            "dataset gaussian: d: should be greater than or equal to 1, got 0x0",
        ),
        ("grid.policy=[replace, relpace]", "grid.policy.1: no policy is called 'relpace'"),
        (
            "grid.policy.synthetic_fraction=[0.5, 2]",
            "grid.policy.synthetic_fraction.1: policy replace: synthetic_fraction: should be less "
            "than or equal to 1, got 2",
        ),
        ("grid.n_real=[40, '4']", "grid.n_real.1: should be a valid integer, got '4'"),
        ("base.policy=recent", "base.policy is given, which changes nothing: grid.policy sets it"),
        ("collapse.above=-1", "should be greater than 0, got -1"),
        ("collapse.abov=1", "unknown key 'abov' (did you mean 'above'?); allowed: metric, above"),
        ("threshold.budget=1e2", "should be a valid integer, got 1e2"),
        ("resources.cpu=none", "should be a valid number, got 'none'"),
        ("resources.generators.gausian.cpu=1", "no generator 'gausian' (did you mean 'gaussian'?)"),
        ("keep.evry=2", "unknown key 'evry' (did you mean 'every'?); allowed: every"),
        ("metrics=[moments, fidd]", "metrics.1: no metric is called 'fidd'; did you mean 'fid'"),
        (
            "base.sampling={name: curate, k: 2, reward: {name: classifier, steps: x}}",
            "classifier: steps: should be a valid integer, got 'x'",
        ),
        ("base.n_real=[1", "this is not YAML"),
    ],
)
def test_an_override_is_blamed_and_no_line(override: str, said: str, tmp_path: Path) -> None:
    found = told(tmp_path, overrides=[override])
    assert all(f"--set {override}: " in line for line in found), found
    assert any(line.startswith(f"--set {override}: ") and said in line for line in found), found


def test_an_override_that_does_not_go_with_the_file_stands_beside_its_line(tmp_path: Path) -> None:
    (said,) = told(tmp_path, overrides=["collapse.below=3"])
    assert said.startswith("line 10, with --set collapse.below=3: collapse: collapse needs one of")


def test_one_key_given_twice_is_refused_unless_it_is_the_same(tmp_path: Path) -> None:
    twice = ["seeds=2", "generations=1", "seeds=3"]
    (said,) = told(tmp_path, overrides=twice)
    assert said == "--set seeds=3: seeds is given a second time (first --set seeds=2); keep one"
    assert len(load(tmp_path / "e.yaml", ["seeds=2", "seeds=2"]).lineages) == 8


def test_a_value_of_python_is_named_by_its_key(tmp_path: Path) -> None:
    (said,) = told(tmp_path, overrides={"base": {"n_real": 2.5}})
    assert said == "base.n_real=2.5: should be a valid integer, got 2.5"


def test_no_password_of_an_address_is_repeated(tmp_path: Path) -> None:
    (said,) = told(tmp_path, overrides=["traking=http://me:secret@there"])
    assert "secret" not in said and "--set traking=http://me@there: unknown key" in said


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("above: 3.0", "abvoe: 3.0", "line 10: collapse.abvoe: unknown key 'abvoe' (did you mean "),
        ("above: 3.0", "above: 3, slope: {lst: 3}", "allowed: last, confidence"),
        ("budget", "widht: 1, budget", "did you mean 'width'?); allowed: between, axis, width"),
        ("budget", "policies: {replace: {betwen: [0, 1]}}, budget", "allowed: between"),
        ("cpu: 1", "cpus: 1", "did you mean 'cpu'?); allowed: cpu, gpu, memory"),
        ("cpu: 1", "generators: {gaussian: {gpus: 1}}", "did you mean 'gpu'?); allowed: cpu, gpu"),
        ("every: 2", "evry: 2", "line 13: keep.evry: unknown key 'evry'"),
        ("n_real: 40", "n_real: '40'", "line 4: base.n_real: should be a valid integer, got '40'"),
        ("n_real: 40", "n_real: 4e1", "line 4: base.n_real: should be a valid integer, got 4e1"),
        (
            "n_real: 40",
            "n_real: 40\n  arrival: fesh",
            "should be 'fixed', 'fresh', 'parts' or 'tasks', got",
        ),
    ],
)
def test_a_mistake_in_a_section_names_the_keys_and_the_value_that_stand_there(
    before: str, after: str, said: str, tmp_path: Path
) -> None:
    found = told(tmp_path, TEXT.replace(before, after))
    assert any(said in line for line in found), found


@pytest.mark.parametrize("overrides", [["n=1"], {"n": 1}])
def test_values_that_no_file_holds_have_no_lines_either(overrides: Sequence[str]) -> None:
    with pytest.raises(SpecError, match=r"^mine: (--set )?n=1: unknown key 'n'"):
        read({"base": {}, "generations": 1}, name="mine", overrides=overrides)
