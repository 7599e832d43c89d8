"""`ouro`: plan, run, status, verify, parts, ui, doctor, download.

Exit codes: 0 all lineages have an outcome (collapse is one), 1 some failed by error, 2 bad input, 3
output busy, 4 environment, 5 damaged state, 130/143 interrupted with the state saved.  Nothing
heavy is imported before it is needed.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from engine.console.errors import BAD_INPUT, DAMAGED, ENVIRONMENT, OK, Refused, errors, open_streams
from engine.console.errors import console as _console

if TYPE_CHECKING:
    from engine.spec import Sweep
    from engine.store.store import Store

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
KINDS_HELP = "dataset, generator, policy, sampling, reward or metric"

File = Annotated[
    str,
    typer.Argument(metavar="FILE", help="an experiment file, such as experiments/quickstart.yaml"),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="override a value of the file, e.g. seeds=1"),
]
Out = Annotated[
    str | None, typer.Option("--out", help="output folder or URL instead of the file's")
]
Json = Annotated[bool, typer.Option("--json", help="for machines: one JSON document on stdout")]
Debug = Annotated[bool, typer.Option("--debug", help="show tracebacks")]
Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        envvar="RAY_ADDRESS",
        help="a running Ray cluster instead of this machine, e.g. auto",
    ),
]
Cpus = Annotated[
    int | None, typer.Option("--cpus", min=1, help="CPUs to use; default: all this process may use")
]


def _load(file: str, sets: list[str] | None, out: str | None) -> Sweep:
    from engine.experiment.reader import load

    try:
        sweep = load(file, sets or [])
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise Refused(
            f"{file}: {error.strerror.lower() if error.strerror else error}", BAD_INPUT
        ) from None
    return replace(sweep, out=out) if out else sweep


def _store(sweep: Sweep) -> Store:
    from engine.lineage.history import Looking

    try:
        return Looking(sweep.out)
    except (ValueError, ImportError) as error:
        raise Refused(f"cannot open the output {sweep.out}: {error}", ENVIRONMENT) from None


def _cluster(address: str | None, local: bool) -> str | None:
    """The cluster to join, or None for Ray on this machine.  Ray sets RAY_ADDRESS in its jobs."""
    if address and address.startswith("http") and not local:
        there = f"ray job submit --address {address} --working-dir . -- ouro ..."
        raise Refused(f"{address} takes jobs, lineages cannot join there; use  {there}", BAD_INPUT)
    return None if address == "local" else address


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=1) + "\n")


# ---- commands ------------------------------------------------------------------------------------


@app.command()
def plan(
    file: File,
    sets: Set = None,
    out: Out = None,
    cpus: Cpus = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show what a file asks for, what of it is there, and a forecast.  Runs nothing."""
    with errors(debug):
        from engine.console import tables as screen
        from engine.planning import plan as planning
        from engine.running.doctor import cpus_here

        sweep = _load(file, sets, out)
        store, known = _store(sweep), planning.paths(sweep)
        made = planning.make_plan(sweep, store, cpus or cpus_here(), known)
        there = planning.rows_there(store, known)
        if as_json:
            _print_json(planning.to_json(made, sweep, there))
            return
        console = _console()
        screen.show_plan(console, made, sweep)
        screen.show_cells(console, sweep, there)


