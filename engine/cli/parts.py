"""`ouro parts`: what an experiment can be made of; `ouro schema`: the same for editors."""

from __future__ import annotations

import difflib
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli import completion
from engine.cli.options import Debug, Json, Parts, print_json
from engine.console.errors import Refused, errors
from engine.console.text import console, line
from engine.status import ExitCode

if TYPE_CHECKING:
    from engine.registry import Description

KIND_HELP = "dataset, generator, policy, sampling, reward or metric; or the name of a part"
Kind = Annotated[str | None, typer.Argument(help=KIND_HELP, autocompletion=completion.parts)]
Name = Annotated[str | None, typer.Argument(help="one part, with its parameters")]


def parts(
    kind: Kind = None,
    name: Name = None,
    folders: Parts = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List the parts that an experiment can be made of, or say all of one: `ouro parts ddpm`.

    `ouro parts check DIR` tries the contracts on the parts of a folder.
    """
    if kind == "check":
        with errors(debug):
            sound = check_folder(name, as_json)
        raise typer.Exit(ExitCode.OK if sound else ExitCode.BAD_INPUT)
    with errors(debug):
        from engine import registry as known
        from engine.console import parts as shown

        found = _found(kind, name)
        one = name is not None or (kind is not None and _kind(kind) is None)
        if as_json:
            print_json({each: shown.all_described(own) for each, own in found.items()})
        elif one:
            for own in found.values():
                shown.show_whole(console(), own)
        else:
            shown.show_parts(console(), found)
        aside = console(machine=True)
        for each in () if one else found:
            for fault in known.broken(each).values():
                aside.print(line(f"left out, it cannot be read: {fault}"), soft_wrap=True)
        for fault in () if one else known.faults():
            aside.print(line(f"left out: {fault}"), soft_wrap=True)


def check_folder(folder: str | None, as_json: bool) -> bool:
    """Try every rule on every part of a folder, a line for each; whether all hold."""
    from engine.contracts import check

    if folder is None:
        raise Refused("`ouro parts check DIR` wants the folder of your parts", ExitCode.BAD_INPUT)
    found = []
    try:
        for verdict in check.check_folder(folder):
            found.append(verdict)
            if not as_json:
                style = "red" if verdict.fault else ""
                console().print(line(str(verdict), style=style), soft_wrap=True)
    except (NotADirectoryError, ValueError) as error:
        raise Refused(str(error), ExitCode.BAD_INPUT) from None
    if as_json:
        print_json([{**asdict(verdict), "file": str(verdict.file)} for verdict in found])
    return not any(verdict.fault for verdict in found)


def schema(folders: Parts = None, debug: Debug = False) -> None:
    """Print the JSON schema of an experiment file, for editors: all keys, parts and parameters."""
    with errors(debug):
        from engine.experiment.json_schema import schema as whole

        print_json(whole())


def _found(asked: str | None, name: str | None) -> dict[str, list[Description]]:
    """Describe the parts that are asked for, by kind; Refused where there are none."""
    from engine.registry import KINDS, names, readable, unknown

    kind = _kind(asked)
    if asked is None:
        return {each: _described(each, readable(each)) for each in KINDS}
    if kind is not None:
        if name is not None and name not in names(kind):
            raise Refused(unknown(kind, name), ExitCode.BAD_INPUT)
        return {kind: _described(kind, [name] if name else readable(kind))}
    owners = {each: _described(each, [asked]) for each in KINDS if asked in names(each)}
    if not owners or name is not None:
        raise Refused(_unknown(asked), ExitCode.BAD_INPUT)
    return owners


def _described(kind: str, wanted: list[str]) -> list[Description]:
    """Describe parts of a kind; Refused when one of them cannot be read."""
    from engine.registry import PartError, describe

    try:
        return [describe(kind, name) for name in wanted]
    except PartError as error:
        raise Refused(f"the {kind} cannot be read: {error}", ExitCode.BAD_INPUT) from None


def _kind(asked: str | None) -> str | None:
    """Return a kind of part, which may be given in the plural; None for any other word."""
    from engine.registry import KINDS

    plurals = {folder: kind for kind, folder in KINDS.items()}
    return asked if asked in KINDS else plurals.get(asked or "")


def _unknown(asked: str) -> str:
    """Say that a word is neither a kind of part nor a part, and what is near."""
    from engine.registry import KINDS, names

    known = [*KINDS, *KINDS.values(), *(name for kind in KINDS for name in names(kind))]
    near = difflib.get_close_matches(asked, known, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"no part and no kind of part is called {asked!r}{hint} (there are: {', '.join(KINDS)})"
