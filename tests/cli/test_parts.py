"""`ouro parts` and `ouro schema`: what an experiment can be made of, in words and for machines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from rich.cells import cell_len
from typer.testing import CliRunner

from engine.cli.main import app
from engine.experiment.yaml import parse
from engine.registry import KINDS, names
from tests.support import own
from tests.support.ouro import ouro


def said(*words: str) -> str:
    """What a command writes at 80 columns, without the ends of lines."""
    ran = CliRunner().invoke(app, words, env={"COLUMNS": "80"})
    assert ran.exit_code == 0, ran.stderr
    assert all(cell_len(line) <= 80 for line in ran.stdout.splitlines())
    return " ".join(ran.stdout.split())


def told(*words: str) -> Any:
    """The JSON that a command writes."""
    return json.loads(CliRunner().invoke(app, words).stdout)


def test_the_parts_of_all_kinds_are_listed() -> None:
    text = said("parts")
    for kind in KINDS:
        assert all(name in text for name in names(kind))


def test_a_kind_is_listed_with_what_each_part_is() -> None:
    assert "n_real points in equal parts from the k latest sources" in said("parts", "policies")


def test_a_part_says_all_of_itself() -> None:
    text = said("parts", "generator", "ddpm")
    for words in (
        "Denoising diffusion (DDPM, Ho et al. 2006.11239)",  # what its file says
        "Images [n, h, w, c], uint8.",  # what its class says
        "timesteps 1000 whole number >= 1 steps of the noise in training, at least 50",
        "lr null number > 0, or null Adam's learning rate; null: 2e-3 (tiny)",
        "sampler dpm-solver++ ddpm | ddim | dpm-solver++ | unipc how images are drawn",
        "takes images",
        "goes on from the generation before it, where warm_start is true",
    ):
        assert words in text, words


def test_a_metric_says_which_keys_it_returns() -> None:
    text = said("parts", "metric", "conditional_fid")
    assert "conditional_fid/class_N squared units of the features lower the distance" in text
    assert "needs data with class labels" in text


def test_a_part_is_found_without_its_kind() -> None:
    assert "generator vae" in said("parts", "vae")
    both = said("parts", "gaussian")
    assert "dataset gaussian" in both and "generator gaussian" in both


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["generater"], "did you mean 'generator'"),
        (["vea"], "did you mean 'vae'"),
        (["generator", "vea"], "did you mean 'vae'"),
        (["vae", "ddpm"], "no part and no kind of part is called 'vae'"),
    ],
)
def test_a_misspelt_part_is_refused_with_the_nearest_name(words: list[str], hint: str) -> None:
    ran = CliRunner().invoke(app, ["parts", *words])
    assert ran.exit_code == 2 and hint in ran.stderr and not ran.stdout


def test_machines_are_told_the_same() -> None:
    known = told("parts", "fid", "--json")["metric"]["fid"]
    assert known["parameters"]["splits"]["default"] == 8
    assert "behind the floor" in known["parameters"]["splits"]["description"]
    assert known["keys"]["fid"]["better"] == "lower"


def test_the_schema_is_printed() -> None:
    schema = told("schema")
    Draft202012Validator.check_schema(schema)
    tiny = {"base": {"dataset": "digits", "generator": "kde", "n_real": 3}, "generations": 1}
    assert Draft202012Validator(schema).is_valid(tiny)
    assert not Draft202012Validator(schema).is_valid({**tiny, "generation": 1})


def test_parts_of_ones_own_are_in_the_schema(tmp_path: Path) -> None:
    own.folder(tmp_path / "mine")
    schema = json.loads(ouro("schema", "--parts", "mine", cwd=tmp_path).stdout)
    scale = schema["$defs"]["generator.jitter"]["properties"]["scale"]
    assert scale["minimum"] == 0 and "the data's units" in scale["description"]
    check = Draft202012Validator(schema)
    assert check.is_valid(parse(own.EXPERIMENT).values)
    assert not check.is_valid(parse(own.EXPERIMENT.replace("scale: 0.5", "scale: -1")).values)
