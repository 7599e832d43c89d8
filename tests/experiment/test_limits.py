"""Numbers that make a loop of a plan have limits, and the refusal names them."""

from __future__ import annotations

import pytest

from engine.experiment.reader import SpecError, of_text

BASE = """base: {dataset: gaussian, generator: gaussian, n_real: 10}
generations: 3
metrics: [moments]
"""


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("generations=2_000_000", "should be a valid integer"),  # YAML 1.2 has no such number
        ("generations=2000000", "should be less than or equal to 1000000, got 2000000"),
        ("generations=10000000000000000000000", "should be less than or equal to 1000000"),
        (
            "base.n_real=10000000000000",
            "--set base.n_real=10000000000000: should be less than or equal to 1000000000000",
        ),
        (f"base.n_synthetic={'9' * 400}", "should be less than or equal to 1000000000000"),
        ("seeds=2000000", "2000000 (seeds) = 2,000,000 lineages; at most 100,000"),
        ("seeds=10000000000000000000000", "at most 100,000"),
        (
            "generations=1000 seeds=10000",
            "10,000 lineages of 1,001 generations = 10,010,000; at most 2,000,000",
        ),
        (
            "generations=100000 base.policy=accumulate",
            "under accumulate); at most 50,000,000 are planned at once",
        ),
        (
            "resources.cpu=0.00001",
            "--set resources.cpu=0.00001: should be greater than or equal to 0.0001",
        ),
        ("resources.cpu=1e30", "--set resources.cpu=1e30: should be less than or equal to 10000"),
        (
            "resources.gpu=0.00001",
            "--set resources.gpu=0.00001: gpu should be 0, a part of one from 0.0001 on",
        ),
        (
            "resources.gpu=1.5",
            "--set resources.gpu=1.5: gpu should be 0, a part of one from 0.0001 on",
        ),
        (
            "resources.memory=1e-20",
            "--set resources.memory=1e-20: should be greater than or equal to 0.001",
        ),
        (
            "resources.timeout_minutes=1e300",
            "--set resources.timeout_minutes=1e300: should be less than or equal to",
        ),
    ],
)
def test_what_is_too_much_is_refused_by_its_limit(override: str, said: str) -> None:
    with pytest.raises(SpecError) as refused:
        of_text(BASE.encode(), name="much", source="much.yaml", overrides=override.split())
    assert said in str(refused.value)


def test_what_is_allowed_is_not_refused() -> None:
    sets = ["generations=1000000", "resources.gpu=2", "resources.cpu=0.5"]
    sweep = of_text(BASE.encode(), name="much", source="much.yaml", overrides=sets)
    assert sweep.generations == 1_000_000
