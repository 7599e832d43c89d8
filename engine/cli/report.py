"""`ouro report` and `ouro export`, and what theory says at the end of `ouro run`.

Nothing heavy before it is needed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli import main as cli

if TYPE_CHECKING:
    from rich.console import Console

    from engine.spec import Sweep

MOST_SAID = 10
To = Annotated[
    str | None, typer.Option("--to", help="folder to write to; default: report/ in the output")
]
Tables = Annotated[
    list[str] | None,
    typer.Option(
        "--to", metavar="PATH", help="a .parquet or .csv file; default: both, in the output"
    ),
]
Pictures = Annotated[
    bool, typer.Option(help="draw the figures that need samples: film strips, densities, UMAP")
]
Tracked = Annotated[
    bool, typer.Option("--mlflow", help="read from MLflow instead of from the output")
]


def report(
    file: cli.File,
    sets: cli.Set = None,
    out: cli.Out = None,
    to: To = None,
    pictures: Pictures = True,
    debug: cli.Debug = False,
) -> None:
    """Write the answer: one HTML page, and every figure with its numbers."""
    with cli.errors(debug):
        sweep = cli._load(file, sets, out)
        cli._store(sweep)
        _write_report(sweep, cli._console(), to, pictures)


def export(
    file: cli.File,
    sets: cli.Set = None,
    out: cli.Out = None,
    to: Tables = None,
    tracked: Tracked = False,
    debug: cli.Debug = False,
) -> None:
    """Write every number of a sweep as one table: a row per lineage, generation and metric."""
    with cli.errors(debug):
        sweep = cli._load(file, sets, out)
        cli._store(sweep)
        try:
            _write_tables(sweep, cli._console(), to, tracked)
        except (ValueError, KeyError) as error:
            raise cli.Refused(str(error.args[0]), cli.BAD_INPUT) from None


def _write_report(sweep: Sweep, console: Console, to: str | None, pictures: bool) -> None:
    from rich.text import Text

    from analysis.report import page as page_of
    from engine.lineage.history import Looking
    from engine.running.session import folder_of

    folder = Path(to) if to else folder_of(sweep, Looking(sweep.out)) / "report"
    with console.status("reading") as status:
        page = page_of.write(
            sweep, folder, pictures=pictures, say=lambda name: status.update(f"drawing {name}")
        )
    console.print(
        Text.assemble("wrote ", (str(page), "bold cyan"), " and figures/ beside it"), soft_wrap=True
    )


def _write_tables(sweep: Sweep, console: Console, to: list[str] | None, tracked: bool) -> None:
    from rich.text import Text

    from analysis.frame.export import write
    from analysis.frame.rows import from_mlflow, from_store
    from analysis.threshold.workflows import grown
    from engine.lineage.history import Looking
    from engine.running.session import folder_of
    from engine.tracking.recorder import uri_of

    store = Looking(sweep.out)
    if tracked:
        frame = from_mlflow(_known(uri_of(sweep, store)[0]), sweep.name, sweep_id=sweep.id)
    else:
        frame = from_store(grown(sweep, store) if sweep.threshold else sweep)
    if frame.empty:
        raise ValueError(f"nothing has been measured yet; `ouro run {sweep.source}` does")
    folder = folder_of(sweep, store)
    for path in [Path(t) for t in to or ()] or [
        folder / f"{sweep.name}.parquet",
        folder / f"{sweep.name}.csv",
    ]:
        write(frame, path)
        console.print(Text(f"wrote {len(frame):,} rows to {path}"), soft_wrap=True)


def _known(uri: str | None) -> str:
    if uri is None:
        raise ValueError("this sweep is not tracked; leave --mlflow out")
    return uri


def theory_check(sweep: Sweep) -> list[str]:
    """Sentences about lineages of closed-form families that are further than five standard errors
    from their laws.
    """
    from analysis.frame.rows import from_store
    from analysis.theory.laws import check, expected

    if not any(expected(spec) for spec in sweep.lineages):
        return []
    said = check(from_store(sweep, progress=False), sweep.lineages)
    more = (
        [f"... and {len(said) - MOST_SAID} more; `ouro report {sweep.source}` lists them"]
        if len(said) > MOST_SAID
        else []
    )
    return [f"theory disagrees: {text}" for text in said[:MOST_SAID]] + more
