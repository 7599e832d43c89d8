"""The frame of an experiment file: its sections and the types of their values (engine/settings.py
has the settings).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from engine._tasks import as_tuples
from engine.files import expanded
from engine.parts import NonNegativeInt, PositiveInt
from engine.settings import CollapseRule, Keep, Resources, Strict, Threshold
from engine.spec import Control

MOST_ROWS = 10**12  # of a set: those of all generations together can be counted
MOST_GENERATIONS = 1_000_000  # of a lineage: every one of them is planned before it runs


def _tracked(place: str) -> str:
    if place != "none" and "://" not in place:
        text = (
            "none, or an MLflow URI such as http://127.0.0.1:5000 or sqlite:///mlflow.db; "
            "left out: beside the output"
        )
        raise PydanticCustomError("tracking", text)
    return place


def _tasks(value: Any) -> Any:
    listed = isinstance(value, list) and all(isinstance(own, list) for own in value)
    labels = [label for own in value for label in own] if listed else [value]
    least = 0 if listed else 2
    if value is not None and not all(type(own) is int and own >= least for own in labels):
        text = (
            "should be how many tasks there are, from 2, or the classes of each, such as [[0, 1], "
            "[2, 3]]"
        )
        raise PydanticCustomError("tasks", text)
    return as_tuples(value)


Tasks = Annotated[int, Field(ge=2)] | tuple[tuple[NonNegativeInt, ...], ...]


class File(Strict):
    """An experiment: a grid of lineages, how far they go, and what is measured of them."""

    base: dict[str, Any] = Field(
        description="What all lineages have in common: the parts dataset, generator, policy and "
        "sampling, and the sizes n_real, n_synthetic, arrival and tasks."
    )
    grid: dict[str, list[Any]] = Field(
        default={},
        description="Axes: keys of base, or parameters of parts such as policy.synthetic_fraction, "
        "each with a list of values; every combination is a cell.",
    )
    without: list[dict[str, Any]] = Field(
        default=[],
        description="Combinations that the grid leaves out: parts by name, and parameters of parts "
        "by value, such as {generator: wgan, policy.synthetic_fraction: 0}.",
    )
    seeds: PositiveInt | list[NonNegativeInt] = Field(
        default=1,
        description="Lineages of each cell: so many, with seeds 0, 1, ...; or a list of seeds.",
    )
    generations: int = Field(
        ge=0,
        le=MOST_GENERATIONS,
        description="Retrainings after generation 0: a lineage has generations 0 to this one.",
    )
    metrics: list[str | dict[str, Any]] = Field(
        default=[], description="What is measured of every generation: metrics by name."
    )
    collapse: CollapseRule | None = Field(
        default=None, description="What counts as collapse; null: nothing, curves are only shown."
    )
    threshold: Threshold | None = Field(
        default=None,
        description="What `ouro threshold` searches: the synthetic fraction at which collapse "
        "begins; null: it is not asked for.",
    )
    control: Control | None = Field(
        default=None,
        description="Run every cell again at a quarter of n_real and n_synthetic (size): what "
        "shrinks with n is for want of data, what stays is the sampler's or the network's; null: "
        "no control.",
    )
    resources: Resources = Field(
        default=Resources(), description="What a lineage takes of a machine, and what that costs."
    )
    keep: Keep = Field(
        default="all",
        description="Whose weights and samples stay on disk beside the last generation's, which "
        "always do: of all generations, of the last alone, or {every: N}.",
    )
    out: Annotated[str, AfterValidator(expanded)] | None = Field(
        default=None,
        description="Folder or URL (s3://...) to write to, ~ and $VARIABLES filled in; null: runs/ "
        "and the name of the file.",
    )
    tracking: Annotated[str, AfterValidator(_tracked)] | None = Field(
        default=None,
        description="Where generations are mirrored: an MLflow URI (http://..., sqlite:///...), "
        "tensorboard://FOLDER, or none; null: an MLflow database beside the output.",
        json_schema_extra={"pattern": "^none$|://"},
    )
    question: str | None = Field(
        default=None,
        description="What the experiment asks, for its report; null: the comment `# Question:`.",
    )


class Sizes(Strict):
    """How many samples, and whether real ones are drawn again."""

    n_real: PositiveInt = Field(
        le=MOST_ROWS,
        description="Real samples that generation 0 is trained on; of each task, with tasks.",
    )
    n_synthetic: PositiveInt | None = Field(
        default=None,
        le=MOST_ROWS,
        description="Samples drawn from each generation (with tasks, for each task so far); null: "
        "n_real, or what the policy needs where that is more.",
    )
    arrival: Literal["fixed", "fresh", "parts", "tasks"] = Field(
        default="fixed",
        description="The real set of later generations: the same one (fixed), a new draw of n_real "
        "samples each time (fresh), the next n_real rows of a finite set, none twice (parts), or "
        "n_real rows of other classes (tasks), which `tasks` names.",
    )
    tasks: Annotated[Tasks | None, BeforeValidator(_tasks)] = Field(
        default=None,
        description="Of arrival tasks, what arrives with each generation: so many tasks, into "
        "which the classes are split evenly in the order of their labels, or the classes of each, "
        "such as [[0, 1], [2, 3]]; null: there are no tasks.",
    )
