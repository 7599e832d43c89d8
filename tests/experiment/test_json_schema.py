"""The JSON schema of experiment files takes what the reader takes, and describes every key."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from engine import settings
from engine.experiment import schema as frame
from engine.experiment.json_schema import properties_of, schema
from engine.experiment.reader import SpecError
from engine.experiment.sources import load
from engine.experiment.yaml import parse

ROOT = Path(__file__).parents[2]
EXPERIMENTS = sorted((ROOT / "experiments").glob("*.yaml"))
WHOLE = schema()
CHECK = Draft202012Validator(WHOLE)
GOOD = """
base:
  dataset: {name: mixture, modes: 3}
  generator: {name: vae, lr: 1e-3, halvings: null}
  sampling: {name: verify, rule: top, reward: true_density}
  n_real: 50
grid:
  policy: [replace, {name: augment}]
  policy.synthetic_fraction: [0.0, 0.5]
  sampling.reward.of: [sample, label]
  n_real: [50, 100]
without: [{policy: augment, generator: vae}]
seeds: [3, 4]
generations: 2
metrics: [fid, {name: kid, subsets: 2, every: 2}]
collapse: {metric: fid, above: 3.0}
keep: {every: 2}
"""
BROKEN = {  # what it becomes -> what was right
    "generater: {name: vae": "generator: {name: vae",
    "{name: vea, lr": "{name: vae, lr",
    "learning_rate: 1e-3": "lr: 1e-3",
    "lr: fast": "lr: 1e-3",
    "lr: -1.0": "lr: 1e-3",
    "halvings: 0": "halvings: null",
    "halvings: 1.5": "halvings: null",
    "modes: [3]": "modes: 3",
    "rule: best": "rule: top",
    "{name: verify, reward": "{name: verify, rule: top, reward",
    "reward: true_densities": "reward: true_density",
    "policy.fraction: [0.0, 0.5]": "policy.synthetic_fraction: [0.0, 0.5]",
    "policy.synthetic_fraction: 0.5": "policy.synthetic_fraction: [0.0, 0.5]",
    "policy.synthetic_fraction: [0.0, 1.5]": "policy.synthetic_fraction: [0.0, 0.5]",
    "policy: [replaces": "policy: [replace",
    "sampling.reward.of: [samples": "sampling.reward.of: [sample",
    "n_real: [50, 0]": "n_real: [50, 100]",
    "without: [{polices: augment": "without: [{policy: augment",
    "seeds: some": "seeds: [3, 4]",
    "generation: 2": "generations: 2",
    "metrics: [fib": "metrics: [fid",
    "every: 0": "every: 2}]",
    "over: 3.0": "above: 3.0",
    "keep: {each: 2}": "keep: {every: 2}",
}


def complaints(document: Any) -> list[str]:
    return [error.message for error in CHECK.iter_errors(document)]


def test_it_is_a_schema_of_draft_2020_12() -> None:
    Draft202012Validator.check_schema(WHOLE)
    assert WHOLE["$schema"].endswith("draft/2020-12/schema")


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda file: file.stem)
def test_every_experiment_fits(file: Path) -> None:
    text = file.read_text()
    assert complaints(parse(text).values) == []
    assert complaints(yaml.safe_load(text)) == []


def test_what_is_right_is_taken_by_both(tmp_path: Path) -> None:
    file = tmp_path / "good.yaml"
    file.write_text(GOOD)
    assert load(file).lineages and complaints(parse(GOOD).values) == []


@pytest.mark.parametrize("wrong", BROKEN)
def test_what_is_wrong_is_refused_by_both(wrong: str, tmp_path: Path) -> None:
    right = BROKEN[wrong]
    assert right in GOOD
    file = tmp_path / "broken.yaml"
    file.write_text(GOOD.replace(right, wrong + "}]" * right.endswith("}]")))
    with pytest.raises(SpecError):
        load(file)
    assert complaints(parse(file.read_text()).values)


def test_every_property_is_described() -> None:
    found = list(properties_of(WHOLE))
    assert len(found) > 300
    assert [path for path, own in found if not own.get("description")] == []


def test_every_parameter_has_its_type_and_its_default() -> None:
    own = WHOLE["$defs"]["generator.vae"]["properties"]
    assert own["steps"]["type"] == "integer" and own["steps"]["minimum"] == 1
    assert own["steps"]["default"] == 400 and own["ema"]["maximum"] == 1
    assert {"type": "null"} in own["halvings"]["anyOf"] and own["halvings"]["default"] is None
    likelihoods = ["bernoulli", "continuous_bernoulli", "gaussian", "optimal_gaussian"]
    assert own["likelihood"]["enum"] == likelihoods
    assert "null: 2," in own["halvings"]["description"]


def models() -> list[type[BaseModel]]:
    """Of all sections of a file."""
    found = [*vars(frame).values(), *vars(settings).values()]
    own = [each for each in found if isinstance(each, type) and issubclass(each, BaseModel)]
    return sorted(set(own) - {BaseModel, settings.Strict}, key=lambda model: model.__name__)


@pytest.mark.parametrize("model", models())
def test_every_key_of_the_file_says_what_it_means(model: type[BaseModel]) -> None:
    for name, field in model.model_fields.items():
        assert field.description, f"{model.__name__}.{name}"
        if field.default is None and not field.is_required():
            assert "null" in field.description, f"{model.__name__}.{name}: what null means"


def test_it_is_made_without_the_heavy_libraries() -> None:
    heavy = ("torch", "ray", "transformers", "mlflow", "diffusers", "pandas", "sklearn")
    program = (
        "import sys; from engine.experiment.json_schema import schema; schema(); "
        f"print([m for m in {heavy!r} if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert ran.stdout.strip() == "[]", ran.stdout + ran.stderr
