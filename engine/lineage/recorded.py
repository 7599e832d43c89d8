"""What an output says of the files and the code that its lineages were made from: told where they
have changed since, and taken on trust where the files are on another computer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from engine._measure_spec import without_n
from engine._tasks import as_lists
from engine._yardstick import most
from engine.identity import CANONICAL, CONTENT, Part, digest
from engine.lineage.recipe import path
from engine.registry import KINDS
from engine.spec import PARTS, LineageSpec, Sweep
from engine.store.rows import DrawRow, LineageRow
from engine.store.store import Store

MOST_READ = 2000  # lineages of an output that are read to find what has changed
MOST_SAID = 4  # reasons
MOST_FOUNDERS = 50  # whose metrics are compared with what is asked for


def asked(spec: LineageSpec) -> str:
    """What was asked for, whatever the files and the code behind it are."""
    parts = {kind: part.asked for kind, part in spec.parts()}
    sizes = [spec.n_real, spec.n_synthetic, spec.arrival, spec.seed]
    tasks = {} if spec.tasks is None else {"tasks": as_lists(spec.tasks)}
    return digest({**parts, "sizes": sizes, **tasks})


# ---- files that are elsewhere --------------------------------------------------------------------


def with_files_of_output(sweep: Sweep) -> Sweep:
    """The same sweep: where files are not on this computer, those count that the lineages of its
    output were made from, so that it is read and continued without them.
    """
    parts = {id(part): part for spec in sweep.all_lineages for _, part in spec.parts()}
    if not any(part.files is None and part.absent for part in parts.values()):
        return sweep
    lacking = {spec.id for spec in sweep.all_lineages if _lacking(spec)}
    store = Store(sweep.out, repairs=False)
    known = _newest(store, store.lineages())
    shared: dict[str, Part] = {}  # by lineages, as they are in the file

    def found(specs: tuple[LineageSpec, ...]) -> Iterator[LineageSpec]:
        for spec in specs:
            before = known.get(asked(spec)) if spec.id in lacking else None
            yield spec if before is None else _with_files(spec, before, shared)

    lineages, controls = tuple(found(sweep.lineages)), tuple(found(sweep.controls))
    return replace(sweep, lineages=lineages, controls=controls)


def _lacking(spec: LineageSpec) -> list[Part]:
    """The parts whose files are not here and not known otherwise."""
    return [part for _, part in spec.parts() if part.files is None and part.absent]


def _newest(store: Store, rows: Iterable[LineageRow]) -> dict[str, LineageSpec]:
    """By what was asked, the lineage that was begun last."""
    found: dict[str, LineageSpec] = {}
    times: dict[str, float] = {}
    for row in rows:
        spec = row.known_spec()
        if spec is None or not row.generations:
            continue
        draw = store.row("draw", row.generations[0].draw)
        key, time = asked(spec), 0.0 if draw is None else draw.time
        if time >= times.get(key, 0.0):
            found[key], times[key] = spec, time
    return found


def _with_files(spec: LineageSpec, before: LineageSpec, parts: dict[str, Part]) -> LineageSpec:
    changed = {}
    for kind, part in spec.parts():
        if part.files is None and part.absent:
            own: Part = getattr(before, kind)
            pinned = replace(part, files=own.files, former=own.former, then=own.then)
            changed[kind] = parts.setdefault(f"{kind} {pinned.text}", pinned)
    return replace(spec, **changed)  # type: ignore[arg-type]  # of parts, by their kinds


# ---- what has changed ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """Lineages whose keys are no longer those of the output's rows, and why."""

    lineages: int
    reasons: tuple[str, ...]

    @property
    def words(self) -> str:
        """One line for a reader."""
        more = len(self.reasons) - MOST_SAID
        said = "; ".join(self.reasons[:MOST_SAID]) + (f"; and {more} more" if more > 0 else "")
        many = "1 lineage was" if self.lineages == 1 else f"{self.lineages} lineages were"
        return (
            f"changed since rows of {many} made: {said}. A run makes them anew; the old rows stay "
            "in the output and are not shown"
        )


def changes(sweep: Sweep, store: Store) -> list[str]:
    """What behind the output's rows has changed since they were made, a line each; nothing where
    they are those of this sweep.
    """
    reasons = dict[str, None]()
    changed = 0
    for spec, row in _begun_otherwise(sweep, store):
        changed += 1
        reasons |= dict.fromkeys(_reasons(row, spec))
    lines = [Change(changed, tuple(reasons)).words] if changed else []
    return [*lines, *_measured_otherwise(sweep, store), *_unknown(sweep)]


