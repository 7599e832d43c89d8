"""The collapse rule: when a lineage has collapsed, a functional of its curve that is defined once,
before anything runs.

    {metric: fid, above: 3.0}                       level at the last generation, times generation 0
    {metric: fid, above: 5.0, of: floor}            ... times the real-vs-real floor
    {metric: cross_entropy, above: 0.1, by: difference}    ... 0.1 nats above generation 0
    {metric: modes/live, below: 3, of: one}         ... as it is
    {metric: otdd/task_2, above: 3.0}               ... of generation 2, at which task 2 arrives
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
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from engine._tasks import of_key
from engine.files import JsonObject
from engine.parts import PositiveFloat
from engine.registry import key_of
from engine.status import Judged, Point, Status


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
    """Collapse: the metric passes this many times a reference, or this much above or below it."""

    metric: str = Field(
        description="The key that is judged, of a metric that is measured: fid, "
        "fid.extractor-lenet, moments/kl."
    )
    above: PositiveFloat | None = Field(
        default=None,
        description="Collapse is more than this many times the reference, or this much above it, "
        "see `by`; null: `below` is given.",
    )
    below: PositiveFloat | None = Field(
        default=None,
        description="Collapse is less than this many times the reference, or this much below it, "
        "see `by`; null: `above` is given.",
    )
    of: Literal["start", "floor", "one"] | None = Field(
        default=None,
        description="The reference: the value of generation 0, or of the generation at which the "
        "key's task arrived (start), the real-vs-real floor, or one, so that the bound is the "
        "metric's own value; null: start.",
    )
    by: Literal["ratio", "difference"] | None = Field(
        default=None,
        description="How the value is compared with the reference: as a multiple of it (ratio), or "
        "by how much it is above or below it, in the metric's unit (difference: of metrics whose "
        "zero is no origin, such as nats); null: ratio.",
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
    def is_ratio(self) -> bool:
        """Whether values are compared as multiples of the reference."""
        return self.by != "difference"

    @property
    def level(self) -> float:
        """What y is compared with: the logarithm of above, minus that of below; for differences and
        slopes the number itself.
        """
        logs = self.is_ratio and self.slope is None
        return self.sign * math.log(self.bound) if logs else self.bound

    def begins(self, reference: float) -> float:
        """The metric's value at which collapse begins beside a reference."""
        return reference * self.bound if self.is_ratio else reference + self.sign * self.bound

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
        if last is None or math.isnan(value) or not self._compares(reference):
            reason = self._lacking(curve, last)
            return Judged(math.nan, self.level, None, t, value, reference, undefined=reason)
        if self.slope is not None:
            return self._judge_slope(curve, self.slope, reference)
        return self._judge_level(last, reference)

    def first_passage(self, curve: Sequence[Point]) -> int | None:
        """The first generation at which the rule holds of the curve so far; None: at none."""
        first = self._first(curve)
        for end, point in enumerate(curve, start=1):  # a level needs the reference and the end
            pair = self.slope is None and first is not None and first.t < point.t
            if self.judge([first, point] if first and pair else curve[:end]).verdict:
                return point.t
        return None

    def is_absorbed(self, point: Point) -> bool:
        """Whether a generation is in a state that counts as collapse whatever the metric says; that
        a task's metric has no value before the task has arrived is none.
        """
        more = self.absorbing or Absorbing()
        extinct = more.class_extinct and point.status is Status.CLASS_EXTINCT
        there = point.due and point.t >= self.begins_at
        undefined = more.undefined and there and math.isnan(point.number)
        if point.status.absorbing or extinct or undefined:
            return True
        return more.below is not None and point.watched is not None and point.watched < more.below

    def words(self) -> str:
        """The rule as the end of a sentence."""
        side = "below" if self.above is None else "above"
        times = "" if self._of == "one" else f" x {self._reference_words}"
        if (slope := self.slope) is None:
            if self.is_ratio:
                return f"{self.metric} {side} {self.bound:g}{times}"
            return f"{self.metric} more than {self.bound_words} {side} {self._reference_words}"
        moves = "falls" if self.above is None else "grows"
        much = f"{self.bound:g}{times}" if self.is_ratio else self.bound_words
        span = f"per generation over the last {slope.last} ({100 * slope.confidence:g}% confidence)"
        return f"{self.metric} {moves} by more than {much} {span}"

    def quantity(self) -> str:
        """What is compared with the bound, for the axis of a figure."""
        own = {"floor": "its floor", "one": ""}.get(self._of, f"its generation {self.begins_at}")
        if self.slope is not None:
            what = f"{'fall' if self.above is None else 'growth'} of {self.metric}"
            beside = f" ({self.unit})" if self.unit else ""
            return what + (f" / {own}" if self.is_ratio and own else beside)
        if self.is_ratio:
            return f"{self.metric} / {own}" if own else self.metric
        unit = f": {self.unit}" if self.unit else ""
        return f"{self.metric}{unit} {'below' if self.above is None else 'above'} {own}"

    @property
    def unit(self) -> str:
        """What differences of the metric are counted in; '' of shares and of unknown metrics."""
        known = key_of(self.metric)
        unit = known.unit if known is not None else ""
        return "" if unit[:1].isdigit() or unit.startswith(("share", "ratio")) else unit

    @property
    def bound_words(self) -> str:
        """The bound as a figure marks it: `3 x`, `0.1 nats`."""
        if self.is_ratio:
            return f"{self.bound:g}{' x' if self._of != 'one' and self.slope is None else ''}"
        return f"{self.bound:g} {self.unit}".rstrip()

    @property
    def _reference_words(self) -> str:
        return "its real-vs-real floor" if self._of == "floor" else f"generation {self.begins_at}"

    @property
    def begins_at(self) -> int:
        """The generation whose value is the reference `start`: that at which its task arrived."""
        return of_key(self.metric) or 0

    def _first(self, curve: Sequence[Point]) -> Point | None:
        return next((p for p in curve if p.t == self.begins_at), None)

    @property
    def _of(self) -> str:
        return self.of or "start"

    def _reference(self, curve: Sequence[Point], last: Point | None) -> float:
        found: float | None = None
        if self._of == "one":
            found = 1.0
        elif self._of == "floor":
            found = last.floor if last else None
        elif first := self._first(curve):
            found = first.value
        return math.nan if found is None else found

    def _lacking(self, curve: Sequence[Point], last: Point | None) -> str:
        """Why there is nothing to judge."""
        if last is None:
            return f"{self.metric} was not measured yet"
        if math.isnan(last.number):
            reason, why = f"{self.metric} has no value at generation {last.t}", last.why
        else:
            what = "floor" if self._of == "floor" else f"value at generation {self.begins_at}"
            what = f"positive {what}" if self.is_ratio else what
            reason = f"{self.metric} has no {what} to compare with"
            first = self._first(curve) if self._of == "start" else None
            why = first.why if first else ""
        return f"{reason}: {why}" if why else reason

    def _compares(self, reference: float) -> bool:
        return reference > 0 if self.is_ratio else math.isfinite(reference)

    def _judge_level(self, last: Point, reference: float) -> Judged:
        if not self.is_ratio:
            y = self.sign * (last.number - reference)
            return Judged(y, self.level, y > self.level, last.t, last.number, reference)
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

        y = [self.sign * p.number / (reference if self.is_ratio else 1.0) for p in used]
        two_sided = 2 * slope.confidence - 1
        found = theilslopes(y, [p.t for p in used], alpha=two_sided)
        verdict = bool(found.low_slope > self.level)
        return Judged(float(found.slope), self.level, verdict, t, value, reference)