@app.command()
def run(
    file: File,
    sets: Set = None,
    out: Out = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="ID", help="only this lineage (or those beginning so)"),
    ] = None,
    local: Annotated[
        bool,
        typer.Option("--local", help="in this process, one lineage after the other, without Ray"),
    ] = False,
    address: Address = None,
    cpus: Cpus = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Run what is missing.  The same command again continues."""
    with errors(debug):
        sweep, address = _load(file, sets, out), _cluster(address, local)
        _store(sweep)
        if unknown := [
            o for o in only or () if not any(spec.id.startswith(o) for spec in sweep.lineages)
        ]:
            raise Refused(
                f"no lineage of {file} has the id {unknown[0]!r}; `ouro plan {file} --json` "
                "lists them",
                BAD_INPUT,
            )
        from engine.running.restart import own_command
        from engine.running.session import Options, run

        again = shlex.join(
            [
                file,
                *(["--out", out] if out else []),
                *(word for s in sets or () for word in ("--set", s)),
            ]
        )
        options = Options(tuple(only or ()), local, address, cpus, as_json, again, own_command())
        code = run(sweep, _console(as_json), options)
        _theory(sweep, as_json)
    _leave(code)


def _theory(sweep: Sweep, machine: bool) -> None:
    """Closed-form families must follow their laws: says where they do not."""
    if any(spec.generator.constant("COST") == "tiny" for spec in sweep.lineages):
        from engine.cli.report import theory_check

        for text in theory_check(sweep):
            _console(machine).print(Text(text, style="yellow"))


def _leave(code: int) -> None:
    """End now: whatever Ray's or MLflow's exit handlers would still wait for is not ours."""
    sys.stdout.flush()
    sys.stderr.flush()
    if code == ENVIRONMENT or code > 128:
        os._exit(code)
    raise typer.Exit(code)


@app.command()
def status(
    file: File, sets: Set = None, out: Out = None, as_json: Json = False, debug: Debug = False
) -> None:
    """What the store has of a sweep: reads only, also while it runs."""
    with errors(debug):
        from engine.console import tables as screen
        from engine.lineage.history import histories
        from engine.outcome.summary import summarise, to_json

        sweep = _load(file, sets, out)
        found = histories(sweep, _store(sweep))
        if as_json:
            _print_json(to_json(sweep, found))
            return
        console = _console()
        screen.show_status(console, sweep, found)
        screen.show_summary(console, summarise(sweep, found), sweep)


@app.command()
def verify(
    file: File, sets: Set = None, out: Out = None, as_json: Json = False, debug: Debug = False
) -> None:
    """Check every digest of the output.

    Changes nothing: the next run sets aside what is damaged and makes it again.
    """
    with errors(debug):
        store = _store(_load(file, sets, out))
        rows, found = store.verify()
        damage = sorted(set(found))
        if as_json:
            _print_json({"rows": rows, "damaged": damage})
        else:
            console = _console()
            for path in damage:
                console.print(Text(f"damaged: {path}", style="red"))
            end = (
                f"{len(damage)} damaged; `ouro run {file}` makes them again"
                if damage
                else "nothing damaged"
            )
            console.print(f"{rows} rows checked in {store.url}: {end}")
    raise typer.Exit(DAMAGED if damage else OK)


@app.command()
def parts(
    kind: Annotated[str | None, typer.Argument(help=KINDS_HELP)] = None,
    name: Annotated[str | None, typer.Argument(help="one part, with its parameters")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List the parts that an experiment can be made of."""
    with errors(debug):
        from engine import parts as known
        from engine.console import tables as screen

        kind = kind if kind in known.KINDS or kind is None else kind.removesuffix("s")
        kind = {"policie": "policy"}.get(kind or "", kind)
        if kind is not None and kind not in known.KINDS:
            raise Refused(
                f"no kind of part is called {kind!r}; there are: {', '.join(known.KINDS)}",
                BAD_INPUT,
            )
        if name is not None and name not in known.names(kind or ""):
            raise Refused(known.unknown(kind or "", name), BAD_INPUT)
        kinds = [kind] if kind else list(known.KINDS)
        found = {
            k: [known.describe(k, n) for n in ([name] if name else known.names(k))] for k in kinds
        }
        if as_json:
            _print_json({k: {d.name: screen.described(d) for d in ds} for k, ds in found.items()})
        else:
            screen.show_parts(_console(), found, long=kind is not None)


@app.command()
def ui(
    file: File,
    sets: Set = None,
    out: Out = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="port on this machine")] = 5000,
    debug: Debug = False,
) -> None:
    """Start MLflow's pages for a sweep, on this machine only.  Ctrl-C ends them."""
    with errors(debug):
        from engine.tracking.recorder import uri_of

        sweep = _load(file, sets, out)
        uri, artifacts = uri_of(sweep, _store(sweep))
        _servable(uri, file, port)
        assert uri is not None
        if uri.startswith(("http://", "https://")):
            _console().print(f"this sweep is tracked at {uri}: open it there")
            return
        _serve(uri, artifacts, port, sweep.name)


