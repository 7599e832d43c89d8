"""`ouro plan`, `status`, `verify`, `doctor`, `download`, `export`: what there is.

None of them trains anything.  Nothing heavy is imported before it is needed.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.options import (
    Cpus,
    Debug,
    File,
    Json,
    Out,
    Parts,
    Rehash,
    Set,
    changed,
    load,
    look_again,
    open_output,
    open_store,
    print_json,
    words,
    writable,
)
from engine.console.errors import Refused, errors
from engine.console.text import console, line
from engine.status import ExitCode

if TYPE_CHECKING:
    import pandas as pd

    from engine.lineage.missing import Missing
    from engine.spec import Sweep
    from engine.store.store import Store

Where = Annotated[str, typer.Option("--out", help="the folder that sweeps will write to")]
Wanted = Annotated[
    str,
    typer.Argument(
        help="a data set (mnist, tinyshakespeare, ...) or a network's weights (resnet18, ...)"
    ),
]
Root = Annotated[
    str | None, typer.Option(help="data root; default $OUROBOROS_DATA, else the cache folder")
]
Check = Annotated[
    bool, typer.Option("--check", help="exit 2 when this computer lacks something for it")
]
Tables = Annotated[
    list[str] | None,
    typer.Option(
        "--to", metavar="PATH", help="a .parquet or .csv file; default: both, in the output"
    ),
]
Tracked = Annotated[
    bool, typer.Option("--mlflow", help="read from MLflow instead of from the output")
]


def plan(
    file: File,
    sets: Set = None,
    parts: Parts = None,
    out: Out = None,
    cpus: Cpus = None,
    check: Check = False,
    rehash: Rehash = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show what a file asks for, what of it and for it is there, and a forecast.  Runs nothing."""
    with errors(debug):
        from engine.console import tables
        from engine.planning import plan as planning
        from engine.running.doctor import cpus_here
        from engine.tracking.tracker import address_of, lack

        look_again(rehash)
        sweep = load(file, sets, out)
        store, known = open_store(sweep), planning.paths(sweep)
        made = planning.make_plan(sweep, store, cpus or cpus_here(), known)
        there = planning.rows_there(store, known)
        untracked = lack(address_of(sweep, store))
        if as_json:
            said = {"tracker_lacks": untracked, "changed": changed(sweep, store)}
            print_json({**planning.to_json(made, sweep, there), **said})
        else:
            terminal = console()
            tables.show_plan(terminal, made, sweep)
            if untracked:
                terminal.print(line(f"  lacks        {untracked}", style="yellow"))
            changed(sweep, store, terminal)
            tables.show_cells(terminal, sweep, there)
    raise typer.Exit(
        ExitCode.BAD_INPUT if check and (made.preflight.lacks or untracked) else ExitCode.OK
    )


