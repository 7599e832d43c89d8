"""An experiment file -> a Sweep, with every mistake in it reported at once: line, key path, what
was found, what is allowed.

Parts are checked against the signatures of their constructors, read without importing them, so this
needs none of torch.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from engine.contents import Contents
from engine.experiment.beside import look_beside
from engine.experiment.consistency import affordable, by_keys, comparable, judgeable, refusal
from engine.experiment.controls import controls
from engine.experiment.given import Override, Overrides, as_written, blamed, read_overrides
from engine.experiment.grid import (
    BASE_KEYS,
    PART_KEYS,
    Axes,
    Cell,
    Where,
    axes_of,
    cells,
    count,
    is_left_out,
    left_out,
    overruled,
    planned,
    set_value,
)
from engine.experiment.schema import File, Sizes
from engine.experiment.values import (
    checked_part,
    distinct,
    explain,
    faulty,
    keys_at,
    measured,
    named,
    nearest,
)
from engine.experiment.yaml import Document, Problem, parse
from engine.files import JsonObject
from engine.names import refusals
from engine.refusals import unmeasurable
from engine.registry import names, refresh
from engine.settings import CollapseRule, Threshold
from engine.spec import LineageSpec, MeasureSpec, Part, Refused, Sweep


class SpecError(Exception):
    """An experiment file that cannot be planned; `problems` holds all that is wrong with it."""

    def __init__(self, source: str, problems: list[Problem]) -> None:
        self.source, self.problems = source, sorted(problems, key=lambda p: p.line or 0)
        super().__init__("\n".join(f"{source}: {p}" for p in self.problems))


def of_text(
    text: bytes, *, name: str, source: str, output: str = "", overrides: Overrides = ()
) -> Sweep:
    """Make the sweep of an experiment's text; its output is this one, if any, whatever it says.

    name, source: as for `read`.  SpecError with all problems.
    """
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SpecError(
            source, [Problem(f"this is not text in UTF-8: {error.reason} at byte {error.start}")]
        ) from None
    document = parse(decoded)
    if document.problems:
        raise SpecError(source, document.problems)
    if output and isinstance(document.values, dict):
        document.values["out"] = output
    if "://" not in source:
        refresh()
        look_beside(document.values, Path(source).parent)
    asked = re.findall(r"^#\s*Question:\s*(.+)$", decoded, re.M)
    reader = _Reader(name, source, document, overrides, (asked or [""])[0])
    reader.kept = bool(output)
    return reader.sweep()


def read(
    values: JsonObject, *, name: str = "sweep", source: str = "", overrides: Overrides = ()
) -> Sweep:
    """Make the sweep of an experiment's values, as a file would hold them.

    name: of the sweep, which also names its default output; source: where the values are from, as
    problems say it.  SpecError with all problems.
    """
    document = Document(copy.deepcopy(values))
    return _Reader(name, source or name, document, overrides, "").sweep()


class _Reader:
    """Collects problems while it turns one document into a sweep."""

    def __init__(
        self, name: str, source: str, document: Document, overrides: Overrides, question: str
    ) -> None:
        checked_part.cache_clear()  # a part looks at its files once: those of now
        refresh()
        self.name, self.source, self.document, self.question = name, source, document, question
        self.kept = False  # by an output, as it was run last
        self.problems: list[Problem] = []
        self.given: list[Override] = []
        self.refused: list[Refused] = []
        self.values = document.values if isinstance(document.values, dict) else {}
        if not isinstance(document.values, dict):
            self._problem(
                "an experiment file is a mapping with base, grid, generations, ..., got "
                f"{document.values!r:.60}",
                (),
            )
        self.given = read_overrides(
            overrides, lambda said, words: self.problems.append(Problem(said, given=words))
        )
        for one in self.given:
            set_value(self.values, one.key, one.value)
        for one in self.given:
            if said := overruled(one.key, self.values.get("grid")):
                self.problems.append(Problem(said, given=one.words))

    def sweep(self) -> Sweep:
        head = self._model(File, self.values, ())
        if head is None:
            self._loose(self.values)
            self._stop()
        assert head is not None
        axes = axes_of(head.grid, head.base, self._problem)
        count(axes, head.seeds, self._problem)
        self._stop()
        lineages = self._lineages(head, axes)
        metrics = [m for i, value in enumerate(head.metrics) if (m := self._metric(value, i))]
        planned(
            [*lineages, *map(LineageSpec.quarter, lineages if head.control else ())],
            head.generations,
            self._problem,
        )
        self._accepted(metrics, lineages, head)
        lineages = self._judged(lineages, metrics, head.collapse)
        affordable(head.resources, {s.generator.name for s in lineages}, self._problem)
        if not lineages and not self.problems:
            said = "; ".join(refusals(self.refused, lineages))
            self._problem(f"no cell of this grid makes sense: {said}", ("grid",))
        self._stop()
        found = self._sweep(head, lineages, metrics)
        comparable(found, self._problem)
        self._stop()
        return found

    def _loose(self, values: dict[str, Any]) -> None:
        """Check what can be checked by itself in a file whose frame is wrong."""
        base, grid, metrics = values.get("base"), values.get("grid"), values.get("metrics")
        axes_of(grid, base, self._problem)
        if isinstance(base, dict) and "n_real" in base:
            self._model(
                Sizes, {key: base[key] for key in Sizes.model_fields if key in base}, ("base",)
            )
        for kind in PART_KEYS:
            if isinstance(base, dict) and kind in base:
                self._part(kind, named(base[kind]), ("base", kind))
            choices = grid.get(kind) if isinstance(grid, dict) else None
            for i, value in enumerate(choices if isinstance(choices, list) else ()):
                self._part(kind, named(value), ("grid", kind, i))
        for i, value in enumerate(metrics if isinstance(metrics, list) else ()):
            self._metric(value, i)

    def _sweep(self, head: File, lineages: list[LineageSpec], metrics: list[MeasureSpec]) -> Sweep:
        question = (head.question or self.question).strip()
        smaller, refused = controls(lineages if head.control else (), head.generations)
        found = Sweep(
            name=self.name,
            lineages=tuple(lineages),
            generations=head.generations,
            metrics=tuple(metrics),
            threshold=head.threshold,
            resources=head.resources,
            keep=head.keep,
            out=head.out or str(Path("runs") / self.name),
            tracking=head.tracking,
            question=question,
            source=self.source,
            refused=(*self.refused, *refused),
            control=head.control,
            controls=tuple(smaller),
            document={**self.values, **({"question": question} if question else {})},
        )
        rule = head.collapse and by_keys(head.collapse, metrics, found.kind)
        return replace(found, collapse=rule)

    # ---- problems ----

    def _problem(self, message: str, path: Where) -> None:
        words, alone = blamed(path, self.given, self.document.lines)
        line = None if alone else self.document.line(path)
        message = as_written(message, path, self.given, self.document.written)
        problem = Problem(message, path, line, words)
        said = (
            {p.path for p in self.problems}
            if path[:1] == ("grid",) and path in self.document.lines
            else set()
        )
        if problem not in self.problems and path not in said:
            self.problems.append(problem)

    def _stop(self) -> None:
        if self.problems:
            raise SpecError(self.source, self.problems)

    def _model(
        self, model: type[BaseModel], values: Any, path: Where, places: Mapping[Any, Where] = {}
    ) -> Any:
        """Values checked against a model; None, and problems, when they do not fit.

        places: where keys stand that are not below the path.
        """
        try:
            return model.model_validate_json(json.dumps(values))
        except ValidationError as error:
            for e in distinct(error):
                key, below = e["loc"][:1], e["loc"][1:]
                where = places.get(key[0]) if key else None
                message = explain(e, keys_at(model, e["loc"][:-1]))
                if model is File and key and key[0] in BASE_KEYS:
                    message = f"unknown key {key[0]!r} (did you mean 'base.{key[0]}'?)"
                self._problem(message, (*(where or (*path, *key)), *below))
        return None

    # ---- the grid ----

    def _lineages(self, head: File, axes: Axes) -> list[LineageSpec]:
        found: dict[str, LineageSpec] = {}
        left_out(head.without, self._problem)
        seeds = range(head.seeds) if isinstance(head.seeds, int) else head.seeds
        for cell in cells(head.base, axes, self._problem):
            spec = self._spec(cell, head.generations)
            if spec is None or is_left_out(spec, head.without):
                continue
            for seed in seeds:
                own = replace(spec, seed=seed)
                found.setdefault(own.id, own)
        self.refused = [own for own in self.refused if not is_left_out(own.cell, head.without)]
        return list(found.values())

    def _spec(self, cell: Cell, generations: int) -> LineageSpec | None:
        """One cell's spec (seed 0); None, with a refusal or problems, when it makes no sense."""
        before = len(self.problems)
        chosen = {
            kind: self._part(kind, *cell.get(kind, (None, ("base", kind)))) for kind in PART_KEYS
        }
        sizes = {key: cell[key][0] for key in Sizes.model_fields if key in cell}
        places = {key: cell[key][1] for key in sizes}
        checked = self._model(Sizes, sizes, ("base",), places)
        for kind, part in chosen.items() if len(self.problems) == before else ():
            if part and part.unopened:
                self._problem(part.unopened, cell[kind][1])
        if len(self.problems) > before or checked is None or None in chosen.values():
            return None
        # None stands nowhere in chosen; the sizes have the types of their model
        spec = LineageSpec(**chosen, **checked.model_dump(), seed=0)  # type: ignore[arg-type]
        contents = None if (reason := refusal(spec, generations)) else spec.dataset.contents
        parts = spec.parts_until(generations)
        if isinstance(contents, Contents) and contents.lack(spec.n_real, parts):
            spec = replace(spec, dataset=spec.dataset.elsewhere)
        if reason:
            self.refused.append(Refused(spec, reason))
        return None if reason else spec

    # ---- parts and metrics ----

    def _part(self, kind: str, value: Any, where: Where) -> Part | None:
        if value is None:
            self._problem(f"{kind} is missing; there are: {', '.join(names(kind))}", where[:1])
            return None
        if not isinstance(value, dict) or not isinstance(value.get("name"), str):
            self._problem(f"a {kind} is {{name: ..., its parameters}}, got {value!r:.60}", where)
            return None
        part, complaints = checked_part(kind, json.dumps(value))
        given = {one.path for one in self.given}
        for message, below in complaints:
            exact = [(*where, *below[:i]) for i in range(len(below), 0, -1)]
            known = (p for p in exact if p in self.document.lines or p in given)
            self._problem(message, next(known, where))
        return part

    def _metric(self, value: Any, i: int) -> MeasureSpec | None:
        value, settings = measured(named(value))
        part = self._part("metric", value, ("metrics", i))
        faults = faulty(settings)
        for said, key in faults:
            self._problem(said, ("metrics", i, key))
        if faults or part is None:
            return None
        if part.unopened:
            self._problem(part.unopened, ("metrics", i))
        return MeasureSpec(part, **settings)

    def _accepted(
        self, metrics: list[MeasureSpec], lineages: list[LineageSpec], head: File
    ) -> None:
        """Metrics that fit none of the data sets, metrics named twice, and a collapse rule about a
        metric not measured.
        """
        datasets = {spec.dataset.text: spec.dataset for spec in lineages}
        for i, metric in enumerate(metrics):
            reasons = [unmeasurable(metric.part, dataset) for dataset in datasets.values()]
            if reasons and all(reasons):
                self._problem("; ".join(dict.fromkeys(reasons)), ("metrics", i))
        ids = [m.id for m in metrics]
        for i, name in enumerate(ids):
            if name in ids[:i]:
                self._problem(f"{name} is listed twice", ("metrics", i))
        if head.collapse is not None:
            if not head.metrics:
                message = f"collapse is judged by {head.collapse.metric!r}, but nothing is measured"
                self._problem(f"{message}; list it under metrics", ("collapse", "metric"))
            judgeable(head.collapse, metrics, self._problem, kept=self.kept)
        if head.threshold is not None:
            self._threshold(head.threshold, head, lineages)

    def _judged(
        self, lineages: list[LineageSpec], metrics: list[MeasureSpec], rule: CollapseRule | None
    ) -> list[LineageSpec]:
        """The lineages that have the metric by which collapse is judged; the others are refused."""
        names_of = {m.id: m.part for m in metrics}
        judge = None if rule is None else names_of.get(rule.metric.split("/")[0])
        if judge is None:
            return lineages
        judged = []
        for spec in lineages:
            reason = spec.lacking(judge)
            if not reason:
                judged.append(spec)
            else:
                self.refused.append(Refused(spec, f"collapse cannot be judged: {reason}"))
        return judged

    def _threshold(self, asked: Threshold, head: File, lineages: list[LineageSpec]) -> None:
        searched = [spec for spec in lineages if spec.has_fraction]
        policies = {spec.policy.name for spec in searched}
        if head.collapse is None:
            self._problem(
                "a threshold needs a collapse rule: it is where collapse begins", ("threshold",)
            )
        if lineages and not searched:
            self._problem(
                "no policy of this grid has a synthetic_fraction to search along", ("threshold",)
            )
        for name in asked.policies:
            if name not in policies:
                message = (
                    f"no policy {name!r} with a synthetic_fraction is in this "
                    f"grid{nearest(name, policies)}"
                )
                self._problem(message, ("threshold", "policies", name))
        if asked.budget < (first := len(asked.start or ())):
            self._problem(
                f"budget {asked.budget} is less than the {first} lineages of start",
                ("threshold", "budget"),
            )
        fewest = min((s.n_real for s in searched), default=1)
        if asked.step and asked.step * fewest < 1:
            message = (
                f"a step of {asked.step:g} is less than one row of n_real {fewest}; use "
                f"{1 / fewest:g} or leave it out"
            )
            self._problem(message, ("threshold", "step"))
        for spec in searched:
            self._searchable(
                spec, asked.policies.get(spec.policy.name, asked).between, head.generations
            )

    def _searchable(self, spec: LineageSpec, between: Sequence[float], generations: int) -> None:
        low, high = between
        where: Where = ("threshold", "policies", spec.policy.name, "between")
        where = where if where in self.document.lines else ("threshold", "between")
        if low >= high:
            return self._problem(
                f"between wants a lower and a higher fraction, got {low:g} and {high:g}", where
            )
        for fraction in between:
            if reason := refusal(spec.at(fraction, 0), generations):
                own = f"threshold: {{policies: {{{spec.policy.name}: {{between: [0, 0.9]}}}}}}"
                return self._problem(f"{reason}; say where to search, such as {own}", where)
