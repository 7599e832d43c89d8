"""The settings of a file as objects: what they say of a policy, a generator, a generation."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from engine.settings import START, Every, Resources, Share, Strict, Threshold, is_kept


def test_a_design_is_the_threshold_of_one_policy_with_a_step_of_one_row_at_least() -> None:
    asked = Threshold.from_dict({"width": 0.2, "policies": {"augment": {"between": [0, 0.9]}}})
    augment, replace = asked.design("augment", 50), asked.design("replace", 50)
    assert augment.ends == (0.0, 0.9) and replace.ends == (0.0, 1.0)
    assert augment.lattice == 0.02 and asked.design("augment", 5000).lattice == 0.01
    assert augment.width == 0.2 and augment.first == START and augment.policies == {}
    assert Threshold(step=0.3).design("replace", 2).lattice == 0.3, "the file's own step stays"
    assert Threshold(start=(0.1, 0.2)).first == (0.1, 0.2)


def test_defaults_of_a_threshold_are_pinned() -> None:
    assert Threshold().to_dict() == {
        "axis": "policy.synthetic_fraction",
        "between": [0.0, 1.0],
        "width": 0.05,
        "confidence": 0.9,
        "risk": 0.1,
        "budget": 60,
        "policies": {},
    }


def test_resources_of_a_generator_are_the_common_ones_and_its_own() -> None:
    asked = Resources.from_dict(
        {"gpu": 0.5, "memory": 2, "generators": {"kde": {"gpu": 0, "cpu": 2.5}}}
    )
    kde, other = asked.of("kde"), asked.of("vae")
    assert (kde.cpus, kde.gpus, kde.memory_bytes, kde.threads) == (2.5, 0, 2e9, 2)
    assert (other.cpus, other.gpus, other.memory_bytes, other.threads) == (1, 0.5, 2e9, 1)
    assert Share.from_dict(json.loads(json.dumps(kde.to_dict()))) == kde
    assert Resources().of("vae") == Share() and Share(cpu=0.25).threads == 1


@pytest.mark.parametrize(
    ("keep", "kept"), [("all", [0, 1, 2, 3]), ("last", []), (Every(every=2), [0, 2])]
)
def test_what_is_kept_on_the_way(keep: object, kept: list[int]) -> None:
    assert [t for t in range(4) if is_kept(t, keep)] == kept  # type: ignore[arg-type]


@pytest.mark.parametrize("section", [Threshold(), Resources(), Share(), Every(every=1)])
def test_a_setting_is_frozen_and_knows_its_keys(section: Strict) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        setattr(section, next(iter(type(section).model_fields)), None)
    with pytest.raises(ValidationError, match="unknown_key"):
        type(section).from_dict({**section.to_dict(), "unknown_key": 1})
    assert type(section).from_dict(section.to_dict()) == section
