"""How a cell is called, on the terminal, in JSON, in MLflow and in the report: one spelling, made
of what tells it from the other cells of its grid.

    names = names_of(sweep)
    names.cell(spec)        "kde, replace 0.5"            all but the seed
    names.workflow(spec)    "kde, replace"                all but the seed and the fraction
    names.lineage(spec)     "kde, replace 0.5, seed 3"
    alone(spec)             "kde, replace 0.5"            where no grid is known

Only axes that vary are said.  A name has at most LONGEST characters and belongs to one cell: where
it would be too long, first switches that stand as they do by default are left out, then the
parameters' names are cut, then the middles of what remains, and in the end a digest tells the rest
(`#3f2a`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import filterfalse
from operator import attrgetter

from engine.registry import KINDS, describe
from engine.spec import LineageSpec, Part, Refused, Sweep, digest

LONGEST = 40  # characters of a cell's name: tables of 80 columns have room for it
PARTS = ("dataset", "generator", "policy", "sampling")
# as they are called in names
SIZES = {"n_real": "n", "n_synthetic": "drawn", "arrival": "arrival", "tasks": "tasks"}
FRACTION = "synthetic_fraction"
# characters that stay of a parameter's name, its value, a part's name; whether switches are said
# that stand as they do by default
Room = tuple[int, int, int, bool]
WHOLE: Room = (999, 999, 999, True)
_CUTS = (
    *((999, 999, 999), (6, 999, 999), (3, 999, 999), (2, 999, 999)),
    *((3, 9, 999), (2, 7, 999), (2, 5, 12), (1, 4, 9), (1, 3, 7), (1, 3, 5)),
)
ATTEMPTS: tuple[Room, ...] = (WHOLE, *((*cut, False) for cut in _CUTS))  # one after the other
Axis = tuple[str, ...]  # (kind,), (kind, part, parameter) or (size,)
Texts = Mapping[Axis, Mapping[str, str]]  # of each axis: canonical text of a value -> as written


@dataclass(frozen=True)
class Word:
    """A value in a name, after the parameter's name where it needs one.

    off: a switch (true, false, or nothing) that stands as it does by default.
    """

    value: str
    key: str = ""
    off: bool = False


Group = list[Word]  # what a name says of one part


def by_cell(specs: Iterable[LineageSpec]) -> dict[str, list[LineageSpec]]:
    """Lineages by the id of their cell, in the order of the file."""
    cells: dict[str, list[LineageSpec]] = {}
    for spec in specs:
        cells.setdefault(spec.cell_id, []).append(spec)
    return cells


def alone(spec: LineageSpec) -> str:
    """The name of a cell where no grid is known: generator, policy with its fraction, and the
    sampling where it is not plain.
    """
    groups = [[Word(spec.generator.name)], _policy(spec.policy, [], {}, fraction=True)]
    if spec.sampling.name != "plain":
        groups.append([Word(spec.sampling.name)])
    said = {_key(spec): groups}
    return _named(said, _roomy(said, LONGEST))[_key(spec)]


def refusals(refused: Iterable[Refused], lineages: Iterable[LineageSpec] = ()) -> list[str]:
    """The reasons for which a grid leaves out cells, each after the name of the first such cell
    among those that run and how many more there are.
    """
    found, known = list(refused), list(lineages)
    names = Names([*known, *(own.cell for own in found)])
    cells: dict[str, dict[str, None]] = {}  # reason -> names, in the order of the file
    for own in found:
        cells.setdefault(own.reason, {})[names.cell(own.cell)] = None
    said = []
    for reason, alike in cells.items():
        more = f" and {len(alike) - 1} more" if len(alike) > 1 else ""
        said.append(f"{next(iter(alike))}{more}: {reason}")
    return said


def names_of(sweep: Sweep) -> Names:
    """The names of a sweep's lineages, and of those that a search adds to it."""
    there = {_key(spec) for spec in sweep.controls}
    whole = {_key(spec.quarter()): spec for spec in sweep.lineages} if there else {}
    controls = {key: spec for key, spec in whole.items() if key in there}
    return Names(sweep.lineages, searched=sweep.threshold is not None, controls=controls)


