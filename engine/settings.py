"""The settings of an experiment file beside its grid: collapse rule, search for a threshold,
resources, what is kept; frozen, checked once, and used as they are everywhere.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from engine._collapse_rule import Absorbing as Absorbing
from engine._collapse_rule import CollapseRule as CollapseRule
from engine._collapse_rule import Slope as Slope
from engine._collapse_rule import Strict as Strict
from engine.parts import PositiveInt

GB = 1e9  # bytes
START = (0.0, 0.25, 0.5, 0.75, 1.0, 0.125, 0.375, 0.625, 0.875, 1.0)  # of a search
Fraction01 = Annotated[float, Field(ge=0, le=1)]
LEAST_SHARE, MOST_SHARE = 1e-4, 1e4  # CPUs or GPUs of a lineage; Ray counts in 0.0001
Amount = Annotated[float, Field(gt=0, le=1e6)]
Axis = Annotated[tuple[Fraction01, ...], Field(min_length=2, max_length=2)]  # (lower, higher)
Price = Annotated[
    tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=2, max_length=2)
]  # USD, lowest and highest


# ---- the search for a threshold ------------------------------------------------------------------


class Between(Strict):
    """Where to search."""

    between: Axis = Field(
        default=(0.0, 1.0), description="The lower and the higher fraction to search between."
    )

    @property
    def ends(self) -> tuple[float, float]:
        """The lower and the higher one."""
        return self.between[0], self.between[1]


class Threshold(Between):
    """Search where collapse begins along the synthetic fraction, for every workflow of the grid
    (`ouro threshold`).
    """

    axis: Literal["policy.synthetic_fraction"] = Field(
        default="policy.synthetic_fraction", description="The parameter that is searched along."
    )
    width: float = Field(
        default=0.05, gt=0, le=1, description="Of the interval at which a search ends, a fraction."
    )
    confidence: float = Field(
        default=0.9, ge=0.5, lt=1, description="That the threshold lies in its interval, a share."
    )
    risk: float = Field(
        default=0.1, gt=0, lt=0.5, description="Share that may collapse up to the safe fraction."
    )
    budget: int = Field(
        default=60, ge=4, description="Lineages that a search may use per workflow, at most."
    )
    start: Annotated[tuple[Fraction01, ...], Field(min_length=2)] | None = Field(
        default=None,
        description="Fractions of the first lineages; null: ten, spread over 0 to 1.",
    )
    seeds: PositiveInt | None = Field(
        default=None, description="How many seeds there are; null: a new one for every lineage."
    )
    step: float | None = Field(
        default=None,
        gt=0,
        le=0.5,
        description="Distance of the fractions that are tried; null: 0.01, or one row of n_real.",
    )
    policies: dict[str, Between] = Field(
        default={}, description="Where to search under one policy, by its name."
    )

    @property
    def first(self) -> tuple[float, ...]:
        """Fractions of the first lineages."""
        return START if self.start is None else self.start

    @property
    def lattice(self) -> float:
        """Distance of the fractions that are tried."""
        return 0.01 if self.step is None else self.step

    def design(self, policy: str, n_real: int) -> Threshold:
        """The search of one workflow: its policy's axis, and a step of one row at least."""
        own = self.policies.get(policy, self).between
        step = max(self.lattice, 1 / n_real) if self.step is None else self.step
        return self.model_copy(update={"between": own, "step": step, "policies": {}})


# ---- resources, and what is kept -----------------------------------------------------------------


class Share(Strict):
    """What one lineage takes of a machine, and what a generation of it is declared to cost."""

    cpu: Annotated[float, Field(ge=LEAST_SHARE, le=MOST_SHARE)] | None = Field(
        default=None, description="CPUs of a lineage, which set its threads; null: 1."
    )
    gpu: Annotated[float, Field(ge=0, le=MOST_SHARE)] | None = Field(
        default=None, description="GPUs of a lineage, or its part of one; null: none."
    )
    memory: Annotated[float, Field(ge=1e-3, le=1e6)] | None = Field(
        default=None, description="Memory of a lineage in GB; null: it is not limited."
    )
    timeout_minutes: Amount | None = Field(
        default=None,
        description="Minutes of one generation past which its lineage has failed; null: any.",
    )
    hours_per_generation: Amount | None = Field(
        default=None,
        description="Declared hours of one generation, for the forecast; null: by its rows.",
    )
    gb_per_generation: Annotated[float, Field(ge=0, le=1e6)] | None = Field(
        default=None,
        description="Declared GB that one generation keeps on disk; null: by its rows.",
    )
    price_per_hour: Price | None = Field(
        default=None,
        description="Lowest and highest price in dollars of an hour of a GPU with its machine, or "
        "of a CPU where no GPU is asked for; null: no price is said.",
    )

    @property
    def cpus(self) -> float:
        """CPUs of a lineage."""
        return 1 if self.cpu is None else self.cpu

    @property
    def gpus(self) -> float:
        """GPUs of a lineage, or its part of one."""
        return self.gpu or 0.0

    @property
    def memory_bytes(self) -> float:
        """Memory of a lineage in bytes; 0 where it is not limited."""
        return (self.memory or 0.0) * GB

    @property
    def threads(self) -> int:
        """Threads of its pools: 1 and 2 give different bits."""
        return max(1, int(self.cpus))


class Resources(Share):
    """Of every lineage, overridden under `generators` by the generator's name."""

    generators: dict[str, Share] = Field(
        default={}, description="The same for lineages of one generator, by its name."
    )

    def of(self, generator: str) -> Share:
        """What a lineage of this generator takes."""
        own = self.generators.get(generator)
        common = {name: getattr(self, name) for name in Share.model_fields}
        changed = {} if own is None else own.model_dump(exclude_none=True)
        return Share.model_construct(**{**common, **changed})


class Every(Strict):
    """Keep the weights and samples of generations 0, every, 2 every, ..."""

    every: PositiveInt = Field(description="Of every so many generations, from 0 on.")


Keep = Literal["all", "last"] | Every  # whose weights and samples stay; the last one's always do


def is_kept(t: int, keep: Keep) -> bool:
    """Whether generation t's weights and samples stay, apart from those of the last generation."""
    return t % keep.every == 0 if isinstance(keep, Every) else keep == "all"
