"""YAML with line numbers and no surprises: the numbers of YAML 1.2, no tags, no anchors or aliases,
no duplicate keys, no depth without end.

PyYAML's SafeLoader reads YAML 1.1, where 0100 is 64, 1:30 is 90, `no` is false and 1e-4 is text,
and lets the last of two equal keys win; each has ruined experiments.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

MOST_BYTES = 10_000_000  # of an experiment file
DEEPEST = 100  # lists and mappings inside each other
HALVES = "an escape from \\ud800 to \\udfff is half a character; write the character itself"
_TAG = "tag:yaml.org,2002:"
# the core schema of YAML 1.2 (section 10.3.2): what a plain word means, and how it may begin
_CORE = {
    "null": (r"~|null|Null|NULL|", [*"~nN", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", [*"tTfF"]),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", [*"-+0123456789"]),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        [*"-+.0123456789"],
    ),
}
_PLAIN_TAGS = {f"{_TAG}{name}" for name in ("str", "map", "seq", *_CORE)}
Path = tuple[str | int, ...]


class CoreResolver(yaml.resolver.Resolver):
    """Tells numbers, truth values and null from text, as YAML 1.2 does."""

    yaml_implicit_resolvers: dict[str, Any] = {}


for _name, (_pattern, _first) in _CORE.items():
    CoreResolver.add_implicit_resolver(f"{_TAG}{_name}", re.compile(f"^(?:{_pattern})$"), _first)


class _Loader(
    yaml.reader.Reader,
    yaml.scanner.Scanner,
    yaml.parser.Parser,
    yaml.composer.Composer,
    CoreResolver,
):
    """Text -> nodes; nothing is constructed."""

    def __init__(self, text: str) -> None:
        yaml.reader.Reader.__init__(self, text)
        yaml.scanner.Scanner.__init__(self)
        yaml.parser.Parser.__init__(self)
        yaml.composer.Composer.__init__(self)
        CoreResolver.__init__(self)


@dataclass(frozen=True)
class Problem:
    """One thing wrong with an experiment file: where, and what to do about it."""

    message: str
    path: Path = ()
    line: int | None = None
    given: str = ""  # the override that is to blame, or has a part in it: `--set seeds=x`

    def __str__(self) -> str:
        where = ".".join(str(p) for p in self.path)
        line = f"line {self.line}" if self.line else ""
        if not line and self.given.startswith((f"--set {where}=", f"{where}=")):
            where = ""  # said by the override itself
        first = ", with ".join(filter(None, [line, self.given]))
        return ": ".join(filter(None, [first, where, self.message]))


@dataclass
class Document:
    """Plain values, the line of every key path, how every number was written, and what was wrong
    with the text.
    """

    values: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    written: dict[Path, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def line(self, path: Path) -> int | None:
        """The line of a path, or of its nearest ancestor that stands in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)


def parse(text: str) -> Document:
    """Read one YAML document; problems are collected, not raised."""
    document = Document()
    try:
        document.problems += _refused(text)
        if document.problems:
            return document
        node = _Loader(text).get_single_node()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        fault = f"this is not YAML: it holds {chr(error.character)!r}, which no text may"
        document.problems.append(Problem(fault, (), line))
        return document
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or str(error) or type(error).__name__
        document.problems.append(
            Problem(f"this is not YAML: {reason}", (), mark.line + 1 if mark else None)
        )
        return document
    document.values = _value(node, (), document) if node is not None else {}
    return document


def _refused(text: str) -> list[Problem]:
    """What no experiment needs: anchors, aliases, more than DEEPEST levels."""
    problems: list[Problem] = []
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):  # type: ignore[arg-type]  # stubs name PyYAML's
        line = event.start_mark.line + 1 if event.start_mark else None
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            fault = f"lists and mappings stand at most {DEEPEST} deep inside each other"
            return [*problems, Problem(fault, (), line)]
        if anchor := getattr(event, "anchor", None):
            fault = f"anchors and aliases are not allowed, got {anchor!r}"
            problems.append(Problem(fault, (), line))
    return problems


def parse_value(text: str) -> Any:
    """One value as it would stand in a file, for `--set key=value`;
    ValueError when it is not YAML.
    """
    document = parse(text)
    if document.problems:
        raise ValueError(document.problems[0].message)
    return None if document.values == {} and not text.strip() else document.values


def _value(node: yaml.Node, path: Path, document: Document) -> Any:
    document.lines[path] = node.start_mark.line + 1
    if node.tag not in _PLAIN_TAGS:
        document.problems.append(
            Problem(f"YAML tags are not allowed, got {node.tag}", path, node.start_mark.line + 1)
        )
        return None
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, document)
    if isinstance(node, yaml.SequenceNode):
        return [_value(child, (*path, i), document) for i, child in enumerate(node.value)]
    return _scalar(node, path, document)


def _mapping(node: yaml.MappingNode, path: Path, document: Document) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key_node, child in node.value:
        key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
        line = key_node.start_mark.line + 1
        if key is None:
            document.problems.append(Problem("keys must be plain names", path, line))
            continue
        if _has_halves(key):
            document.problems.append(Problem(f"{key!r}: {HALVES}", path, line))
            continue
        if key in found:
            first = document.lines[(*path, key)]
            again = f"{key!r} stands here a second time (first on line {first}); keep one"
            document.problems.append(Problem(again, path, line))
            continue
        found[key] = _value(child, (*path, key), document)
        document.lines[(*path, key)] = line
    return found


def _scalar(node: yaml.Node, path: Path, document: Document) -> Any:
    assert isinstance(node, yaml.ScalarNode)
    text = node.value
    try:
        match node.tag.removeprefix(_TAG):
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int":
                document.written[path] = text
                return int(text, {"0x": 16, "0o": 8}.get(text[:2], 10))
            case "float":
                document.written[path] = text
                return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError as error:
        fault = f"cannot read {text:.60}: {error}"
        document.problems.append(Problem(fault, path, node.start_mark.line + 1))
    if _has_halves(text):
        fault = f"{text[:60]!r}: {HALVES}"
        document.problems.append(Problem(fault, path, node.start_mark.line + 1))
    return text


def _has_halves(text: str) -> bool:
    """Whether a text holds halves of characters (lone surrogates), which an escape can write."""
    return any("\ud800" <= letter <= "\udfff" for letter in text)
