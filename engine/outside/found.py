"""All parts of one's own that the three doors lead to, by kind and name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engine._signatures import PartError
from engine.outside.places import Place, of_folder, of_packages

Address = tuple[str, str]  # kind and name


@dataclass
class Found:
    """places: by kind and name.  clashes: names that mean two parts, and why that is refused.
    faults: doors that lead nowhere.
    """

    places: dict[Address, Place] = field(default_factory=dict)
    clashes: dict[Address, PartError] = field(default_factory=dict)
    faults: list[PartError] = field(default_factory=list)


def found(
    folders: Sequence[Path],
    classes: Iterable[Place],
    house: Mapping[Address, str],
    received: Sequence[Place] | None,
) -> Found:
    """Look through the doors; what was received from another process stands for all of them.

    house: the parts that the engine has, whose names are taken.
    """
    here = Found()
    if received is not None:
        here.places = {(place.kind, place.name): place for place in received}
        return here
    doors = [*map(of_folder, folders), of_packages(here.faults), classes]
    for door in doors:
        for place in door:
            _enter(here, place, house)
    return here


def _enter(here: Found, place: Place, house: Mapping[Address, str]) -> None:
    address = place.kind, place.name
    there = here.places.get(address)
    owner = there.origin if there else house.get(address)
    if owner is None:
        here.places[address] = place
        return
    rule = f"the {place.kind} {place.name} is there already, in {owner}"
    mend = "call one of the two otherwise"
    if address in house:
        mend = "call yours otherwise: its file and its class"
    here.clashes[address] = PartError(place.root / place.path, 1, rule, mend)
