"""Moments that a sampling keeps of real rows (DIRECTIONS in engine/parts.py), against how many rows
there are of a class: a covariance of n rows has n - 1 directions, and is far off in most of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from engine._yardstick import coordinates
from engine.parts import Params
from engine.registry import describe
from engine.spec import LineageSpec

ENOUGH = 4  # rows for each direction


def refusal(spec: LineageSpec) -> str:
    """Why a lineage cannot keep the moments that it asks for, or ''."""
    for name, parameter, r, rows, of in _kept(spec):
        if r >= rows:
            return (
                f"{name} keeps moments in {parameter} {r} directions, but {of} has about "
                f"{rows:,} real rows, whose covariance is singular there; {parameter} must be "
                f"below {rows:,}, and at most {rows // ENOUGH:,} for an estimate that is not noise"
            )
    return ""


def warnings(lineages: Iterable[LineageSpec]) -> Iterator[str]:
    """A sentence for each sampling whose moments are of few rows, once."""
    found = dict[str, None]()
    for spec in lineages:
        for name, parameter, r, rows, of in _kept(spec):
            if r > rows / ENOUGH:
                said = (
                    f"{name} keeps moments in {parameter} {r} directions, and {of} has about "
                    f"{rows:,} real rows: with fewer than {ENOUGH} for each direction they are "
                    "largely noise, which every generation repeats"
                )
                found[said] = None
    yield from found


def _kept(spec: LineageSpec) -> Iterator[tuple[str, str, int, int, str]]:
    """Of the sampling and those inside it that keep moments: its name, the parameter, how many
    directions there are of it, how many real rows, and of what.
    """
    d, classes = coordinates(spec.dataset), _classes(spec)
    inside: Params | None = {"name": spec.sampling.name, **spec.sampling.params}
    while inside is not None:
        known = describe("sampling", inside["name"])
        own = {key: value for key, value in inside.items() if key != "name"}
        if (declared := known.trait("DIRECTIONS", own)) is not None:
            parameter, switch = declared
            r = int(known.value(parameter, own))
            r = r if d is None else min(r, d)
            by_class = bool(known.value(switch, own)) and spec.generator.conditional
            if r and by_class and classes:
                yield known.name, parameter, r, spec.n_real // classes, "a class"
            elif r:
                yield known.name, parameter, r, spec.n_real, "the real set"
        inside = own.get("sampling")


def _classes(spec: LineageSpec) -> int:
    """Among how many classes the real rows are divided: those of the largest task; 0: unlabelled,
    or only absent data could tell.
    """
    if spec.stream:
        return max(map(len, spec.stream))
    return spec.classes or 0