class Names:
    """The names of the cells, workflows and lineages of one grid."""

    def __init__(
        self,
        specs: Iterable[LineageSpec],
        searched: bool = False,
        controls: Mapping[str, LineageSpec] | None = None,
    ) -> None:
        """searched: more cells may come along the synthetic fraction, which is said then.
        controls: by the cell of each, a lineage of which it is a control.
        """
        self._searched = searched
        self._controls = controls or {}
        self._cells: dict[str, LineageSpec] = {}
        for spec in specs:
            self._cells.setdefault(_key(spec), spec)
        self._said: dict[tuple[str, str, bool], Group] = {}  # of parts, by their canonical JSON

    def cell(self, spec: LineageSpec) -> str:
        """The name of a lineage's cell; of a control its own n beside that of the whole one."""
        if (whole := self._controls.get(_key(spec))) is not None:
            return f"{self.cell(whole)}, control n={spec.n_real}"
        if len(self._cells) < 2:
            return alone(spec)
        known = self._by_cell.get(_key(spec))
        return self._stranger(spec) if known is None else known

    def is_control(self, spec: LineageSpec) -> bool:
        """Whether a lineage is a control, which counts for no cell."""
        return _key(spec) in self._controls

    def workflow(self, spec: LineageSpec) -> str:
        """The name of what is the same but for the synthetic fraction and the seed."""
        known = self._by_workflow.get(_key(spec, fraction=False))
        return self._stranger(spec, fraction=False) if known is None else known

    def lineage(self, spec: LineageSpec) -> str:
        """The name of one lineage."""
        return f"{self.cell(spec)}, seed {spec.seed}"

    def part(self, spec: LineageSpec, kind: str) -> str:
        """What the names say of one part: its own name where nothing of it varies."""
        part: Part = getattr(spec, kind)
        return _rendered([self._group(part, False) or [Word(part.name)]], WHOLE)

    @cached_property
    def _by_cell(self) -> dict[str, str]:
        said = {cell: self._groups(spec) for cell, spec in self._cells.items()}
        return _named(said, self._room)

    @cached_property
    def _by_workflow(self) -> dict[str, str]:
        return _named(self._said_of_workflows, self._room)

    @cached_property
    def _said_of_workflows(self) -> dict[str, list[Group]]:
        specs = {_key(spec, fraction=False): spec for spec in self._cells.values()}
        return {key: self._groups(spec, fraction=False) for key, spec in specs.items()}

    @cached_property
    def _room(self) -> Room:
        """For words: by the workflows, so that fractions that are tried later change no name."""
        said = self._said_of_workflows
        widest = dict(said)
        for spec in self._cells.values():
            if spec.synthetic_fraction is not None:
                key = _key(spec, fraction=False)
                widest[key] = [*said[key], [Word("0.33333")]]
        return _roomy(widest, LONGEST)

    def _stranger(self, spec: LineageSpec, fraction: bool = True) -> str:
        """The name of a cell that is not of this grid, in its spelling."""
        key = _key(spec, fraction)
        return _named({key: self._groups(spec, fraction)}, self._room)[key]

    # ---- what varies ----

    @cached_property
    def _texts(self) -> dict[Axis, dict[str, str]]:
        """The values of every axis: their canonical text -> as they are written in names."""
        found: dict[Axis, dict[str, object]] = {}
        for axis, value in self._values():
            found.setdefault(axis, {})[_canonical(value)] = value
        return {axis: _texts(values) for axis, values in found.items()}

    def _values(self) -> Iterator[tuple[Axis, object]]:
        """Every axis with each of its values, some more than once."""
        parts: dict[tuple[str, str], Part] = {}
        for spec in self._cells.values():
            for kind in PARTS:
                part: Part = getattr(spec, kind)
                parts.setdefault((kind, part.text), part)
        for (kind, _), part in parts.items():
            yield (kind,), part.name
            for name, value in leaves(part).items():
                yield (kind, part.name, name), value
        for spec in self._cells.values():
            for size in SIZES:
                yield (size,), getattr(spec, size)

    def _varies(self, *axis: str) -> bool:
        return len(self._texts.get(axis, ())) > 1

    @cached_property
    def _owners(self) -> Counter[str]:
        """In how many kinds a parameter of this name varies."""
        axes = [axis for axis in self._texts if len(axis) == 3 and self._varies(*axis)]
        pairs = {(kind, name) for kind, _, name in axes}
        return Counter(name for _, name in pairs)

    @cached_property
    def _swept(self) -> bool:
        """Whether the synthetic fraction of any policy varies."""
        axes = [axis for axis in self._texts if axis[0] == "policy" and axis[-1] == FRACTION]
        return self._searched or any(self._varies(*axis) for axis in axes)

    # ---- what is said ----

    def _groups(self, spec: LineageSpec, fraction: bool = True) -> list[Group]:
        """What the name of a cell says, part by part."""
        groups = {kind: self._group(getattr(spec, kind), fraction) for kind in PARTS}
        sizes = self._sizes(spec)
        if not groups["policy"] and (not fraction or not any([*groups.values(), sizes])):
            groups["policy"] = _policy(spec.policy, [], self._texts, fraction)
        return [group for group in [*groups.values(), *sizes] if group]

    def _sizes(self, spec: LineageSpec) -> list[Group]:
        """What is said besides the parts."""
        found: list[Group] = []
        for size, key in SIZES.items():
            value = getattr(spec, size)
            if self._varies(size) and value is not None:
                found.append([Word(_pretty(value), key if isinstance(value, int) else "")])
        return found

    def _group(self, part: Part, fraction: bool) -> Group:
        """What is said of one part: nothing where nothing of it varies."""
        key = (part.kind, part.text, fraction)
        if key not in self._said:
            self._said[key] = self._words(part, fraction)
        return self._said[key]

    def _words(self, part: Part, fraction: bool) -> Group:
        words = []
        for name, value in leaves(part).items():
            axis = (part.kind, part.name, name)
            if name != FRACTION and self._varies(*axis):
                off = _is_off(part, name, value)
                words.append(Word(_written(self._texts, axis, value), name, off))
        named = self._varies(part.kind) or any(self._owners[word.key] > 1 for word in words)
        if part.kind == "policy":
            said = named or words or (fraction and self._swept)
            return _policy(part, words, self._texts, fraction) if said else []
        return [Word(part.name), *words] if named else words


