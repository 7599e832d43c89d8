"""YAML with line numbers and no surprises: no tags, no anchors or aliases, no duplicate keys;
`1e-4` is a number.

PyYAML's SafeLoader lets the last of two equal keys win and reads 1e-4 as text; both have ruined
experiments.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

_SCIENTIFIC = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+")
_PLAIN = ("str", "int", "float", "bool", "null", "map", "seq", "timestamp", "merge")
_PLAIN_TAGS = {f"tag:yaml.org,2002:{name}" for name in _PLAIN}
Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Problem:
    """One thing wrong with an experiment file: where, and what to do about it."""

    message: str
    path: Path = ()
    line: int | None = None

    def __str__(self) -> str:
        where = ".".join(str(p) for p in self.path)
        line = f"line {self.line}: " if self.line else ""
        return f"{line}{where + ': ' if where else ''}{self.message}"


@dataclass
class Document:
    """Plain values, the line of every key path, and what was wrong with the text."""

    values: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def line(self, path: Path) -> int | None:
        """The line of a path, or of its nearest ancestor that stands in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)


def is_scientific(text: str) -> bool:
    """Whether plain text such as 1e-4 is read as a number."""
    return _SCIENTIFIC.fullmatch(text) is not None


def parse(text: str) -> Document:
    """Read one YAML document; problems are collected, not raised."""
    document = Document()
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if anchor := getattr(event, "anchor", None):
                line = event.start_mark.line + 1 if event.start_mark else None
                document.problems.append(
                    Problem(f"anchors and aliases are not allowed, got {anchor!r}", (), line)
                )
        if document.problems:
            return document
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or str(error) or type(error).__name__
        document.problems.append(
            Problem(f"this is not YAML: {reason}", (), mark.line + 1 if mark else None)
        )
        return document
    document.values = _value(node, (), document) if node is not None else {}
    return document


def parse_value(text: str) -> Any:
    """One value as it would stand in a file, for `--set key=value`;
    ValueError when it is not YAML.
    """
    document = parse(text)
    if document.problems:
        raise ValueError(str(document.problems[0]))
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
        if key is None or key_node.tag.endswith(":merge"):
            document.problems.append(Problem("keys must be plain names", path, line))
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
    if node.tag.endswith(":timestamp"):
        return node.value
    if node.tag.endswith(":str"):
        return float(node.value) if node.style is None and is_scientific(node.value) else node.value
    try:
        return yaml.SafeLoader("").construct_object(node)
    except (ValueError, OverflowError) as error:
        document.problems.append(
            Problem(f"cannot read {node.value!r}: {error}", path, node.start_mark.line + 1)
        )
        return None
