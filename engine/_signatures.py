"""What a part is, read from its source without importing it, so that a plan needs none of torch.

The constructor's signature is the schema; class constants say what the part declares.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Never, get_args

from engine._docstrings import split_docstring
from engine._literals import Module, Unreadable, module
from engine._traits import wanted
from engine.parts import DECIDED, DEFAULT_TRAITS, Extractor

KINDS = {
    "dataset": "datasets",
    "generator": "generators",
    "policy": "policies",
    "sampling": "samplings",
    "reward": "rewards",
    "metric": "metrics",
}


class PartError(ValueError):
    """A part's file that breaks a rule of parts: where, which rule, and how to mend it."""

    def __init__(self, file: Path, line: int, rule: str, mend: str) -> None:
        super().__init__(f"{file}:{line}: {rule}; {mend}")
        self.file, self.line, self.rule, self.mend = file, line, rule, mend


@dataclass(frozen=True)
class Parameter:
    """One keyword of a part's constructor."""

    name: str
    annotation: str
    default: Any
    required: bool
    words: str = ""  # what the class's docstring says of it


@dataclass(frozen=True)
class Description:
    """A part's signature and class constants, read from its source."""

    kind: str
    name: str
    summary: str
    parameters: dict[str, Parameter]
    constants: dict[str, Any]
    about: str = ""  # all that the file says of itself
    text: str = ""  # the docstring of its class
    source: str = ""  # digest of the source of a part from outside the package
    origin: str = ""  # where that is, for people

    def trait(self, name: str, params: Mapping[str, Any]) -> Any:
        """What the part declares of itself, as these parameters decide it; its default if nothing.

        `CONTINUES = "warm_start"` is the value of the parameter warm_start, given or by default.
        """
        value = self.constants.get(name, DEFAULT_TRAITS.get(name))
        if name in DECIDED and isinstance(value, str):
            return self.value(value, params)
        return value

    def value(self, parameter: str, params: Mapping[str, Any]) -> Any:
        """A parameter's value: given, or by default."""
        return params.get(parameter, self.parameters[parameter].default)


def class_name(name: str) -> str:
    """The class that the file of a part holds."""
    return "".join(word.capitalize() for word in name.split("_"))


def described(kind: str, name: str, file: Path) -> Description:
    """The description of the part in a file; PartError."""
    return read(kind, name, file, lambda: module(file))


def read(
    kind: str, name: str, file: Path, parse: Callable[[], Module], cls: str = ""
) -> Description:
    """The description of the part in a file, as `parse` gives it; PartError.

    cls: the name of its class, where that is not called as the file.
    """
    try:
        return _described(kind, name, parse(), cls or class_name(name))
    except SyntaxError as error:  # here, or in a file it imports from
        where, fault = Path(error.filename or file), f"this is not Python: {error.msg}"
        raise PartError(where, error.lineno or 1, fault, "mend the line") from None
    except UnicodeDecodeError as error:
        fault = f"this is not text in UTF-8: {error.reason} at byte {error.start}"
        raise PartError(file, 1, fault, "save it as UTF-8") from None
    except RecursionError:
        raise PartError(file, 1, "its class inherits from itself", "name another base") from None


def _described(kind: str, name: str, home: Module, cls: str) -> Description:
    chain = _chain(home, home.class_of(cls) or _no_class(home, cls))
    parameters: dict[str, Parameter] = {}
    for where, each in chain:
        if init := _method(each, "__init__"):
            parameters = _parameters(where, init)
            break
    constants = _constants(chain)
    for trait in DECIDED & constants.keys():
        _decided(home, chain[0][1], trait, constants[trait], parameters)
    texts = [ast.get_docstring(each) or "" for _, each in chain]
    parameters = _worded(parameters, texts)
    about, summary = ast.get_docstring(home.tree) or "", _summary(home, chain[0][1])
    return Description(kind, name, summary, parameters, constants, about, texts[0])


def _no_class(home: Module, name: str) -> Never:
    """PartError: the class is not called as the file."""
    classes = [n for n in home.tree.body if isinstance(n, ast.ClassDef)]
    public = [c.name for c in classes if not c.name.startswith("_")]
    line = classes[0].lineno if classes else 1
    rule = f"{home.file.name} holds no class {name}"
    has = f"it has {', '.join(public)}" if public else "it has no class"
    mend = f"{has}; call the part's class {name}, or the file otherwise"
    raise PartError(home.file, line, rule, mend)


def _chain(home: Module, cls: ast.ClassDef) -> list[tuple[Module, ast.ClassDef]]:
    """A class and those it inherits from, as far as their sources are ours; nearest first."""
    chain = [(home, cls)]
    for base in cls.bases:
        found = home.base(base)
        if found is not None and found[1] is not cls:
            chain += _chain(*found)
    return chain


