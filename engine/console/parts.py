"""The parts that an experiment can be made of, for people and for machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from engine.files import JsonObject
from engine.registry import Description


def described(part: Description) -> JsonObject:
    """A part for machines."""
    fields = {
        p.name: {"type": p.annotation, "required": p.required, "default": p.default}
        for p in part.parameters.values()
    }
    plain = {"summary": part.summary, "parameters": fields, "constants": part.constants}
    return {**plain, "origin": part.origin or "engine"}


def show_parts(console: Console, found: Mapping[str, Sequence[Description]], long: bool) -> None:
    """Names and parameters by kind; with `long`, each part's sentence and its parameters' types."""
    for kind, members in found.items():
        console.print(Text(kind, style="bold"))
        for part in members:
            _show_part(console, part) if long else console.print(
                Text(f"  {part.name}", style="cyan") + Text(_signature(part)) + _origin(part)
            )


def _origin(part: Description) -> Text:
    """Where a part of one's own is from."""
    return Text(f"  from {part.origin}" if part.origin else "", style="dim")


def _signature(part: Description) -> str:
    named = [p.name if p.required else f"{p.name}={p.default!r}" for p in part.parameters.values()]
    return f"({', '.join(named)})" if named else ""


def _show_part(console: Console, part: Description) -> None:
    console.print(Text(f"  {part.name}", style="bold cyan") + _origin(part))
    console.print(Padding(part.summary, (0, 0, 0, 4)))
    for p in part.parameters.values():
        tail = " (required)" if p.required else f" = {p.default!r}"
        console.print(Padding(Text(f"{p.name}: {p.annotation}{tail}", style="dim"), (0, 0, 0, 6)))