def _policy(part: Part, words: Group, texts: Texts, fraction: bool) -> Group:
    """A policy's name always comes first, and its fraction next."""
    said = [Word(part.name)]
    share = leaves(part).get(FRACTION)
    if fraction and share is not None:
        said.append(Word(_written(texts, ("policy", part.name, FRACTION), share)))
    return said + words


def _written(texts: Texts, axis: Axis, value: object) -> str:
    """A value as the names of a grid write it."""
    return texts.get(axis, {}).get(_canonical(value), _pretty(value))


def _key(spec: LineageSpec, fraction: bool = True) -> str:
    """What a cell, or without the fraction a workflow, is; of cells that are refused, too, which
    have no id.
    """
    policy = spec.policy.text
    if not fraction:
        policy = _canonical({k: v for k, v in spec.policy.canonical.items() if k != FRACTION})
    parts = (spec.dataset.text, spec.generator.text, policy, spec.sampling.text)
    tasks = [] if spec.tasks is None else [str(spec.tasks)]
    return "\n".join([*parts, str(spec.n_real), str(spec.n_synthetic), spec.arrival, *tasks])


# ---- values --------------------------------------------------------------------------------------


def leaves(part: Part) -> dict[str, object]:
    """Give all parameters with their values, given or by default; of a nested part behind a dot."""
    known = describe(part.kind, part.name).parameters
    found: dict[str, object] = {}
    for name, parameter in known.items():
        if name == "root" or (parameter.required and name not in part.params):
            continue  # where data lie changes nothing
        value = part.params.get(name, parameter.default)
        nested = _nested(name, value)
        if nested is None:
            found[name] = value
        else:
            found[name] = nested.name
            for inner, own in leaves(nested).items():
                found[f"{name}.{inner}"] = own
    return found


