"""The JSON schema (draft 2020-12) of experiment files, for editors: every part with its parameters,
every key with its description.

It accepts what the reader accepts of one key by itself; what keys mean to each other (a budget and
its start, a policy and its sizes) only the reader knows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from engine._annotations import UNREADABLE, adapter
from engine._descriptions import KINDS_SAID
from engine.experiment.grid import PART_KEYS
from engine.experiment.schema import File, Sizes
from engine.files import JsonObject
from engine.registry import KINDS, Description, Parameter, describe, readable

DIALECT = "https://json-schema.org/draft/2020-12/schema"
BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
NUMERAL = r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$"  # YAML 1.1 reads 1e-4 as text
EVERY = {
    "type": "integer",
    "minimum": 1,
    "default": 1,
    "description": "Measure generations 0, every, 2 every, ..., and the last one.",
}
N = {
    "type": "integer",
    "minimum": 2,
    "description": "Samples of each generation that are compared; left out: the most that every "
    "cell has.",
}


def schema() -> JsonObject:
    """The schema of a whole file, with all parts that can be read here."""
    parts = {kind: _members(kind) for kind in KINDS}
    head = standard(File.model_json_schema())
    sizes = standard(Sizes.model_json_schema())["properties"]
    own: JsonObject = head["properties"]
    own["base"] |= {"additionalProperties": False, "properties": {**_whole_parts(), **sizes}}
    axes = {**_axes(parts), **{key: _axis(size) for key, size in sizes.items()}}
    own["grid"] |= {"additionalProperties": False, "properties": axes}
    own["without"]["items"] = _combination(parts)
    own["metrics"]["items"] = {"$ref": "#/$defs/metric"}
    defined: JsonObject = head.pop("$defs")
    defined["Threshold"]["properties"]["policies"]["propertyNames"] = {
        "enum": [p.name for p in parts["policy"] if "synthetic_fraction" in p.parameters]
    }
    generators = {"enum": [p.name for p in parts["generator"]]}
    defined["Resources"]["properties"]["generators"]["propertyNames"] = generators
    for kind, members in parts.items():
        defined |= _kind(kind, members)
    return {"$schema": DIALECT, "title": "An experiment of Ouroboros", **head, "$defs": defined}


def of_parameter(parameter: Parameter) -> JsonObject:
    """The schema of one parameter's value: type, range, default, description."""
    if parameter.name in KINDS:
        found: JsonObject = {"$ref": f"#/$defs/{parameter.name}"}
    else:
        try:
            found = dict(standard(adapter(parameter.annotation).json_schema()))
        except UNREADABLE:
            found = {}
        if "Finite" in parameter.annotation:
            found = _with_numerals(found)
    if parameter.words:
        found["description"] = re.sub(r"\bNone\b", "null", parameter.words)  # as YAML calls it
    if not parameter.required and parameter.name not in KINDS:
        found["default"] = parameter.default
    return found


def _members(kind: str) -> list[Description]:
    return [describe(kind, name) for name in readable(kind)]


# ---- parts ---------------------------------------------------------------------------------------


def _kind(kind: str, members: list[Description]) -> JsonObject:
    """Definitions of a kind of part, and of each part of it."""
    alone = [
        {"const": part.name, "description": part.summary} for part in members if _is_whole(part)
    ]
    full = [{"$ref": f"#/$defs/{kind}.{part.name}"} for part in members]
    defined: JsonObject = {kind: {"description": KINDS_SAID[kind], "oneOf": [*alone, *full]}}
    for part in members:
        defined[f"{kind}.{part.name}"] = _part(part)
    return defined


def _is_whole(part: Description) -> bool:
    """Whether a part's name alone will do."""
    return not any(own.required for own in part.parameters.values())


def _part(part: Description) -> JsonObject:
    """A part as a mapping: its name and its parameters."""
    named = {"const": part.name, "description": f"The {part.kind} {part.name}."}
    own = {name: of_parameter(known) for name, known in part.parameters.items()}
    required = [name for name, known in part.parameters.items() if known.required]
    measuring = {"every": EVERY, "n": N} if part.kind == "metric" else {}
    return {
        "type": "object",
        "description": part.summary,
        "properties": {"name": named, **measuring, **own},
        "required": ["name", *required],
        "additionalProperties": False,
    }


def _whole_parts() -> JsonObject:
    return {
        kind: {"$ref": f"#/$defs/{kind}", "description": KINDS_SAID[kind]} for kind in PART_KEYS
    }


