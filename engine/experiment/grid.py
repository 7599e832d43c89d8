"""The grid of an experiment file: its axes, and every combination of their values.

What is wrong is told with the place in the file where it stands; what a cell means is said where
cells become lineages (reader.py).
"""

from __future__ import annotations

import copy
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from engine.experiment.schema import Sizes
from engine.experiment.values import named, nearest
from engine.lineage.recipe import sources_of
from engine.names import leaves
from engine.registry import describe, names, readable, unknown
from engine.spec import LineageSpec, Part

MOST_LINEAGES = 100_000
MOST_PLANNED = 2_000_000  # generations of all lineages: planning takes 10 to 100 us for each
MOST_SOURCES = 50_000_000  # earlier sets that all training sets take from, as `accumulate` does
PART_KEYS = ("dataset", "generator", "policy", "sampling")
BASE_KEYS = (*PART_KEYS, *Sizes.model_fields)
DEFAULTS: dict[str, Any] = {
    "policy": "replace",
    "sampling": "plain",
    "arrival": "fixed",
    "n_synthetic": None,
}
Where = tuple[str | int, ...]  # a key path in the file
Cell = dict[str, tuple[Any, Where]]  # key -> (value, where it stands)
Axes = dict[str, list[Any]]
Tell = Callable[[str, Where], None]  # hears of a problem and where it stands


def axes_of(grid: Any, base: Any, tell: Tell) -> Axes:
    """The axes of the grid, checked by name."""
    for where, keys in (("base", base), ("grid", grid)):
        for key in keys if isinstance(keys, dict) else ():
            head = key.split(".")[0]
            if (
                head not in BASE_KEYS
                or (where == "base" and "." in key)
                or ("." in key and head not in PART_KEYS)
            ):
                tell(
                    f"unknown key {key!r}{nearest(head, BASE_KEYS)}; allowed: "
                    f"{', '.join(BASE_KEYS)}",
                    (where, key),
                )
    if not isinstance(grid, dict):
        return {}
    for key, values in grid.items():
        if isinstance(values, list) and not values:
            tell(
                "an axis needs at least one value, got an empty list; remove the axis or fill it",
                ("grid", key),
            )
    return grid


def count(axes: Axes, seeds: int | Sequence[int], tell: Tell) -> None:
    """A grid of no seeds, or of more lineages than can be planned."""
    sizes = {key: len(values) for key, values in axes.items()}
    sizes["seeds"] = seeds if isinstance(seeds, int) else len(seeds)
    if not isinstance(seeds, int) and not seeds:
        tell("seeds needs at least one seed, got an empty list", ("seeds",))
    if (total := math.prod(sizes.values())) > MOST_LINEAGES:
        factors = " x ".join(f"{n} ({key})" for key, n in sizes.items())
        tell(
            f"{factors} = {total:,} lineages; at most {MOST_LINEAGES:,} are planned at once",
            ("grid",),
        )


def planned(lineages: Sequence[LineageSpec], generations: int, tell: Tell) -> None:
    """More generations, or training sets of more sources, than can be planned."""
    if (total := len(lineages) * (generations + 1)) > MOST_PLANNED:
        tell(
            f"{len(lineages):,} lineages of {generations + 1:,} generations = {total:,}; at most "
            f"{MOST_PLANNED:,} are planned at once",
            ("generations",),
        )
        return
    known = {_depends(spec): spec for spec in lineages}
    times = Counter(map(_depends, lineages))
    sources = {key: sources_of(spec, generations) for key, spec in known.items()}
    if (total := sum(times[key] * sources[key] for key in times)) > MOST_SOURCES:
        most = known[max(sources, key=lambda key: sources[key])]
        tell(
            f"the training sets of {len(lineages):,} lineages of {generations + 1:,} generations "
            f"take from about {total:,} earlier sets (most under {most.policy.label}); at most "
            f"{MOST_SOURCES:,} are planned at once",
            ("generations",),
        )


def _depends(spec: LineageSpec) -> tuple[object, ...]:
    """What the number of sources of a lineage depends on."""
    return spec.policy.text, spec.n_real, spec.n_synthetic, spec.tasks


