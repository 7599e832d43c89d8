"""What a part is known by: its name and the parameters that differ from their defaults, a number
spelled as its type says and a file by what is in it; and the digests that keys are made of.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from engine import _digests as digests
from engine._annotations import paths_in, spelled, with_paths
from engine.contents import Contents, Lack
from engine.files import data_root, expanded, readable, unread
from engine.parts import Params, PartDict
from engine.registry import KINDS, Description, command_lines, describe, make, unchanged
from engine.samples import Traits

CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(payload: Any, length: int = 24) -> str:
    """The first hex digits of the SHA-256 of a value's canonical JSON."""
    return digest_of_text(CANONICAL.encode(payload), length)


def digest_of_text(text: str, length: int = 24) -> str:
    """The same of canonical JSON that is written already."""
    return hashlib.sha256(text.encode()).hexdigest()[:length]


CHANGING_NOTHING = ("root", "minutes")  # where data lie, how long a program may take
CONTENT = "CONTENT"  # of a data set that is not the published one: in capitals, as no parameter is


class Changed(RuntimeError):
    """Files that hold something else than when the run was planned."""


class Unopened(ValueError):
    """What a parameter leads to is neither a file nor a folder that can be read."""


@dataclass(frozen=True)
class Part:
    """A part by name, with its parameters as the file gave them.

    files   digests of what it reads, by parameter ("path", of a nested part "reward.path"), as they
            were found where the run was planned; None: looked at here.
    former  spelled as in outputs without a schema number: numbers as given, files by their paths.
    known   its canonical form, as an output has it; None: as it is today.
    then    what an output says that a data set held, for where its files are not on this computer.
    """

    kind: str
    name: str
    params: Params = field(default_factory=dict)
    files: Mapping[str, str] | None = None
    former: bool = False
    known: PartDict | None = None
    then: Contents | None = field(default=None, compare=False, repr=False)

    @cached_property
    def canonical(self) -> PartDict:
        """What a key is made of: the name, the parameters that differ from their defaults, and what
        its bits depend on besides.
        """
        if self.known is not None:
            return self.known
        return {"name": self.name, **self.changed, **self.beside}

    @cached_property
    def text(self) -> str:
        """Its canonical JSON."""
        return CANONICAL.encode(self.canonical)

    @cached_property
    def changed(self) -> Params:
        """The parameters that differ from their defaults, as keys spell them, but for those that
        change nothing.
        """
        known, found = self._description.parameters, {}
        for name, given in sorted(self.params.items()):
            if name in CHANGING_NOTHING:
                continue
            value = self._spelled(name, known[name].annotation, given)
            if known[name].required or value != known[name].default:
                found[name] = value
        return found

    @cached_property
    def beside(self) -> PartDict:
        """What its bits depend on besides parameters: its revision, the source of a part from
        outside the package, and data that are not the published ones.
        """
        found: PartDict = {}
        revision = self.trait("REVISION")
        if revision != 1 and not self.former:
            found["REVISION"] = revision
        if self.source:
            found["SOURCE"] = self.source
        if not self.former and (content := self.found.get(CONTENT)):
            found[CONTENT] = content
        return found

    @cached_property
    def drawing(self) -> Params:
        """Of a generator: the parameters by which a fitted model is only drawn from otherwise."""
        only = self.trait("DRAWING")
        return {name: value for name, value in self.changed.items() if name in only}

    @cached_property
    def fitted(self) -> str:
        """Canonical JSON of what a fit depends on: all but `drawing`."""
        return CANONICAL.encode({k: v for k, v in self.canonical.items() if k not in self.drawing})

    def _spelled(self, name: str, annotation: str, value: Any) -> Any:
        nested = self._nested(name, value)
        if nested is not None:
            return nested.canonical
        if self.former:
            return value
        if not paths_in(annotation, value):
            return spelled(annotation, value)
        return with_paths(annotation, value, lambda at, own: self.found.get(f"{name}{at}", own))

    def _nested(self, name: str, value: Any) -> Part | None:
        """A part inside this one, such as verify's reward."""
        if name not in KINDS or not isinstance(value, dict) or "name" not in value:
            return None
        params = {k: v for k, v in value.items() if k != "name"}
        files: dict[str, str] | None = None
        if self.files is not None:
            whole = f"{name}."
            own = [(k, v) for k, v in self.files.items() if k.startswith(whole)]
            files = {k.removeprefix(whole): v for k, v in own}
        return Part(name, value["name"], params, files, self.former)

    @property
    def _description(self) -> Description:
        return describe(self.kind, self.name)

    # ---- what it reads ----

    @cached_property
    def reads(self) -> bool:
        """Whether it reads files that a parameter, or the data root, leads to."""
        if "root" in self._description.parameters or self._named:
            return True
        nested = [self._nested(name, value) for name, value in self.params.items()]
        return any(part.reads for part in nested if part is not None)

    @cached_property
    def found(self) -> Mapping[str, str]:
        """Digests of what it reads, by parameter; nothing of what is absent here."""
        if self.files is not None:
            return self.files
        return dict(self._look()) if self.reads else {}

    @cached_property
    def unopened(self) -> str:
        """Why what a parameter leads to cannot be read, or ''."""
        try:
            _ = self.found
        except Unopened as error:
            return str(error)
        return ""

    def _look(self) -> Iterator[tuple[str, str]]:
        told = self._content  # of a data set: what of the files it reads
        named = self._named
        if told and not named:
            yield CONTENT, told
        for name, path in named.items():
            own = told or self._digest(name, path)
            if own is not None:
                yield name, own
        for name, value in self.params.items():
            nested = self._nested(name, value)
            for own, digest_of_it in nested.found.items() if nested is not None else ():
                yield f"{name}.{own}", digest_of_it

    @property
    def _named(self) -> dict[str, str]:
        """The files and folders that its parameters name, as `found` calls them."""
        known, named = self._description.parameters, dict[str, str]()
        for name, value in self.params.items():
            if name in known:
                own = paths_in(known[name].annotation, value)
                named |= {f"{name}{at}": path for at, path in own.items()}
        return named

    def _digest(self, name: str, path: str) -> str | None:
        """The digest of what a parameter leads to, None where nothing is there; Unopened."""
        try:
            return digests.content(self._place(path))
        except OSError as error:
            said = unread(path, error)
        except ValueError as error:
            said = f"no path holds a null byte, got {path!r:.200}" if "\0" in path else str(error)
        raise Unopened(f"{self.kind} {self.name}: {name}: {said}")

    @cached_property
    def _content(self) -> str:
        """What a finite data set says of its files; '' of published ones, and of absent or faulty
        ones.
        """
        try:
            contents = self.contents
        except ValueError:
            return ""
        return contents.content if isinstance(contents, Contents) else ""

    @cached_property
    def absent(self) -> bool:
        """Whether files that it reads are not on this computer."""
        if not self.reads:
            return False
        try:
            if isinstance(self.contents, Lack):
                return True
        except ValueError:
            return False
        here = self if self.files is None else replace(self, files=None)
        return any(name not in here.found for name in here.own_files)

    @cached_property
    def own_files(self) -> list[str]:
        """The parameters that lead to files of the user's own, as `found` calls them."""
        names = [*self._named]
        for name, value in self.params.items():
            nested = self._nested(name, value)
            if nested is not None:
                names += [f"{name}.{own}" for own in nested.own_files]
        return names

    def _place(self, path: str) -> Path:
        """Where a data set's file lies below the data root, another part's where it says."""
        own = Path(expanded(path))
        return data_root(self.params.get("root")) / own if self.kind == "dataset" else own

    @cached_property
    def elsewhere(self) -> Part:
        """The same part, read where the published data are: what lies here is a part of them."""
        return replace(self, files={})

    def check_files(self) -> None:
        """Changed where the files here are not those that the run was planned with."""
        if self.files is None or not self.reads:
            return
        here = replace(self, files=None)
        if not here.absent and dict(here.found) != dict(self.files):
            raise Changed(
                f"the files of {self.kind} {self.name} ({self.leads_to}) are not those that "
                "this run was planned with: they were changed since, or are others on this "
                "machine; run the same command again, or put the same files there"
            )

    @property
    def leads_to(self) -> str:
        """Its parameters that lead to files, as given."""
        named, known = self._named, self._description.parameters
        leading = {"root", *(at.partition(".")[0] for at in named)}
        leads = [n for n in known if n in leading]
        said = [f"{n} {self.params[n]}" for n in leads if self.params.get(n) is not None]
        return ", ".join(said) or f"in {data_root()}"

    @property
    def command_lines(self) -> dict[str, str]:
        """The command lines that its parameters would have it run, by parameter."""
        found = command_lines(self.kind, self.name, self.params)
        for name, value in self.params.items():
            nested = self._nested(name, value)
            if nested is not None:
                found |= nested.command_lines
        return found

    # ---- what it is ----

    @cached_property
    def source(self) -> str:
        """The digest of the source of a part from outside the package; ''."""
        return self._description.source

    def make(self) -> Any:
        """The part, constructed; PartError when its source is another one than in its key."""
        unchanged(self.kind, self.name, self.source)
        return make(self.kind, self.name, **self.params)

    @cached_property
    def made(self) -> Any:
        """The part, constructed once: for policies, which keep nothing."""
        return self.make()

    def constant(self, name: str, default: Any = None) -> Any:
        """A literal class constant of the part, read without importing it."""
        return describe(self.kind, self.name).constants.get(name, default)

    @cached_property
    def contents(self) -> Contents | Lack | None:
        """What a finite data set holds, looked at once; None of one that is drawn without end.

        ValueError when its files hold something else.
        """
        if not self.constant("FINITE", False):
            return None
        with readable(f"{self.kind} {self.name}: {self.leads_to}"):
            found: Contents | Lack = self.make().contents()
        return found

    @property
    def known_contents(self) -> Contents | None:
        """What a finite data set holds, or held when an output was made of it; None where neither
        is known.
        """
        if self.then is not None and self.then.shape:
            return self.then
        try:
            found = self.contents
        except ValueError:
            return self.then
        return found if isinstance(found, Contents) else self.then

    def too_few(self, n: int, parts: int = 1) -> str:
        """Why a finite data set cannot give n rows to train on, or so many times as many, or ''.

        Where it is absent, wholly or in part, its declared sizes count: another computer has it.
        """
        found = self.contents
        if isinstance(found, Contents) and found.rest is None:
            return found.refusal(n, parts)
        size = self.constant("SIZE")
        if size is None:
            return ""
        return Contents(self.name, size[0], size[1], "the official test part").refusal(n, parts)

    def trait(self, name: str) -> Any:
        """What the part declares of itself with these parameters (parts.DEFAULT_TRAITS)."""
        return describe(self.kind, self.name).trait(name, self.params)

    @cached_property
    def traits(self) -> Traits:
        """What a data set's samples are; classes is None where only absent data could tell."""
        classes, tokens, tokenizer = self.trait("CLASSES"), self.trait("VOCABULARY"), None
        if isinstance(self.contents, Contents):
            classes = len(self.contents.classes) if classes is None else classes
            tokens = self.contents.vocabulary or None if tokens is None else tokens
            tokenizer = self.contents.tokenizer
        gives, replicates = self.trait("GIVES"), self.trait("REPLICATES")
        return Traits(gives, classes, replicates, self.trait("SIZE"), tokens, tokenizer)

    def has(self, trait: str) -> bool:
        """Whether it, or a part nested in it, declares this."""
        nested = (self._nested(name, value) for name, value in self.params.items())
        return bool(self.trait(trait)) or any(part.has(trait) for part in nested if part)

    @cached_property
    def conditional(self) -> bool:
        """Whether a generator draws by class label or covariates, and labels what it draws."""
        return bool(self.trait("CONDITIONAL"))

    @cached_property
    def continues(self) -> bool:
        """Whether a generator's fit goes on from the generation before it."""
        return bool(self.trait("CONTINUES"))

    @property
    def label(self) -> str:
        params = {k: short(v) for k, v in self.told.items()}
        if not params:
            return self.name
        return f"{self.name}({', '.join(f'{k}={v}' for k, v in params.items())})"

    @property
    def told(self) -> Params:
        """The parameters that differ from their defaults, for people: files by their paths."""
        known = self._description.parameters
        found: Params = {}
        for name, value in self.changed.items():
            nested = self._nested(name, self.params[name])
            if nested is not None:
                value = {"name": nested.name, **nested.told}
            files = paths_in(known[name].annotation, self.params[name])
            found[name] = self.params[name] if files else value
        return found

    @cached_property
    def asked(self) -> PartDict:
        """What was asked for, whatever its files and the code behind it are."""
        return {"name": self.name, **replace(self, files={}, former=False).told}


def short(value: Any) -> str:
    if isinstance(value, dict):
        return str(value.get("name", "..."))
    return f"{value:g}" if isinstance(value, float) else str(value)
