"""What a sweep of lineages is; a lineage (LineageSpec) is everything that changes the samples,
nothing else.

Identity is apart from extent: generations, metrics, resources and paths are in no id.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from engine import _yardstick as yardstick
from engine._lineage_spec import PARTS as PARTS
from engine._lineage_spec import LineageSpec as LineageSpec
from engine._measure_spec import MeasureSpec as MeasureSpec
from engine.files import JsonObject
from engine.identity import Part as Part
from engine.identity import digest as digest
from engine.identity import digest_of_text as digest_of_text
from engine.registry import key_of
from engine.settings import CollapseRule, Every, Keep, Resources, Share, Threshold

PLAIN = ("name", "generations", "out", "tracking", "question", "source")  # of a sweep
Control = Literal["size"]  # the same chain at a quarter of n_real and n_synthetic


@dataclass(frozen=True)
class Refused:
    """A cell of the grid that makes no sense, and why."""

    cell: LineageSpec  # of any seed
    reason: str

    def to_dict(self) -> JsonObject:
        """Plain values, as in JSON."""
        return {"cell": self.cell.to_dict(), "reason": self.reason}

    @classmethod
    def from_dict(cls, values: JsonObject) -> Refused:
        """The inverse of `to_dict`."""
        return cls(LineageSpec.from_dict(values["cell"]), values["reason"])


@dataclass(frozen=True)
class Sweep:
    """Which lineages, how far, what to measure, on what machines."""

    name: str
    lineages: tuple[LineageSpec, ...]
    generations: int  # after the founder: a lineage has generations 0..generations
    metrics: tuple[MeasureSpec, ...] = ()
    collapse: CollapseRule | None = None
    threshold: Threshold | None = None  # what `ouro threshold` searches
    resources: Resources = field(default_factory=Resources)
    keep: Keep = "all"
    out: str = ""
    tracking: str | None = None  # an MLflow URI; None: sqlite beside the store; "none": no tracking
    question: str = ""
    source: str = ""
    file: str = field(default="", compare=False)  # its whole path; '' of what an output keeps
    refused: tuple[Refused, ...] = ()  # cells of the grid that make no sense
    control: Control | None = None  # what every cell is run again with
    controls: tuple[LineageSpec, ...] = ()  # those chains: in no average and in no search
    document: JsonObject = field(default_factory=dict)  # the file's values, overrides applied

    @cached_property
    def all_lineages(self) -> tuple[LineageSpec, ...]:
        """Those of its cells, and their controls: all that is run."""
        return (*self.lineages, *self.controls)

    @cached_property
    def control_ids(self) -> frozenset[str]:
        """The ids of the controls, which count for no cell."""
        return frozenset(spec.id for spec in self.controls)

    @cached_property
    def kind(self) -> str | None:
        """The kind of all its data (GIVES); None: of several kinds."""
        datasets = {spec.dataset.name: spec.dataset for spec in self.lineages}
        kinds = {dataset.constant("GIVES") for dataset in datasets.values()}
        return kinds.pop() if len(kinds) == 1 else None

    @cached_property
    def headline(self) -> str:
        """The key to show where there is room for one: the collapse rule's, else that of the first
        metric; '' where nothing is measured.
        """
        if self.collapse is not None:
            return self.collapse.metric
        return self.metrics[0].headline(self.kind) if self.metrics else ""

    @cached_property
    def drifts_by(self) -> Literal["ratio", "difference"]:
        """How the headline's change is said: as the collapse rule compares, else as its metric
        declares.
        """
        rule = self.collapse
        if rule is not None and rule.of != "one":
            return "ratio" if rule.is_ratio else "difference"
        known = key_of(self.headline)
        return "difference" if known is not None and known.by == "difference" else "ratio"

    def key_of(self, metric: str) -> str:
        """The key of the first metric of this name, whatever its parameters; '' without one."""
        own = next((m for m in self.metrics if m.part.name == metric), None)
        return "" if own is None else own.headline(self.kind)

    def metrics_of(self, spec: LineageSpec) -> tuple[MeasureSpec, ...]:
        """The metrics that have a value on the lineage's data under its generator, each at the n at
        which all cells are compared.
        """
        own = (metric for metric in self.metrics if not spec.lacking(metric.part))
        return tuple(self._compared(metric, spec) for metric in own)

    def _compared(self, metric: MeasureSpec, spec: LineageSpec) -> MeasureSpec:
        """A metric as this lineage has it; where all that it can compare are n, without an n, as
        before there was one: what was measured then is the same.
        """
        n = None
        if spec.id not in self.control_ids and yardstick.counts(metric.part, spec.generator):
            n = self.n_of(metric)
        whole = yardstick.whole(metric.part, spec, n)
        of = yardstick.extractor(metric.part, spec.dataset)
        return replace(metric, n=None if whole else n, of=of)

    def n_of(self, metric: MeasureSpec) -> int | None:
        """How many samples of each cell a metric compares: what the file says, else the most that
        all cells have; None where no value of it depends on that.
        """
        fewest = self.fewest.get(metric.id)
        return fewest if fewest is None or metric.n is None else metric.n

    @property
    def compared(self) -> dict[str, int]:
        """The n at which all cells are compared, by the metric's id."""
        found = ((metric.id, self.n_of(metric)) for metric in self.metrics)
        return {name: n for name, n in found if n is not None}

    @property
    def judged_at(self) -> int | None:
        """The n at which the collapse rule's metric is compared."""
        judged = "" if self.collapse is None else self.collapse.metric
        return self.compared.get(judged.partition("/")[0])

    def rule_words(self) -> str:
        """The collapse rule as the end of a sentence, with its n; '' without one."""
        said = "" if self.collapse is None else self.collapse.words()
        return said if self.judged_at is None else f"{said} (n = {self.judged_at:,})"

    def n_in(self, spec: LineageSpec, metric: str) -> int | None:
        """How many samples of a lineage the metric with this id compares; None where that does not
        matter, or it is not measured there.
        """
        own = next((m for m in self.metrics_of(spec) if m.id == metric), None)
        if own is None or not yardstick.counts(own.part, spec.generator):
            return None
        return yardstick.most(own.part, spec) if own.n is None else own.n

    @cached_property
    def fewest(self) -> dict[str, int]:
        """The most samples that all cells have to compare, by the metric's id; of metrics whose
        values depend on how many they are.
        """
        alike = {(*_parts(s), s.n_drawn): s for s in self._table}
        found: dict[str, int] = {}
        for metric in self.metrics:
            for spec in alike.values():
                if spec.lacking(metric.part):
                    continue
                if yardstick.counts(metric.part, spec.generator):
                    own = yardstick.most(metric.part, spec)
                    found[metric.id] = min(own, found.get(metric.id, own))
        return found

    @property
    def _table(self) -> Iterator[LineageSpec]:
        """The lineages that are compared with each other: the grid's, and the ends of the axis that
        a search goes along.
        """
        for spec in self.lineages:
            yield spec
            if self.threshold is not None and spec.has_fraction:
                own = self.threshold.design(spec.policy.name, spec.n_real)
                yield from (spec.at(fraction, spec.seed) for fraction in own.between)

    def with_lineages(self, lineages: Iterable[LineageSpec]) -> Sweep:
        """The same sweep of other lineages, compared at the n of these."""
        metrics = tuple(replace(metric, n=self.n_of(metric)) for metric in self.metrics)
        return replace(self, lineages=tuple(lineages), metrics=metrics)

    def left_out(self) -> list[str]:
        """The metrics that have no value in some cells: which, why, and in how many."""
        cells = {spec.cell_id: spec for spec in self.lineages}
        known: dict[tuple[str, tuple[int, ...]], str] = {}  # cells share their parts
        found: dict[str, set[str]] = {}  # reason: cells
        for metric in self.metrics:
            for cell, spec in cells.items():
                pair = (metric.id, _parts(spec))
                if pair not in known:
                    known[pair] = spec.lacking(metric.part)
                if known[pair]:
                    found.setdefault(known[pair], set()).add(cell)
        return [f"{why} ({len(of)} of {len(cells)} cells)" for why, of in found.items()]

    def resources_of(self, spec: LineageSpec) -> Share:
        """What one lineage takes of a machine, and what its generations are declared to cost."""
        return self.resources.of(spec.generator.name)

    def to_dict(self) -> JsonObject:
        """Plain values, as in JSON."""
        plain = {name: getattr(self, name) for name in PLAIN}
        settings = {
            "collapse": None if self.collapse is None else self.collapse.to_dict(),
            "threshold": None if self.threshold is None else self.threshold.to_dict(),
            "resources": self.resources.to_dict(),
            "keep": self.keep.to_dict() if isinstance(self.keep, Every) else self.keep,
        }
        return {
            **plain,
            **settings,
            "metrics": [m.to_dict() for m in self.metrics],
            "lineages": [s.to_dict() for s in self.lineages],
            "refused": [r.to_dict() for r in self.refused],
            "control": self.control,
            "controls": [s.to_dict() for s in self.controls],
            "document": self.document,
        }

    @classmethod
    def from_dict(cls, values: JsonObject) -> Sweep:
        """The inverse of `to_dict`."""
        collapse, threshold, keep = values["collapse"], values["threshold"], values["keep"]
        kept: Keep = Every.from_dict(keep) if isinstance(keep, dict) else keep
        return cls(
            **{name: values[name] for name in PLAIN},
            collapse=None if collapse is None else CollapseRule.from_dict(collapse),
            threshold=None if threshold is None else Threshold.from_dict(threshold),
            resources=Resources.from_dict(values["resources"]),
            keep=kept,
            metrics=tuple(MeasureSpec.from_dict(m) for m in values["metrics"]),
            lineages=tuple(LineageSpec.from_dict(s) for s in values["lineages"]),
            refused=tuple(Refused.from_dict(r) for r in values["refused"]),
            control=values.get("control"),
            controls=tuple(LineageSpec.from_dict(s) for s in values.get("controls", [])),
            document=values.get("document", {}),
        )


def _parts(spec: LineageSpec) -> tuple[int, ...]:
    """Which parts decide that: cells of a grid share them."""
    return id(spec.dataset), id(spec.generator), id(spec.sampling), spec.tasks is not None