def _nested(name: str, value: object) -> Part | None:
    """A part inside a part, such as verify's reward."""
    if name not in KINDS or not isinstance(value, Mapping) or "name" not in value:
        return None
    return Part(name, str(value["name"]), {k: v for k, v in value.items() if k != "name"})


def _is_off(part: Part, name: str, value: object) -> bool:
    """Whether a value is a switch that stands as it does by default."""
    known = describe(part.kind, part.name).parameters.get(name)
    switch = value is None or isinstance(value, bool)
    return switch and known is not None and not known.required and known.default is value


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True)


def _texts(values: Mapping[str, object]) -> dict[str, str]:
    """Canonical text -> as it is written; where two would be written alike, as in JSON."""
    pretty = {text: _pretty(value) for text, value in values.items()}
    times = Counter(pretty.values())
    return {text: own if times[own] == 1 else text for text, own in pretty.items()}


def _pretty(value: object) -> str:
    """A value as people write it."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, str):
        return value
    return json.dumps(value).replace('"', "")


# ---- length --------------------------------------------------------------------------------------


def _roomy(said: Mapping[str, list[Group]], most: int) -> Room:
    """The most room for words by which every name fits and none is another's; else the least."""
    for room in ATTEMPTS:
        names = [_rendered(groups, room) for groups in said.values()]
        longest = max(map(len, names), default=0)
        if longest <= most and len(set(names)) == len(names) and all(names):
            return room
    return ATTEMPTS[-1]


def _named(said: Mapping[str, list[Group]], room: Room) -> dict[str, str]:
    """A name for each key.  Those that are too long, or not alone, are cut and end with as much of
    their digests as tells them apart.
    """
    names = {key: _rendered(groups, room) for key, groups in said.items()}
    times = Counter(names.values())
    odd = [key for key, name in names.items() if len(name) > LONGEST or times[name] > 1]
    ids = {key: digest(key) for key in odd}
    digits = 4
    while len({own[:digits] for own in ids.values()}) < len(ids):
        digits += 1
    for key, own in ids.items():
        names[key] = f"{names[key][: LONGEST - digits - 2]} #{own[:digits]}"
    return names


def _rendered(groups: list[Group], room: Room) -> str:
    """Words behind words, parts behind commas."""
    if not room[-1]:
        groups = [list(filterfalse(attrgetter("off"), group)) for group in groups]
    keys = {word.key for group in groups for word in group}
    return ", ".join(_said(group, room, keys) for group in groups if group)


def _said(group: Group, room: Room, keys: set[str]) -> str:
    of_key, of_value, of_name, _ = room
    words = []
    for word in group:
        key = _abbreviated(word.key, of_key, keys)
        words.append(f"{key}={_cut(word.value, of_value)}" if key else _cut(word.value, of_name))
    return " ".join(words)


def _abbreviated(key: str, most: int, keys: set[str]) -> str:
    """The beginning of a parameter's name: longer where another one begins so."""
    while most < len(key) and sum(other.startswith(key[:most]) for other in keys) > 1:
        most += 1
    return key[:most]


def _cut(text: str, most: int) -> str:
    """Without its middle: what tells values apart stands at the ends."""
    if len(text) <= most:
        return text
    return f"{text[: most // 2]}…{text[len(text) - (most - 1) // 2 :]}"
