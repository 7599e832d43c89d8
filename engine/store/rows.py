"""What an output holds, typed: rows of models and draws, generations, lineages.

A file of an output may be anybody's: `from_json` takes nothing on trust, and what has another
shape is Malformed, which the store treats as damage.  `to_json` gives back what is on disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, Literal

from engine.spec import PARTS, LineageSpec
from engine.status import Status
from engine.store import shapes
from engine.store._data import Data as Data
from engine.store.measured import Measured, Metrics
from engine.store.shapes import NOTHING, Malformed

# of rows and lineages; 1: before they had a number, with keys that held files by their paths and
# numbers as they were given
SCHEMA = 2
Machine = Mapping[str, str | int]
Reported = Mapping[str, float | None]  # None: it was not finite


class Newer(Exception):
    """An output of a newer version than this one."""


def known_schema(value: object, url: str) -> object:
    """A row, block of rows or lineage as read; Newer where its schema is not known here."""
    first = value[0] if isinstance(value, list) and value else value
    schema = first.get("schema", 1) if isinstance(first, dict) else 1
    if type(schema) is int and schema > SCHEMA:
        raise Newer(
            f"the output {url} was written by a newer version of ouroboros (schema {schema}, this "
            f"one reads up to {SCHEMA}): install that version, or give another output (--out)"
        )
    return value


_known_machines: dict[tuple[tuple[str, str | int], ...], Machine] = {}


def _machine(value: object) -> Machine:
    """One object for all rows of one machine: an output has as many rows as there are."""
    found = tuple(shapes.mapping(value).items())
    try:
        return _known_machines[found]
    except (KeyError, TypeError):  # not yet seen, or no machine
        machine = shapes.mapping_of(value, shapes.text_or_integer)
        return _known_machines.setdefault(found, machine)


# ---- rows of models and draws --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class File:
    """A file of a model or draw as its row names it."""

    sha256: str
    bytes: int

    @classmethod
    def from_json(cls, value: object) -> File:
        found = shapes.mapping(value)
        return cls(shapes.text(found.get("sha256")), shapes.integer(found.get("bytes")))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    key: str
    t: int
    status: Status
    reason: str
    seconds: float
    machine: Machine
    time: float = 0.0  # of the commit; 0: not yet committed
    files: Mapping[str, File] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """The size of its files."""
        return sum(file.bytes for file in self.files.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow(_Row):
    """The row of a trained model."""

    kind: ClassVar[Literal["model"]] = "model"
    fit: Reported
    counts: Mapping[str, float]  # rows of the training set: real, synthetic, fraction
    sources: tuple[str, ...]  # keys of what it was trained on
    speed: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ModelRow:
        return cls(
            fit=shapes.mapping_of(value.get("fit"), shapes.number_or_none),
            counts=shapes.mapping_of(value.get("counts"), shapes.number),
            sources=tuple(map(shapes.text, shapes.items(value.get("sources")))),
            speed=shapes.mapping_of(value.get("speed", {}), shapes.number),
            **_common(value),
        )

    def to_json(self) -> dict[str, Any]:
        own = {"fit": dict(self.fit), "counts": dict(self.counts), "speed": dict(self.speed)}
        return {**_common_json(self), **own, "sources": list(self.sources)}


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawRow(_Row):
    """The row of a synthetic set, with the metrics that were measured when it was drawn."""

    kind: ClassVar[Literal["draw"]] = "draw"
    model: str
    n: int
    report: Reported
    metrics: Mapping[str, Measured]

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> DrawRow:
        return cls(
            model=shapes.name(value.get("model")),
            n=shapes.integer(value.get("n")),
            report=shapes.mapping_of(value.get("report"), shapes.number_or_none),
            metrics=Metrics.from_json(value.get("metrics")),
            **_common(value),
        )

    def to_json(self) -> dict[str, Any]:
        metrics = {name: measured.to_json() for name, measured in self.metrics.items()}
        own = {"model": self.model, "n": self.n, "report": dict(self.report), "metrics": metrics}
        return {**_common_json(self), **own}


Row = ModelRow | DrawRow


def row_from_json(value: object) -> Row:
    """The row of a model or draw.  Malformed when it is none."""
    found = shapes.mapping(value)
    kind = found.get("kind")
    if kind == "model":
        return ModelRow.from_json(found)
    if kind == "draw":
        return DrawRow.from_json(found)
    raise Malformed(f"the kind of a row is 'model' or 'draw', not {shapes.shown(kind)}")


def block_from_json(value: object) -> list[Row]:
    """The rows of a block."""
    return [row_from_json(row) for row in shapes.items(value)]


def _common(value: Mapping[str, Any]) -> dict[str, Any]:
    files = shapes.mapping_of(value.get("files"), File.from_json)
    if not all(map(shapes.is_below, files)):
        raise Malformed("a file that lies out of the output")
    return {
        "key": shapes.name(value.get("key")),
        "t": shapes.integer(value.get("t"), most=shapes.LAST),
        "status": shapes.member(value.get("status"), Status),
        "reason": shapes.text(value.get("reason")),
        "seconds": shapes.number(value.get("seconds")),
        "machine": _machine(value.get("machine", {})),
        "time": shapes.number(value.get("time")),
        "files": files,
    }


def _common_json(row: Row) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "kind": row.kind,
        "key": row.key,
        "t": row.t,
        "status": row.status.value,
        "reason": row.reason,
        "seconds": row.seconds,
        "machine": dict(row.machine),
        "time": row.time,
        "files": {name: asdict(file) for name, file in row.files.items()},
    }


# ---- what a reader of a lineage gets -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Generation:
    """One generation of a lineage: its model, its draw, and what was measured."""

    lineage: str
    t: int
    model: str
    draw: str | None  # None: the model diverged, so nothing was drawn
    status: Status
    reason: str = ""
    time: float = 0.0
    seconds: float = 0.0
    counts: Mapping[str, float] = field(default_factory=dict)
    fit: Reported = field(default_factory=dict)
    speed: Mapping[str, float] = field(default_factory=dict)
    report: Reported = field(default_factory=dict)
    measured: Measured = field(default_factory=Measured)
    machine: Machine = field(default_factory=dict)

    @classmethod
    def of(
        cls, lineage: str, t: int, model: ModelRow, draw: DrawRow | None, measured: Measured
    ) -> Generation:
        last = model if draw is None else draw
        ended = model if model.status is not Status.OK else last
        return cls(
            lineage,
            t,
            model.key,
            None if draw is None else draw.key,
            ended.status,
            ended.reason,
            last.time,
            round(model.seconds + (0 if draw is None else draw.seconds), 4),
            model.counts,
            model.fit,
            model.speed,
            NOTHING if draw is None else draw.report,
            measured,
            model.machine,
        )

    @property
    def values(self) -> Mapping[str, float]:
        return self.measured.values

    @property
    def undefined(self) -> Mapping[str, str]:
        return self.measured.undefined

    @classmethod
    def from_json(cls, value: object) -> Generation:
        """As MLflow's row files hold it: one flat mapping."""
        found = shapes.mapping(value)
        draw = found.get("draw")
        return cls(
            lineage=shapes.text(found.get("lineage")),
            t=shapes.integer(found.get("t"), most=shapes.LAST),
            model=shapes.text(found.get("model")),
            draw=None if draw is None else shapes.text(draw),
            status=shapes.member(found.get("status"), Status),
            reason=shapes.text(found.get("reason")),
            time=shapes.number(found.get("time")),
            seconds=shapes.number(found.get("seconds")),
            counts=shapes.mapping_of(found.get("counts"), shapes.number),
            fit=shapes.mapping_of(found.get("fit"), shapes.number_or_none),
            speed=shapes.mapping_of(found.get("speed", {}), shapes.number),
            report=shapes.mapping_of(found.get("report"), shapes.number_or_none),
            measured=Measured.from_json(found),
            machine=_machine(found.get("machine", {})),
        )

    def to_json(self) -> dict[str, Any]:
        """One flat mapping, in the order that MLflow's row files have always had."""
        return {
            "lineage": self.lineage,
            "t": self.t,
            "model": self.model,
            "draw": self.draw,
            "status": self.status.value,
            "reason": self.reason,
            "time": self.time,
            "seconds": self.seconds,
            "counts": dict(self.counts),
            "fit": dict(self.fit),
            "speed": dict(self.speed),
            "report": dict(self.report),
            "values": dict(self.values),
            "undefined": dict(self.undefined),
            "machine": dict(self.machine),
        }