def _method(cls: ast.ClassDef, name: str) -> ast.FunctionDef | None:
    for node in cls.body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return node
    return None


def _summary(home: Module, cls: ast.ClassDef) -> str:
    """The first paragraph of what the file says of itself."""
    text = ast.get_docstring(home.tree) or ast.get_docstring(cls) or ""
    return text.split("\n\n")[0].replace("\n", " ")


def _parameters(home: Module, init: ast.FunctionDef) -> dict[str, Parameter]:
    """The keywords of a constructor; PartError for what no plan can read."""
    plain = [*init.args.posonlyargs, *init.args.args][1:]  # without self
    if plain:
        rule = f"the parameter {plain[0].arg!r} is not keyword-only"
        raise PartError(home.file, plain[0].lineno, rule, "write `*,` after `self,`")
    several = init.args.vararg or init.args.kwarg
    if several:
        rule = f"*{several.arg} hides the names of parameters"
        raise PartError(home.file, several.lineno, rule, "name each parameter")
    found = {}
    for arg, default in zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True):
        value = None if default is None else _default(home, arg, default)
        found[arg.arg] = Parameter(arg.arg, _annotation(home, arg), value, default is None)
    return found


def _worded(parameters: Mapping[str, Parameter], texts: Sequence[str]) -> dict[str, Parameter]:
    """With what the docstrings of a chain of classes say of them; the nearest one counts."""
    said: dict[str, str] = {}
    for text in texts:
        said = split_docstring(text, parameters)[1] | said
    return {name: replace(own, words=said.get(name, "")) for name, own in parameters.items()}


def _default(home: Module, arg: ast.arg, default: ast.expr) -> Any:
    try:
        return _plain(home, default)
    except Unreadable as error:
        rule = f"the default of {arg.arg!r} cannot be read without running the file ({error})"
        mend = "write a literal, or a constant that this file gives a literal"
        raise PartError(home.file, default.lineno, rule, mend) from None


def _plain(home: Module, node: ast.expr) -> Any:
    """A value that an experiment file could hold too; Unreadable."""
    value = home.value(node)
    try:
        json.dumps(value)
    except TypeError:
        kinds = "numbers, texts, tuples, lists and mappings only"
        raise Unreadable(f"{ast.unparse(node)}: {kinds}") from None
    return value


def _annotation(home: Module, arg: ast.arg) -> str:
    """The type as a reader wants it; a nested part stands under the key of its kind."""
    text = ast.unparse(arg.annotation) if arg.annotation else "Any"
    if "PartDict" in text and arg.arg not in KINDS:
        rule = f"the parameter {arg.arg!r} takes a part, but is not called after a kind of part"
        mend = f"call it one of: {', '.join(KINDS)}; then it is checked and enters the key"
        raise PartError(home.file, arg.lineno, rule, mend)
    return f"Literal{list(get_args(Extractor))}" if text == "Extractor" else text


def _constants(chain: list[tuple[Module, ast.ClassDef]]) -> dict[str, Any]:
    """The class constants of a chain, the nearest of each name."""
    found: dict[str, Any] = {}
    for home, cls in chain:
        for node in cls.body:
            name = _constant_name(node)
            if name is not None and name not in found:
                found[name] = _constant(home, name, node)
    return {name: value for name, value in found.items() if not isinstance(value, Unreadable)}


def _constant_name(node: ast.stmt) -> str | None:
    target: ast.expr | None = None
    if isinstance(node, ast.Assign):
        target = node.targets[0]
    if isinstance(node, ast.AnnAssign) and node.value is not None:
        target = node.target
    return target.id if isinstance(target, ast.Name) and target.id.isupper() else None


def _constant(home: Module, name: str, node: ast.stmt) -> Any:
    """Its value; of a constant that no plan reads, why there is none."""
    assert isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
    try:
        value = _plain(home, node.value)
    except Unreadable as error:
        if name not in DEFAULT_TRAITS:
            return error
        rule = f"{name} cannot be read without running the file ({error})"
        mend = "write a literal, or a constant that a file of the package gives a literal"
        raise PartError(home.file, node.lineno, rule, mend) from None
    if words := wanted(name, value):
        rule = f"{name} is {value!r:.60}, and should be {words}"
        raise PartError(home.file, node.lineno, rule, "write it so, or leave it out")
    return value


def _decided(
    home: Module, cls: ast.ClassDef, trait: str, value: Any, parameters: Mapping[str, Parameter]
) -> None:
    """PartError when a trait is left to a parameter that is not there."""
    if isinstance(value, str) and value not in parameters:
        rule = f"{trait} is left to the parameter {value!r}, which {cls.name} does not take"
        mend = f"name one of: {', '.join(parameters) or 'none'}; or write the value itself"
        raise PartError(home.file, cls.lineno, rule, mend)
