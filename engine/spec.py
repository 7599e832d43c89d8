"""What a lineage is (LineageSpec: everything that changes the samples, nothing else) and what a
sweep of them is.

Identity is apart from extent: generations, metrics, resources and paths are in no id.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property

from engine.files import JsonObject
from engine.identity import Part as Part
from engine.identity import digest as digest
from engine.identity import digest_of_text as digest_of_text
from engine.identity import short
from engine.refusals import lacking
from engine.registry import describe
from engine.settings import CollapseRule, Every, Keep, Resources, Share, Threshold

PLAIN = ("name", "generations", "out", "tracking", "question", "source")  # of a sweep
PARTS = ("dataset", "generator", "policy", "sampling")  # of a lineage


@dataclass(frozen=True)
class LineageSpec:
    """One chain: one truth, one generator, one policy, one sampling, one seed."""

    dataset: Part
    generator: Part
    policy: Part
    sampling: Part
    n_real: int
    seed: int
    n_synthetic: int | None = None  # None: n_real, or what the policy needs if that is more
    arrival: str = (
        "fixed"  # fixed: the same real set stays; fresh: a new draw of it each generation
    )

    @cached_property
    def id(self) -> str:
        return digest({"lineage": self.identity}, 16)

    @property
    def identity(self) -> JsonObject:
        """What its id is a digest of."""
        return {
            **{kind: getattr(self, kind).canonical for kind in PARTS},
            "n_real": self.n_real,
            "n_drawn": self.n_drawn,
            "arrival": self.arrival,
            "seed": self.seed,
        }

    @cached_property
    def n_drawn(self) -> int:
        """Synthetic samples drawn from each generation."""
        if self.n_synthetic is not None:
            return self.n_synthetic
        return max(self.n_real, int(self.policy.made.needs(self.n_real)))

    def drawn(self, t: int) -> int:
        """Synthetic samples drawn from generation t: of every generation equally many."""
        return self.n_drawn

    @cached_property
    def cell_id(self) -> str:
        return digest({k: v for k, v in self.identity.items() if k != "seed"}, 16)

    @property
    def synthetic_fraction(self) -> float | None:
        """The policy's synthetic_fraction, given or by default; None for policies without one."""
        known = describe("policy", self.policy.name).parameters.get("synthetic_fraction")
        if known is None:
            return None
        share = self.policy.params.get("synthetic_fraction", known.default)
        return None if share is None else float(share)  # YAML reads 1e-3 as text

    @property
    def has_fraction(self) -> bool:
        """Whether its policy has a synthetic_fraction."""
        return "synthetic_fraction" in describe("policy", self.policy.name).parameters

    def at(self, fraction: float, seed: int) -> LineageSpec:
        """The same workflow at another synthetic fraction, of another seed."""
        params = {**self.policy.params, "synthetic_fraction": fraction}
        return replace(self, policy=replace(self.policy, params=params), seed=seed)

    @cached_property
    def workflow(self) -> str:
        """What lineages along the synthetic fraction have in common: everything but the fraction
        and the seed.
        """
        policy = {k: v for k, v in self.policy.canonical.items() if k != "synthetic_fraction"}
        rest = {k: v for k, v in self.identity.items() if k not in ("policy", "n_drawn", "seed")}
        return digest({**rest, "policy": policy, "n_synthetic": self.n_synthetic}, 16)

    def to_dict(self) -> JsonObject:
        """Plain values, as in JSON; `files` holds the digests of what its parts read."""
        parts: JsonObject = {kind: {"name": p.name, **p.params} for kind, p in self.parts()}
        if files := {kind: dict(p.found) for kind, p in self.parts() if p.reads}:
            parts["files"] = files
        sizes = {
            "n_real": self.n_real,
            "n_synthetic": self.n_synthetic,
            "arrival": self.arrival,
            "seed": self.seed,
        }
        return {**parts, **sizes}

    def parts(self) -> Iterable[tuple[str, Part]]:
        return ((kind, getattr(self, kind)) for kind in PARTS)

    def check_files(self) -> None:
        """identity.Changed where files are no longer those that the run was planned with."""
        for _, part in self.parts():
            part.check_files()

    @classmethod
    def from_dict(
        cls, values: JsonObject, *, former: bool = False, known: JsonObject | None = None
    ) -> LineageSpec:
        """The inverse of `to_dict`.

        former: with the keys it had in an output without a schema number; known: its `identity` in
        an output, whatever the code is today.
        """
        plain = {k: v for k, v in values.items() if k != "files"}
        for kind in PARTS:
            params = dict(plain[kind])
            files = values.get("files", {}).get(kind)
            own = (known or {}).get(kind)
            plain[kind] = Part(kind, params.pop("name"), params, files, former, own)
        return cls(**plain)


@dataclass(frozen=True)
class MeasureSpec:
    """A metric and how often it is measured: at generations 0, every, 2 every, ... and at the last
    one.
    """

    part: Part
    every: int = 1

    @property
    def id(self) -> str:
        """The metric's name, followed by what differs from its defaults: `fid`,
        `fid.extractor-raw`.
        """
        text = "".join(f".{k}-{short(v)}" for k, v in self.part.told.items())
        return self.part.name + "".join(c if c.isalnum() or c in "._-" else "_" for c in text)

    @cached_property
    def stored(self) -> str:
        """The name of its values in an output: another one for another revision, or other files."""
        beside = {**self.part.beside, **self.part.found}
        return f"{self.id}~{digest(beside, 8)}" if beside else self.id

    def due(self, t: int, last: int) -> bool:
        return t % self.every == 0 or t == last

    @classmethod
    def from_dict(cls, values: JsonObject) -> MeasureSpec:
        """From name, parameters and `every`, as in a file."""
        params = {k: v for k, v in values.items() if k not in ("name", "every")}
        return cls(Part("metric", values["name"], params), values["every"])


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
    refused: tuple[Refused, ...] = ()  # cells of the grid that make no sense
    document: JsonObject = field(default_factory=dict)  # the file's values, overrides applied

    def metrics_of(self, spec: LineageSpec) -> tuple[MeasureSpec, ...]:
        """The metrics that have a value on the lineage's data under its generator."""
        return tuple(m for m in self.metrics if not lacking(m.part, spec.dataset, spec.generator))

    def left_out(self) -> list[str]:
        """The metrics that have no value in some cells: which, why, and in how many."""
        cells = {spec.cell_id: spec for spec in self.lineages}
        known: dict[tuple[str, int, int], str] = {}  # cells share their parts
        found: dict[str, set[str]] = {}  # reason: cells
        for metric in self.metrics:
            for cell, spec in cells.items():
                pair = (metric.id, id(spec.dataset), id(spec.generator))
                if pair not in known:
                    known[pair] = lacking(metric.part, spec.dataset, spec.generator)
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
        metrics = [{"name": m.part.name, **m.part.params, "every": m.every} for m in self.metrics]
        lineages = [s.to_dict() for s in self.lineages]
        refused = [r.to_dict() for r in self.refused]
        return {
            **plain,
            **settings,
            "metrics": metrics,
            "lineages": lineages,
            "refused": refused,
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
            document=values.get("document", {}),
        )