# ---- lineages ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Address:
    """Where one generation of a lineage lives: the keys of its model and of its draw."""

    t: int
    model: str
    draw: str

    @classmethod
    def from_json(cls, value: object) -> Address:
        found = shapes.mapping(value)
        model, draw = shapes.name(found.get("model")), shapes.name(found.get("draw"))
        return cls(shapes.integer(found.get("t"), most=shapes.LAST), model, draw)


@dataclass(frozen=True, slots=True)
class LineageRow:
    """What is recorded of a lineage: its spec and the addresses of its generations.

    The spec stays as it is in the file: this installation may lack a part that it names.
    """

    lineage: str
    spec: Mapping[str, Any]
    label: str
    generations: tuple[Address, ...]
    classes: tuple[str, ...] = ()  # what the labels 0, 1, ... are called, where not by number
    identity: Mapping[str, Any] = field(default_factory=dict)  # what its id is a digest of
    schema: int = SCHEMA
    data: Data | None = None  # of a finite data set; older outputs have none

    @classmethod
    def from_json(cls, value: object) -> LineageRow:
        found = shapes.mapping(value)
        spec, label = shapes.mapping(found.get("spec")), shapes.text(found.get("label", ""))
        generations = tuple(map(Address.from_json, shapes.items(found.get("generations"))))
        classes = tuple(map(shapes.text, shapes.items(found.get("classes", []))))
        identity = shapes.mapping(found.get("identity", {}))
        for kind in PARTS:
            shapes.mapping(identity.get(kind, {}))
        lineage, schema = shapes.text(found.get("lineage", "")), shapes.schema(found)
        data = Data.from_json(found["data"]) if "data" in found else None
        return cls(lineage, spec, label, generations, classes, identity, schema, data)

    def to_json(self) -> dict[str, Any]:
        generations = [asdict(address) for address in self.generations]
        own = {"lineage": self.lineage, "spec": dict(self.spec), "label": self.label}
        classes = {"classes": list(self.classes)} if self.classes else {}
        data = {} if self.data is None else {"data": self.data.to_json()}
        by = {"identity": dict(self.identity), "schema": self.schema}
        return {**own, "generations": generations, **classes, **data, **by}

    def known_spec(self) -> LineageSpec | None:
        """The spec; None when this installation lacks a part of it, or cannot make sense of it."""
        try:
            former, known = self.schema < SCHEMA, dict(self.identity)
            spec = LineageSpec.from_dict(dict(self.spec), former=former, known=known)
            if self.data is not None:
                then = self.data.contents(spec.dataset.name)
                spec = replace(spec, dataset=replace(spec.dataset, then=then))
            return spec if spec.id == self.lineage or not self.lineage else None
        except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError):
            return None
        except (AssertionError, RecursionError):
            return None
