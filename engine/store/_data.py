"""What a lineage's record says of the finite data set that it was made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.contents import Contents
from engine.store import shapes


@dataclass(frozen=True, slots=True)
class Data:
    """What a finite data set held when a lineage was begun.

    train, held_out     rows.
    per_class, apart    the same by label, where they are counted.
    left_out            files that were not read, and how many of each kind: .gif: 6.
    unread              what was no file: x.png (a pipe).
    copies              held-out rows that are copies of rows to train on.
    shape, classes      of one row, and how many classes there are; former outputs do not say.
    """

    train: int
    held_out: int
    per_class: tuple[int, ...] = ()
    apart: tuple[int, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    unread: tuple[str, ...] = ()
    copies: int = 0
    shape: tuple[int, ...] = ()
    classes: int = 0

    @classmethod
    def from_json(cls, value: object) -> Data:
        found = shapes.mapping(value)
        per_class, apart, shape = (
            tuple(map(shapes.integer, shapes.items(found.get(name, []))))
            for name in ("per_class", "apart", "shape")
        )
        return cls(
            train=shapes.integer(found.get("train")),
            held_out=shapes.integer(found.get("held_out")),
            per_class=per_class,
            apart=apart,
            left_out=shapes.mapping_of(found.get("left_out", {}), shapes.integer),
            unread=tuple(map(shapes.text, shapes.items(found.get("unread", [])))),
            copies=shapes.integer(found.get("copies", 0)),
            shape=shape,
            classes=shapes.integer(found.get("classes", 0)),
        )

    def contents(self, name: str) -> Contents:
        """The same as a data set of this name says it."""
        classes = tuple(map(str, range(self.classes)))
        return Contents(name, self.train, self.held_out, "", self.shape, classes)

    def to_json(self) -> dict[str, Any]:
        """What is not empty."""
        lists = {"per_class": list(self.per_class), "apart": list(self.apart)}
        lists["shape"] = list(self.shape)
        rest = {"left_out": dict(self.left_out), "unread": list(self.unread)}
        more = {**lists, **rest, "copies": self.copies, "classes": self.classes}
        sizes = {"train": self.train, "held_out": self.held_out}
        return {**sizes, **{name: value for name, value in more.items() if value}}
