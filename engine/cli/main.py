"""`ouro`: every command, each in the file of its room.

Exit codes: 0 all lineages have an outcome (collapse is one), 1 some failed by error, 2 bad input, 3
output busy, 4 environment, 5 damaged state, 130/143 interrupted with the state saved.  Nothing
heavy is imported before it is needed.
"""

from __future__ import annotations

import contextlib
import threading
from typing import Annotated

import typer

from engine.cli import clean, look, measure, new, parts, report, run, threshold, ui
from engine.cli._words import Words
from engine.cli.options import leave
from engine.console.errors import open_streams
from engine.status import ExitCode

app = typer.Typer(
    cls=Words,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    look.plan,
    run.run,
    look.status,
    look.verify,
    parts.parts,
    parts.schema,
    ui.ui,
    look.doctor,
    look.download,
    report.report,
    look.export,
    threshold.threshold,
    measure.measure,
    clean.clean,
    new.new,
):
    about = " ".join((command.__doc__ or "").split("\n\n")[0].split())
    app.command(short_help=about)(command)  # whole: by itself it would be cut at 45 characters


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import PackageNotFoundError, version

        with contextlib.suppress(PackageNotFoundError):
            print(f"ouroboros {version('ouroboros-engine')}")
            raise typer.Exit
        print("ouroboros (from source)")
        raise typer.Exit


@app.callback()
def _ouro(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="print the version and leave"
        ),
    ] = False,
) -> None:
    """How much synthetic data is too much?  Sweeps of self-consuming generative models."""


def main() -> None:
    """Run the command line: the entry point `ouro`.

    Threads that a part has left do not keep the process.
    """
    open_streams()
    try:
        app()
    except SystemExit as ended:
        left = [thread for thread in threading.enumerate() if not thread.daemon]
        if left != [threading.main_thread()]:
            leave(ended.code if isinstance(ended.code, int) else ExitCode.OK, at_once=True)
        raise


if __name__ == "__main__":
    main()