def _measured_otherwise(sweep: Sweep, store: Store) -> Iterator[str]:
    """Metrics that founders were measured with, but not as they are to be measured now: under
    another revision, source or other files, or at another n.
    """
    by_code, by_n = dict[str, None](), dict[str, None]()
    for spec in sweep.lineages[:MOST_FOUNDERS]:
        row = store.row("draw", path(spec, 0)[0].draw)
        there = set(store.metrics_of(row)) if isinstance(row, DrawRow) else set[str]()
        for metric in sweep.metrics_of(spec) if there else ():
            others = [name for name in there if name.partition("~")[0] == metric.id]
            if metric.stored in there or not others:
                continue
            if any(without_n(name) == without_n(metric.stored) for name in others):
                now = most(metric.part, spec) if metric.n is None else metric.n
                by_n[f"{metric.id} (now {now:,})"] = None
            else:
                by_code[metric.id] = None
    anew = "A run measures anew; the old values stay in the output and are not shown"
    if by_code:
        yield f"measured before by other code, files or extractor: {', '.join(by_code)}. {anew}"
    if by_n:
        yield (
            f"measured before at another n than the one at which all cells are compared: "
            f"{', '.join(by_n)}. {anew}"
        )


def _unknown(sweep: Sweep) -> Iterator[str]:
    """Files that are not here, so that keys cannot hold what is in them."""
    lacking = {part.label: part for spec in sweep.lineages for part in _lacking(spec)}
    for label, part in lacking.items():
        if part.own_files:
            yield (
                f"the files of {label} are not on this computer and no row of the output tells "
                "what they hold: its keys are not known here"
            )


def unknown_files(sweep: Sweep) -> str:
    """Why keys of a sweep are not known on this computer, or ''."""
    said = "; ".join(_unknown(sweep))
    return f"{said}; a run starts where its own files are" if said else ""


def _begun_otherwise(sweep: Sweep, store: Store) -> Iterator[tuple[LineageSpec, LineageRow]]:
    """The lineages without rows under their keys that the output has under other keys."""
    there = {name.removesuffix(".json") for name in store.names("lineages")}
    mine = {spec.id: spec for spec in sweep.all_lineages}
    for spec in mine.values():
        if spec.id in there and spec.generator.drawing:
            row = store.lineage(spec.id)
            if row is not None and row.generations:
                first = path(spec, 0)[0]
                if row.generations[0].draw != first.draw and not store.row("draw", first.draw):
                    yield spec, row
    strangers = sorted(there - mine.keys())
    if not strangers:
        return
    absent = {asked(spec): spec for spec in mine.values() if spec.id not in there}
    for lineage in strangers[:MOST_READ]:
        row = store.lineage(lineage)
        spec_then = None if row is None else row.known_spec()
        if row is not None and spec_then is not None:
            now = absent.pop(asked(spec_then), None)
            if now is not None:
                yield now, row


def _reasons(row: LineageRow, now: LineageSpec) -> Iterator[str]:
    """Why a lineage has other keys than it had."""
    then = row.known_spec()
    assert then is not None, "it was asked for by it"
    for kind in PARTS:
        part: Part = getattr(now, kind)
        before = dict(_flat(row.identity.get(kind, getattr(then, kind).canonical)))
        after = dict(_flat(part.canonical))
        for name in dict.fromkeys([*before, *after]):
            if CANONICAL.encode(before.get(name)) != CANONICAL.encode(after.get(name)):
                yield _reason(part, name, before.get(name), after.get(name), row)
    if row.schema < 2 and (drawing := now.generator.drawing):
        yield (
            f"{', '.join(drawing)} of generator {now.generator.name} only changes drawing and left "
            "the key of its model"
        )


def _reason(part: Part, name: str, before: object, after: object, row: LineageRow) -> str:
    whose = f"{part.kind} {part.name}"
    inner, _, last = name.rpartition(".")
    if inner.split(".")[0] in KINDS:
        whose = f"{inner.replace('.', ' ')} of {whose}"
    if last == "REVISION":
        return f"{whose} has REVISION {after or 1}, not {before or 1}"
    if last == "SOURCE":
        return f"the source of {whose} was edited"
    if isinstance(before, float | int) and before == after:
        return f"{name} of {whose} is {after!r} now, not {before!r}: one number, one key"
    if row.schema < 2:
        return f"keys hold what the files of {whose} ({part.leads_to}) hold, no longer their place"
    if last == CONTENT or name in part.found:
        return f"the files of {whose} ({part.leads_to}) hold something else"
    return f"{name} of {whose} is {after!r}, not {before!r}"


def _flat(canonical: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, object]]:
    """The values of a part, those of nested ones behind a dot."""
    for name, value in canonical.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield before + name, value