def _servable(uri: str | None, file: str, port: int) -> None:
    """Refuses what would not work."""
    import socket

    if uri is None:
        raise Refused(f"{file} says tracking: none, so there is nothing to show", BAD_INPUT)
    if uri.startswith("sqlite:///") and not os.path.exists(uri.removeprefix("sqlite:///")):
        raise Refused(f"nothing is recorded yet; `ouro run {file}` does", BAD_INPUT)
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise Refused(f"port {port} is taken; choose another with --port", ENVIRONMENT)


def _serve(uri: str, artifacts: str | None, port: int, name: str) -> None:
    """Run the server until Ctrl-C or SIGTERM, which end it with its workers; what it says goes to a
    temporary file.
    """
    import signal
    import tempfile

    from engine.tracking.mlflow_rows import server_command, server_environment

    with tempfile.TemporaryFile() as log:
        command, settings = server_command(uri, port, artifacts), server_environment()
        server = subprocess.Popen(
            command, env=settings, stdout=log, stderr=log, start_new_session=True
        )

        def end(*_: Any) -> None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, end)
        _announce(server, port, uri, name)
        if server.wait() not in (0, -signal.SIGTERM, -signal.SIGINT):
            log.seek(0)
            raise Refused(
                f"MLflow ended: {log.read()[-2000:].decode(errors='replace')}", ENVIRONMENT
            )


def _announce(server: subprocess.Popen[bytes], port: int, uri: str, name: str) -> None:
    """Say where it is, once it answers."""
    import socket
    import time

    from engine.tracking.mlflow import page

    console = _console()
    console.print("starting MLflow, which takes about 20 s; Ctrl-C ends it")
    while server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                console.print(
                    Text.assemble(
                        "open ", (f"http://127.0.0.1:{port}{page(uri, name)}", "bold cyan")
                    ),
                    soft_wrap=True,
                )
                return
        time.sleep(0.2)


@app.command()
def doctor(
    out: Annotated[
        str, typer.Option("--out", help="the folder that sweeps will write to")
    ] = "runs",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Look at this machine: libraries, CPU, GPU, disk, ports, data sets."""
    with errors(debug):
        from dataclasses import asdict
        from pathlib import Path

        from engine.console import tables as screen
        from engine.running.doctor import examine

        findings = examine(Path(out))
        if as_json:
            _print_json([asdict(f) for f in findings])
        else:
            screen.show_findings(_console(), [(f.name, f.text, f.good) for f in findings])
    raise typer.Exit(OK if all(f.good for f in findings) else ENVIRONMENT)


@app.command()
def download(
    name: Annotated[
        str,
        typer.Argument(
            help="a data set (mnist, cifar10, ...) or a network's weights (resnet18, ...)"
        ),
    ],
    root: Annotated[
        str | None, typer.Option(help="data root; default $OUROBOROS_DATA, else the cache folder")
    ] = None,
    debug: Debug = False,
) -> None:
    """Fetch a data set into the data root, or weights into $OUROBOROS_WEIGHTS, with digests
    checked.
    """
    with errors(debug):
        from engine.distances import features
        from engine.running.doctor import DATA_FOLDERS

        if name not in (known := [*DATA_FOLDERS, *features.PRETRAINED]):
            raise Refused(
                f"nothing to download is called {name!r}; there are: {', '.join(known)}", BAD_INPUT
            )
        from engine.datasets import _torchvision

        try:
            place = (
                features.download(name)
                if name in features.PRETRAINED
                else _torchvision.download(name, root)
            )
        except (OSError, RuntimeError, ImportError) as error:
            raise Refused(f"could not fetch {name}: {error}", ENVIRONMENT) from None
        _console().print(f"{name} is in {place}")


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
    """The entry point: `ouro`."""
    open_streams()
    from engine.cli.analysis_commands import (
        add,
    )  # the only door from here to there: analysis knows the engine, not the reverse

    add(app)
    app()


if __name__ == "__main__":
    main()