def overruled(key: str, axes: Any) -> str:
    """Why an override changes nothing, or '': the grid sets the same in every cell."""
    head, _, rest = key.partition(".")
    if head != "base" or not isinstance(axes, dict):
        return ""
    parts = rest.split(".")
    above = {".".join(parts[: i + 1]) for i in range(len(parts))}
    for axis in sorted(above & axes.keys()):
        return (
            f"{key} is given, which changes nothing: grid.{axis} sets it in every cell; give "
            f"grid.{axis}=[...] instead"
        )
    return ""


def left_out(without: Sequence[dict[str, Any]], tell: Tell) -> None:
    """Combinations that name no part, or a parameter that no part has, would leave out nothing, or
    everything.
    """
    for i, pair in enumerate(without):
        if not pair:
            tell(
                "a combination to leave out names parts, such as {dataset: digits, "
                "generator: wgan}",
                ("without", i),
            )
        for key, value in pair.items():
            kind, _, parameter = key.partition(".")
            if kind not in PART_KEYS:
                tell(
                    f"unknown key {key!r}{nearest(kind, PART_KEYS)}; allowed: "
                    f"{', '.join(PART_KEYS)}, and their parameters",
                    ("without", i),
                )
            elif parameter and not _is_parameter(kind, parameter):
                tell(f"no {kind} has a parameter {parameter!r}", ("without", i, key))
            elif not parameter and value not in names(kind):
                tell(unknown(kind, str(value)), ("without", i, key))


def _is_parameter(kind: str, parameter: str) -> bool:
    """Whether some part of a kind has it; of a nested part's, whether it has such a part."""
    head = parameter.partition(".")[0]
    return any(head in describe(kind, name).parameters for name in readable(kind))


def is_left_out(spec: LineageSpec, without: Sequence[dict[str, Any]]) -> bool:
    """Whether a cell has all that one of these combinations names."""
    return any(_has_all(spec, pair) for pair in without)


def _has_all(spec: LineageSpec, pair: dict[str, Any]) -> bool:
    return all(_holds(spec, key, value) for key, value in pair.items())


def _holds(spec: LineageSpec, key: str, value: Any) -> bool:
    kind, _, parameter = key.partition(".")
    if kind not in PART_KEYS:
        return False
    part: Part = getattr(spec, kind)
    if not parameter:
        return bool(part.name == value)
    found = leaves(part)
    return parameter in found and bool(found[parameter] == value)


def cells(base: dict[str, Any], axes: Axes, tell: Tell) -> Iterator[Cell]:
    """Every combination of the axes over the base: key -> (value, where it stands in the file)."""
    keys = sorted(axes, key=lambda key: "." in key)  # whole parts first, then their parameters
    used: set[str] = set()
    for choice in itertools.product(*(range(len(axes[k])) for k in keys)):
        cell: Cell = {k: (_part(k, v), ("base", k)) for k, v in {**DEFAULTS, **base}.items()}
        for key, i in zip(keys, choice, strict=True):
            _place(cell, key, axes[key][i], ("grid", key, i), used)
        yield cell
    for key in keys:
        if "." in key and key not in used:
            kind, parameter = key.split(".", 1)
            tell(f"no {kind} of this grid has a parameter {parameter!r}", ("grid", key))


def _part(key: str, value: Any) -> Any:
    """The value of a key of base: parts may be given by their names alone."""
    return named(value) if key in PART_KEYS else value


def _place(cell: Cell, key: str, value: Any, where: Where, used: set[str]) -> None:
    """Put one axis value into a cell.

    A part without that parameter ignores it: its lineages run once.
    """
    kind, _, parameter = key.partition(".")
    if not parameter:
        cell[key] = (_part(key, value), where)
        return
    part, _ = cell.get(kind, (None, where))
    name = part.get("name") if isinstance(part, dict) else None
    if name in names(kind) and parameter.split(".")[0] in describe(kind, name).parameters:
        part = copy.deepcopy(part)
        set_value(part, parameter, value)
        cell[kind] = (part, where)
        used.add(key)
    elif name not in names(kind):
        used.add(key)  # the unknown part is reported by itself


def set_value(values: dict[str, Any], key: str, value: Any) -> None:
    """values["a"]["b"] = value for key "a.b"; a part given by name alone becomes a mapping
    first.
    """
    head, _, rest = key.partition(".")
    if not rest or head == "grid":
        if head == "grid" and rest:
            values.setdefault("grid", {})[rest] = value
        else:
            values[head] = value
        return
    inner = named(values.get(head, {}))
    values[head] = inner if isinstance(inner, dict) else {}
    set_value(values[head], rest, value)
