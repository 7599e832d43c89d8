"""The sections of an experiment file and the types of their values; what they mean is said where
they are used.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from engine.parts import NonNegativeInt, PositiveFloat, PositiveInt

Fraction01 = Annotated[float, Field(ge=0, le=1)]


def _tracked(place: str) -> str:
    if place != "none" and "://" not in place:
        text = (
            "none, or an MLflow URI such as http://127.0.0.1:5000 or sqlite:///mlflow.db; "
            "left out: beside the output"
        )
        raise PydanticCustomError("tracking", text)
    return place


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Slope(Strict):
    """Growth per generation over the last generations instead of the level at the end."""

    last: int = Field(ge=3)
    confidence: float = Field(default=0.95, ge=0.5, lt=1)


class Absorbing(Strict):
    """Further states that count as collapse once entered."""

    metric: str | None = None
    below: PositiveFloat | None = None
    class_extinct: bool | None = None
    undefined: bool | None = None


class Collapse(Strict):
    """Collapse: the metric passes this many times a reference (see engine/outcome/rule.py)."""

    metric: str
    above: PositiveFloat | None = None
    below: PositiveFloat | None = None
    of: Literal["start", "floor", "one"] | None = None
    slope: Slope | None = None
    absorbing: Absorbing | None = None


class Share(Strict):
    cpu: PositiveFloat | None = None
    gpu: float | None = Field(default=None, ge=0)
    memory: PositiveFloat | None = None
    timeout_minutes: PositiveFloat | None = (
        None  # of one generation: a lineage that takes longer has failed
    )
    hours_per_generation: PositiveFloat | None = None
    gb_per_generation: float | None = Field(default=None, ge=0)
    price_per_hour: (
        Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=2, max_length=2)] | None
    ) = None


class Resources(Share):
    generators: dict[str, Share] = {}


class Every(Strict):
    every: PositiveInt


class Between(Strict):
    """Where to search."""

    between: Annotated[list[Fraction01], Field(min_length=2, max_length=2)] = [0.0, 1.0]


class Threshold(Between):
    """Search where collapse begins along the synthetic fraction, for every workflow of the grid
    (`ouro threshold`).
    """

    axis: Literal["policy.synthetic_fraction"] = "policy.synthetic_fraction"
    width: float = Field(default=0.05, gt=0, le=1)  # of the interval that is wanted
    confidence: float = Field(default=0.9, ge=0.5, lt=1)
    budget: int = Field(default=60, ge=4)  # lineages of one workflow
    start: Annotated[list[Fraction01], Field(min_length=2)] | None = (
        None  # fractions of the first lineages
    )
    seeds: PositiveInt | None = None  # how many there are; left out: a new one for every lineage
    step: float | None = Field(
        default=None, gt=0, le=0.5
    )  # of the fractions; left out: 0.01, or one row
    policies: dict[str, Between] = {}  # where to search under one policy


class File(Strict):
    """The top level of an experiment file."""

    base: dict[str, Any]
    grid: dict[str, list[Any]] = {}
    without: list[dict[str, str]] = []  # combinations of parts, by name, that the grid leaves out
    seeds: PositiveInt | list[NonNegativeInt] = 1
    generations: NonNegativeInt
    metrics: list[str | dict[str, Any]] = []
    collapse: Collapse | None = None
    threshold: Threshold | None = None
    resources: Resources = Resources()
    keep: Literal["all", "last"] | Every = "all"
    out: str | None = None
    tracking: Annotated[str, AfterValidator(_tracked)] | None = None
    question: str | None = None


class Sizes(Strict):
    n_real: PositiveInt
    n_synthetic: PositiveInt | None = None
    arrival: Literal["fixed", "fresh"] = "fixed"