def status(
    file: File,
    sets: Set = None,
    parts: Parts = None,
    out: Out = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """How far every lineage is, and the results of those that have ended.

    Reads only, also while it runs.
    """
    with errors(debug):
        from engine.console import tables
        from engine.console.summary import show_controls, show_kept, show_summary
        from engine.lineage.history import histories
        from engine.outcome.continual import kept
        from engine.outcome.control import controls
        from engine.outcome.document import to_json
        from engine.outcome.summary import summarise
        from engine.store import stages

        sweep = load(file, sets, out)
        store = open_output(sweep, words(file, sets, out))
        found = histories(sweep, store)
        at_work = stages.told(store, found)
        if as_json:
            now = {lineage: asdict(stage) for lineage, stage in at_work.items()}
            damage = sorted(set(store.damage))
            said = {"at_work": now, "damaged": damage, "changed": changed(sweep, store)}
            print_json({**to_json(sweep, found), **said})
            return
        terminal = console()
        tables.show_status(terminal, sweep, found, at_work)
        show_summary(terminal, summarise(sweep, found), sweep)
        show_kept(terminal, kept(sweep, found))
        show_controls(terminal, controls(sweep, found))
        if damaged := len(set(store.damage)):
            again = words(file, sets, out)
            said_of_it = f"{damaged} damaged files are left out; `ouro verify {again}` names them"
            terminal.print(line(said_of_it, style="yellow"), soft_wrap=True)
        changed(sweep, store, terminal)


def verify(
    file: File,
    sets: Set = None,
    parts: Parts = None,
    out: Out = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Check every digest of the output, and say what it lacks of the sweep.

    Changes nothing: the next run sets aside what is damaged and makes it again, as it does with
    generations that are gone.  Arrays that are gone hold no number of their own: whoever needs them
    makes them again, to the same bits.
    """
    with errors(debug):
        from analysis.threshold.workflows import grown
        from engine.lineage.missing import missing

        again = words(file, sets, out)
        sweep = load(file, sets, out)
        store = open_output(sweep, again)
        rows, found = store.verify()
        damage = sorted(set(found))
        lacks = missing(grown(sweep, store) if sweep.threshold else sweep, store)
        if as_json:
            said = {"rows": rows, "damaged": damage, "missing": asdict(lacks)}
            print_json({**said, "changed": changed(sweep, store)})
        else:
            _show_damage(store, rows, damage, lacks, again)
            changed(sweep, store, console())
    raise typer.Exit(ExitCode.DAMAGED if damage or lacks.gone else ExitCode.OK)


def _show_damage(store: Store, rows: int, damage: list[str], lacks: Missing, again: str) -> None:
    from engine.console.tables import first

    terminal, end = console(), "nothing damaged"
    for path in damage:
        terminal.print(line(f"damaged: {path}", style="red"))
    for name in first(lacks.gone, "generations"):
        terminal.print(line(f"missing: {name}, though later ones are there", style="red"))
    for path in first(lacks.arrays, "files"):
        terminal.print(line(f"missing: {path}", style="yellow"))
    if damage or lacks.gone:
        counts = {"damaged": len(damage), "missing": len(lacks.gone)}
        many = ", ".join(f"{n} {what}" for what, n in counts.items() if n)
        end = f"{many}; `ouro run {again}` makes them again"
    terminal.print(line(f"{rows} rows checked in {store.url}: {end}"))
    if lacks.arrays:
        terminal.print(f"arrays missing: {len(lacks.arrays)}, made again when they are needed")
    if lacks.generations:
        terminal.print(f"not made yet: {lacks.generations} generations")


def doctor(out: Where = "runs", as_json: Json = False, debug: Debug = False) -> None:
    """Look at this machine: libraries, CPU, GPU, disk, ports, data sets."""
    with errors(debug):
        from engine.console import tables
        from engine.running.doctor import examine

        findings = examine(Path(out))
        if as_json:
            print_json([asdict(f) for f in findings])
        else:
            tables.show_findings(console(), [(f.name, f.text, f.good) for f in findings])
    raise typer.Exit(ExitCode.OK if all(f.good for f in findings) else ExitCode.ENVIRONMENT)


def download(name: Wanted, root: Root = None, debug: Debug = False) -> None:
    """Fetch a data set into the data root, or weights into $OUROBOROS_WEIGHTS, with digests
    checked.
    """
    with errors(debug):
        from engine.datasets import _published_texts, _torchvision
        from engine.distances import extractors, features

        sets = [*_torchvision.FOLDERS, *_published_texts.TEXTS]
        if name not in (known := [*sets, *extractors.PRETRAINED]):
            raise Refused(
                f"nothing to download is called {name!r}; there are: {', '.join(known)}",
                ExitCode.BAD_INPUT,
            )
        try:
            if name in extractors.PRETRAINED:
                place = features.download(name)
            elif name in _published_texts.TEXTS:
                place = _published_texts.download(name, root)
            else:
                place = _torchvision.download(name, root)
        except (OSError, RuntimeError, ImportError) as error:
            raise Refused(f"could not fetch {name}: {error}", ExitCode.ENVIRONMENT) from None
        console().print(line(f"{name} is in {place}"))


def export(
    file: File,
    sets: Set = None,
    parts: Parts = None,
    out: Out = None,
    to: Tables = None,
    tracked: Tracked = False,
    debug: Debug = False,
) -> None:
    """Write every number of a sweep as one table: a row per lineage, generation and metric."""
    with errors(debug):
        from analysis.frame.export import named, write
        from engine.running.logs import Folder, folder_of

        sweep, again = load(file, sets, out), words(file, sets, out)
        store = open_output(sweep, again)
        try:
            frame = _frame(sweep, store, tracked)
            if frame.empty and store.verify()[1]:
                raise Refused(
                    f"what was measured is damaged; `ouro run {again}` makes it again",
                    ExitCode.DAMAGED,
                )
            if frame.empty:
                raise ValueError(f"nothing has been measured yet; `ouro run {again}` does")
            folder = folder_of(sweep, store)
            own = [folder / f"{sweep.name}.parquet", folder / f"{sweep.name}.csv"]
            for path in [named(Path(t)) for t in to or ()] or own:
                writable(path.parent, store)
                write(frame, Folder.at(path.parent, store).place(path.name))
                said = line(f"wrote {len(frame):,} rows to {path}")
                console().print(said, soft_wrap=True)
        except (ValueError, KeyError) as error:
            raise Refused(str(error.args[0]), ExitCode.BAD_INPUT) from None


def _frame(sweep: Sweep, store: Store, tracked: bool) -> pd.DataFrame:
    """Return all that was measured, from the output or from MLflow."""
    from analysis.frame.rows import from_mlflow, from_store
    from analysis.threshold.workflows import grown
    from engine.store.outputs import sweep_id
    from engine.tracking.tracker import address_of, backends

    if tracked:
        address = address_of(sweep, store)
        if address is None or backends()[address.scheme] != "mlflow":
            raise ValueError("this sweep is not tracked by MLflow; leave --mlflow out")
        return from_mlflow(address.uri, sweep.name, sweep_id=sweep_id(store, sweep.name))
    return from_store(grown(sweep, store) if sweep.threshold else sweep)