def _combination(parts: dict[str, list[Description]]) -> JsonObject:
    """What `without` lists: kinds of parts with a name each, and values of their parameters."""
    named = {kind: _name_of(kind, parts[kind]) for kind in PART_KEYS}
    return {
        "type": "object",
        "minProperties": 1,
        "properties": named,
        "patternProperties": {
            f"^{kind}[.]({'|'.join(_parameters(parts[kind]))})([.].+)?$": {} for kind in PART_KEYS
        },
        "additionalProperties": False,
    }


def _parameters(members: list[Description]) -> list[str]:
    """Names of parameters that some of these parts has."""
    return sorted({name for part in members for name in part.parameters})


def _name_of(kind: str, members: list[Description]) -> JsonObject:
    names = [part.name for part in members]
    return {"enum": names, "description": f"A {kind} that is part of the combination."}


# ---- the grid ------------------------------------------------------------------------------------


def _axes(parts: dict[str, list[Description]]) -> JsonObject:
    """Axes over whole parts, and over each parameter that some part of a kind has."""
    found: JsonObject = {kind: _axis(own) for kind, own in _whole_parts().items()}
    for kind in PART_KEYS:
        for name, owners in _owners(parts[kind]).items():
            found[f"{kind}.{name}"] = _parameter_axis(name, owners)
            if name in KINDS:  # a part in a part
                found |= _inner_axes(f"{kind}.{name}", parts[name])
    return found


def _inner_axes(key: str, members: list[Description]) -> JsonObject:
    """Axes over the name and the parameters of a part in a part."""
    names = {"enum": [part.name for part in members], "description": "By name."}
    inner = {
        f"{key}.{name}": _parameter_axis(name, owners) for name, owners in _owners(members).items()
    }
    return {f"{key}.name": _axis(names), **inner}


def _owners(members: list[Description]) -> dict[str, list[Description]]:
    """Parameters with the parts that have them."""
    found: dict[str, list[Description]] = {}
    for part in members:
        for name in part.parameters:
            found.setdefault(name, []).append(part)
    return found


def _parameter_axis(name: str, owners: list[Description]) -> JsonObject:
    """An axis over a parameter, of whichever part of the cell has it."""
    kinds: list[JsonObject] = []
    said: dict[str, list[str]] = {}
    for part in owners:
        value = of_parameter(part.parameters[name])
        value.pop("default", None)
        said.setdefault(value.pop("description", ""), []).append(part.name)
        if value not in kinds:
            kinds.append(value)
    about = " ".join(f"{', '.join(names)}: {text}" for text, names in said.items())
    return _axis(kinds[0] if len(kinds) == 1 else {"anyOf": kinds}, about)


def _axis(value: JsonObject, about: str = "") -> JsonObject:
    items = {key: own for key, own in value.items() if key not in ("description", "default")}
    described = about or value["description"]
    return {"type": "array", "minItems": 1, "items": items, "description": described}


# ---- pydantic's schemas in the words of the standard ---------------------------------------------


def standard(found: Any) -> Any:
    """Without titles; bounds behind a validator, which pydantic leaves in its own words, in those
    of the standard.
    """
    return _everywhere(found, _standard)


def _standard(found: JsonObject) -> JsonObject:
    own = {BOUNDS.get(key, key): value for key, value in found.items() if key != "title"}
    return _numeral(own) if BOUNDS.keys() & found.keys() else own


def _with_numerals(found: JsonObject) -> JsonObject:
    numerals: JsonObject = _everywhere(found, _numeral)
    return numerals


def _numeral(found: JsonObject) -> JsonObject:
    """A number may be text that a file of YAML 1.1 has for one."""
    if found.get("type") != "number":
        return found
    return found | {"type": ["number", "string"], "pattern": NUMERAL}


def _everywhere(found: Any, change: Callable[[JsonObject], JsonObject]) -> Any:
    """Each schema in a schema changed, from the outside in; names of properties are no schemas."""
    if isinstance(found, list):
        return [_everywhere(item, change) for item in found]
    if not isinstance(found, dict):
        return found
    own = {}
    for key, value in change(found).items():
        if key in ("properties", "$defs"):
            own[key] = {name: _everywhere(inner, change) for name, inner in value.items()}
        elif key in ("default", "enum", "const", "pattern", "type"):
            own[key] = value
        else:
            own[key] = _everywhere(value, change)
    return own


def properties_of(found: Any, path: str = "") -> Iterator[tuple[str, JsonObject]]:
    """Every property in a schema, with the path of its name."""
    members: Iterable[tuple[Any, Any]] = ()
    if isinstance(found, dict):
        members = found.items()
        for name, own in found.get("properties", {}).items():
            yield f"{path}/{name}", own
    elif isinstance(found, list):
        members = enumerate(found)
    for key, inner in members:
        yield from properties_of(inner, f"{path}/{key}")
