"""The settings of an experiment file beside its grid: collapse rule, search for a threshold,
resources, what is kept; frozen, checked once, and used as they are everywhere.

Collapse is defined once, as a functional of a lineage's curve, before anything runs:

    {metric: fid, above: 3.0}                       level at the last generation, times generation 0
    {metric: fid, above: 5.0, of: floor}            ... times the real-vs-real floor
    {metric: modes/live, below: 3, of: one}         ... as it is
    {metric: fid, above: 0.05, slope: {last: 6}}    growth per generation in units of generation 0,
                                                    by the one-sided bound of Theil-Sen's slope
    {..., absorbing: {metric: moments/trace_ratio, below: 1e-9, class_extinct: true,
                      undefined: true}}

States that a lineage cannot leave are a collapse whatever the metric says: it diverged, its samples
are all equal, nothing is left to draw; and those that the file adds under `absorbing`.  y grows as
things get worse and is compared with one level.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from engine.files import JsonObject
from engine.parts import PositiveFloat, PositiveInt
from engine.status import Judged, Point, Status

GB = 1e9  # bytes
START = (0.0, 0.25, 0.5, 0.75, 1.0, 0.125, 0.375, 0.625, 0.875, 1.0)  # of a search
Fraction01 = Annotated[float, Field(ge=0, le=1)]
LEAST_SHARE, MOST_SHARE = 1e-4, 1e4  # CPUs or GPUs of a lineage; Ray counts in 0.0001
Amount = Annotated[float, Field(gt=0, le=1e6)]
Axis = Annotated[tuple[Fraction01, ...], Field(min_length=2, max_length=2)]  # (lower, higher)
Price = Annotated[
    tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=2, max_length=2)
]  # USD, lowest and highest


class Strict(BaseModel):
    """A section of the file: no key that is not known, no value of another type, no change."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    def to_dict(self) -> JsonObject:
        """Plain values, as in JSON; what is left out there is left out here."""
        return self.model_dump(mode="json", exclude_none=True)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`; pydantic's ValidationError for what does not fit."""
        return cls.model_validate_json(json.dumps(values))


# ---- the collapse rule ---------------------------------------------------------------------------


class Slope(Strict):
    """Growth per generation over the last generations instead of the level at the end."""

    last: int = Field(ge=3, description="Generations at the end that the slope is of, from 3 on.")
    confidence: float = Field(
        default=0.95,
        ge=0.5,
        lt=1,
        description="Of the one-sided bound of the slope that must be past the level, a share.",
    )


class Absorbing(Strict):
    """Further states that count as collapse once entered."""

    metric: str | None = Field(
        default=None, description="A metric's key that is watched, with `below`; null: none."
    )
    below: PositiveFloat | None = Field(
        default=None,
        description="The watched metric's own value under which nothing recovers; null: none.",
    )
    class_extinct: bool | None = Field(
        default=None, description="Whether a class that is no longer drawn counts; null: no."
    )
    undefined: bool | None = Field(
        default=None,
        description="Whether a generation in which the collapse metric has no value counts; "
        "null: no.",
    )


class CollapseRule(Strict):
    """Collapse: the metric passes this many times a reference."""

    metric: str = Field(
        description="The key that is judged, of a metric that is measured: fid, "
        "fid.extractor-lenet, moments/kl."
    )
    above: PositiveFloat | None = Field(
        default=None,
        description="Collapse is more than this many times the reference; null: `below` is given.",
    )
    below: PositiveFloat | None = Field(
        default=None,
        description="Collapse is less than this many times the reference; null: `above` is given.",
    )
    of: Literal["start", "floor", "one"] | None = Field(
        default=None,
        description="The reference: the value of generation 0 (start), the real-vs-real floor, or "
        "one, so that the bound is the metric's own value; null: start.",
    )
    slope: Slope | None = Field(
        default=None,
        description="Judge the growth per generation over the last generations; null: the level "
        "at the last one.",
    )
    absorbing: Absorbing | None = Field(
        default=None,
        description="Further states that count as collapse once entered, beside divergence, equal "
        "samples and extinction, which always do; null: none.",
    )

    @property
    def sign(self) -> int:
        """1 where more of the metric is worse, -1 where less is."""
        return 1 if self.above is not None else -1

    @property
    def bound(self) -> float:
        """The number after above or below."""
        bound = self.below if self.above is None else self.above
        assert bound is not None, "the reader refuses a rule without a bound"
        return bound

    @property
    def level(self) -> float:
        """What y is compared with: the logarithm of above, minus that of below; for slopes the
        number itself, with that sign.
        """
        return self.sign * (math.log(self.bound) if self.slope is None else self.bound)

    @property
    def watched(self) -> str | None:
        """The metric of `absorbing`."""
        return None if self.absorbing is None else self.absorbing.metric

    def judge(self, curve: Sequence[Point]) -> Judged:
        """What the rule says of the generations so far."""
        last = next((p for p in reversed(curve) if p.due), None)
        value, t = (last.number, last.t) if last else (math.nan, -1)
        reference = self._reference(curve, last)
        absorbed = next((p for p in curve if self.is_absorbed(p)), None)
        if absorbed is not None:
            return Judged(math.inf, self.level, True, absorbed.t, value, reference, absorbed=True)
        if last is None or math.isnan(value) or not reference > 0:
            reason = self._lacking(curve, last)
            return Judged(math.nan, self.level, None, t, value, reference, undefined=reason)
        if self.slope is not None:
            return self._judge_slope(curve, self.slope, reference)
        return self._judge_level(last, reference)

    def first_passage(self, curve: Sequence[Point]) -> int | None:
        """The first generation at which the rule holds of the curve so far; None: at none."""
        for end, point in enumerate(curve, start=1):  # a level needs the reference and the end
            if self.judge(curve[:end] if self.slope or end < 2 else [curve[0], point]).verdict:
                return point.t
        return None

    def is_absorbed(self, point: Point) -> bool:
        """Whether a generation is in a state that counts as collapse whatever the metric says."""
        more = self.absorbing or Absorbing()
        extinct = more.class_extinct and point.status is Status.CLASS_EXTINCT
        undefined = more.undefined and point.due and math.isnan(point.number)
        if point.status.absorbing or extinct or undefined:
            return True
        return more.below is not None and point.watched is not None and point.watched < more.below

    def words(self) -> str:
        """The rule as the end of a sentence."""
        unit = {"floor": " x its real-vs-real floor", "one": ""}.get(self._of, " x generation 0")
        if (slope := self.slope) is None:
            side = "below" if self.above is None else "above"
            return f"{self.metric} {side} {self.bound:g}{unit}"
        moves = "falls" if self.above is None else "grows"
        span = f"per generation over the last {slope.last} ({100 * slope.confidence:g}% confidence)"
        return f"{self.metric} {moves} by more than {self.bound:g}{unit} {span}"

    def quantity(self) -> str:
        """What y is, for the axis of a figure."""
        unit = {"floor": " / floor", "one": ""}.get(self._of, " / generation 0")
        if self.slope is not None:
            return f"{'fall' if self.above is None else 'growth'} of {self.metric}{unit}"
        return f"{'-' if self.above is None else ''}log({self.metric}{unit})"

    @property
    def _of(self) -> str:
        return self.of or "start"

    def _reference(self, curve: Sequence[Point], last: Point | None) -> float:
        found: float | None = None
        if self._of == "one":
            found = 1.0
        elif self._of == "floor":
            found = last.floor if last else None
        elif curve and curve[0].t == 0:
            found = curve[0].value
        return math.nan if found is None else found

    def _lacking(self, curve: Sequence[Point], last: Point | None) -> str:
        """Why there is nothing to judge."""
        if last is None:
            return f"{self.metric} was not measured yet"
        if math.isnan(last.number):
            reason, why = f"{self.metric} has no value at generation {last.t}", last.why
        else:
            what = "floor" if self._of == "floor" else "value at generation 0"
            reason = f"{self.metric} has no positive {what} to compare with"
            why = curve[0].why if self._of == "start" and curve[0].t == 0 else ""
        return f"{reason}: {why}" if why else reason

    def _judge_level(self, last: Point, reference: float) -> Judged:
        ratio, above = last.number / reference, self.above is not None
        verdict = ratio > self.bound if above else ratio < self.bound
        if ratio > 0:
            y, reason = self.sign * math.log(ratio), ""
        elif above:
            y, reason = math.nan, f"{self.metric} is {last.number:g}, which has no logarithm"
        else:
            y, reason = math.inf, ""
        return Judged(y, self.level, verdict, last.t, last.number, reference, undefined=reason)

    def _judge_slope(self, curve: Sequence[Point], slope: Slope, reference: float) -> Judged:
        """Theil-Sen over the last generations, with its one-sided confidence bound (Sen 1968)."""
        used = [p for p in curve if not math.isnan(p.number)][-slope.last :]
        t, value = used[-1].t, used[-1].number
        if len(used) < 3:
            reason = f"a slope needs 3 generations with a value, there are {len(used)}"
            return Judged(math.nan, self.level, None, t, value, reference, undefined=reason)
        from scipy.stats import theilslopes

        y = [self.sign * p.number / reference for p in used]
        two_sided = 2 * slope.confidence - 1
        found = theilslopes(y, [p.t for p in used], alpha=two_sided)
        verdict = bool(found.low_slope > self.level)
        return Judged(float(found.slope), self.level, verdict, t, value, reference)


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
