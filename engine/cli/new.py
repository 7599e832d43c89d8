"""`ouro new NAME`: an experiment file to begin with."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from engine.cli.options import Debug, reading
from engine.console.errors import Refused, errors
from engine.console.text import console, line
from engine.status import ExitCode

Name = Annotated[
    str | None, typer.Argument(help="what it is to be called; it is written to NAME.yaml")
]
From = Annotated[
    str | None,
    typer.Option(
        "--from", metavar="EXPERIMENT", help="begin with another experiment: its name, file, output"
    ),
]
Listed = Annotated[bool, typer.Option("--list", help="the experiments that come with ouro")]


def new(name: Name = None, like: From = None, listed: Listed = False, debug: Debug = False) -> None:
    """Write a commented experiment file, which runs as it is in seconds, to change."""
    with errors(debug):
        if listed:
            _list()
            return
        if name is None:
            raise Refused("new wants the NAME of an experiment, or --list", ExitCode.BAD_INPUT)
        from engine.experiment.sources import find

        if like is None:
            text = (Path(__file__).parents[1] / "experiment" / "new.yaml").read_bytes()
        else:
            with reading(like):
                text = find(like).text
        written = _write(name, text)
        said = line("wrote ") + line(str(written), "bold cyan") + line(f"; `ouro plan {written}`")
        console().print(said, soft_wrap=True)


def _write(name: str, text: bytes) -> Path:
    """Write NAME.yaml, which must not be there."""
    path = Path(name if name.endswith((".yaml", ".yml")) else f"{name}.yaml")
    try:
        with open(path, "xb") as file:
            file.write(text)
    except FileExistsError:
        raise Refused(f"{path} is there already; choose another name", ExitCode.BAD_INPUT) from None
    except OSError as error:
        said = (error.strerror or str(error)).lower()
        raise Refused(f"cannot write {path}: {said}", ExitCode.ENVIRONMENT) from None
    return path


def _list() -> None:
    """Say the question of every experiment that comes with the engine."""
    from engine.console.tables import one_line_each, table
    from engine.experiment.sources import shipped

    rows, terminal = table(("experiment", "left"), ("question", "left")), console()
    for name, file in shipped().items():
        asked = re.findall(r"^#\s*Question:\s*(.+)$", file.read_text("utf-8"), re.M)
        rows.add_row(name, (asked or ["-"])[0])
    terminal.print(one_line_each(rows) if terminal.is_terminal else rows)
