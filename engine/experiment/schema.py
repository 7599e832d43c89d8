"""The frame of an experiment file: its sections and the types of their values (engine/settings.py
has the settings).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from engine.parts import NonNegativeInt, PositiveInt
from engine.settings import CollapseRule, Keep, Resources, Strict, Threshold


def _tracked(place: str) -> str:
    if place != "none" and "://" not in place:
        text = (
            "none, or an MLflow URI such as http://127.0.0.1:5000 or sqlite:///mlflow.db; "
            "left out: beside the output"
        )
        raise PydanticCustomError("tracking", text)
    return place


class File(Strict):
    """The top level of an experiment file."""

    base: dict[str, Any]
    grid: dict[str, list[Any]] = {}
    without: list[dict[str, str]] = []  # combinations of parts, by name, that the grid leaves out
    seeds: PositiveInt | list[NonNegativeInt] = 1
    generations: NonNegativeInt
    metrics: list[str | dict[str, Any]] = []
    collapse: CollapseRule | None = None
    threshold: Threshold | None = None
    resources: Resources = Resources()
    keep: Keep = "all"
    out: str | None = None
    tracking: Annotated[str, AfterValidator(_tracked)] | None = None
    question: str | None = None


class Sizes(Strict):
    n_real: PositiveInt
    n_synthetic: PositiveInt | None = None
    arrival: Literal["fixed", "fresh"] = "fixed"
