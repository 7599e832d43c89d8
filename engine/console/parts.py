"""The parts that an experiment can be made of, for people and for machines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from engine._descriptions import KINDS_SAID, Key, keys_of
from engine._docstrings import split_docstring
from engine.console.tables import NARROW
from engine.console.text import Rows, line
from engine.console.traits import in_words
from engine.experiment.json_schema import of_parameter
from engine.files import JsonObject
from engine.registry import Description, Parameter

Row = tuple[str, str, str, str]  # a name, what it is in short and at length, its description
SAID = ("KEYS", "BY", "PER_TASK")  # constants that are in the table of keys
BETTER = {"": "a control", "near 0": "nearer 0", "near 1": "nearer 1"}


def described(part: Description) -> JsonObject:
    """A part for machines."""
    fields = {
        p.name: {
            "type": p.annotation,
            "required": p.required,
            "default": p.default,
            "description": p.words,
        }
        for p in part.parameters.values()
    }
    plain = {"summary": part.summary, "origin": part.origin or "engine", "text": _prose(part)}
    keys = {
        key.name: {
            "description": key.words,
            "unit": key.unit,
            "better": key.better,
            "collapse_by": key.by or "ratio or difference",
        }
        for key in keys_of(part)
    }
    return {
        **plain,
        "parameters": fields,
        "traits": in_words(part),
        **({"keys": keys} if keys else {}),
        "constants": {name: v for name, v in part.constants.items() if name not in SAID},
    }


def all_described(parts: Iterable[Description]) -> JsonObject:
    """Parts for machines, by name."""
    return {part.name: described(part) for part in parts}


def show_parts(console: Console, found: Mapping[str, Sequence[Description]]) -> None:
    """Names by kind, each with what it is; of one kind alone in full sentences."""
    whole = len(found) == 1
    for kind, members in found.items():
        console.print(Text(kind, style="bold") + Text(f"  {KINDS_SAID[kind]}", style="dim"))
        longest = max((len(part.name) for part in members), default=0)
        for part in members:
            short = line(f"  {part.name:{longest}}  ", "cyan") + line(part.summary)
            if console.width < NARROW:  # a paragraph each
                console.print(line(part.name, "cyan") + line(f": {part.summary}"))
            elif whole:
                row = Rows.grid(padding=(0, 2, 0, 0))
                row.add_column(min_width=longest + 2, no_wrap=True, style="cyan")
                row.add_row(f"  {part.name}", part.summary)
                console.print(row)
            else:
                short.truncate(console.width, overflow="ellipsis")
                console.print(short)
            if part.origin:
                _print(console, line(f"from {part.origin}", "dim"), longest + 4)


def show_whole(console: Console, parts: Iterable[Description]) -> None:
    """All that each part says of itself."""
    for part in parts:
        _show_part(console, part)


def _show_part(console: Console, part: Description) -> None:
    """All that a part says of itself: its text, what it declares, its parameters, its keys."""
    where = f"  from {part.origin}" if part.origin else ""
    console.print(line(f"{part.kind} ") + line(part.name, "bold cyan") + line(where, "dim"))
    for i, paragraph in enumerate(_prose(part).split("\n\n")):
        if i:
            console.print()
        _print(console, Text(_filled(paragraph)), 2)
    if sentences := in_words(part):
        console.print()
        _print(console, Text("\n".join(sentences)), 2)
    rows = [_parameter(own) for own in part.parameters.values()]
    _show_table(console, ("parameter", "default", "type"), rows)
    _show_table(console, ("key", "unit", "better"), [_key(own) for own in keys_of(part)])


def _key(own: Key) -> Row:
    by = f"; collapse is judged by: {own.by}" if own.by else ""
    return own.name, own.unit, BETTER.get(own.better, own.better), own.words + by


def _parameter(own: Parameter) -> Row:
    default = "required" if own.required else _json(own.default)
    return own.name, default, type_in_words(own), of_parameter(own).get("description", "")


def _show_table(console: Console, columns: tuple[str, str, str], rows: Sequence[Row]) -> None:
    """Three columns, and below each row the sentence that it ends with."""
    if not rows:
        return
    first = max(len(row[0]) for row in [columns, *rows])
    second = max(len(row[1]) for row in [columns, *rows])
    console.print()
    _print(console, Text(f"{columns[0]:{first}}  {columns[1]:{second}}  {columns[2]}", "bold"), 2)
    for name, short, long, words in rows:
        row = Rows.grid(padding=(0, 2, 0, 0))
        row.add_column(min_width=first, style="cyan", no_wrap=True)
        row.add_column(min_width=second, no_wrap=True)
        row.add_row(name, short, long)
        console.print(Padding(row, (0, 0, 0, 2), expand=False))
        _print(console, Text(words), 6)


def _print(console: Console, text: Text, left: int) -> None:
    console.print(Padding(text, (0, 0, 0, left), expand=False))


def _prose(part: Description) -> str:
    """What the file says of itself, and its class beside its parameters."""
    own = split_docstring(part.text, part.parameters)[0]
    return "\n\n".join(filter(None, (part.about, own if own != part.about else "")))


def _filled(paragraph: str) -> str:
    """Lines of prose as one, so that a terminal of any width can break it; indented ones stay."""
    lines = paragraph.splitlines()
    if any(line.startswith(" ") for line in lines):
        return paragraph
    return " ".join(lines)


# ---- types ---------------------------------------------------------------------------------------


def type_in_words(parameter: Parameter) -> str:
    """Which values a parameter takes: `number > 0, or null`."""
    said = _values(of_parameter(parameter)) or parameter.annotation
    return said.replace("text", "file or folder") if "OnDisk" in parameter.annotation else said


def _values(schema: JsonObject) -> str:
    if "$ref" in schema:
        return f"a {schema['$ref'].split('/')[-1]}"
    if "anyOf" in schema:
        return ", or ".join(map(_values, schema["anyOf"]))
    if "enum" in schema or "const" in schema:
        return " | ".join(map(str, schema.get("enum", [schema.get("const")])))
    kind = schema.get("type", "")
    if kind == "array":
        inner = [*map(_values, schema.get("prefixItems", ()))]
        return f"[{', '.join(inner)}]" if inner else f"list of {_values(schema.get('items', {}))}"
    if isinstance(kind, list):  # a number that may be a text
        kind = kind[0]
    names = {"integer": "whole number", "boolean": "true | false", "string": "text"}
    return str(names.get(kind, kind)) + _bounds(schema)


def _bounds(schema: JsonObject) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f" {low} to {high}"
    signs = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}
    return "".join(f" {sign} {schema[key]}" for key, sign in signs.items() if key in schema)


def _json(value: object) -> str:
    """A value as an experiment file has it."""
    return value if isinstance(value, str) and value else json.dumps(value)
