"""`ouro ui FILE`: the tracker's own pages of a sweep, on this machine only."""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import Annotated, Any

import typer
from rich.text import Text

from engine.cli.options import Debug, File, Out, Set, load, open_store
from engine.console.errors import BAD_INPUT, ENVIRONMENT, Refused, console, errors

Port = Annotated[int, typer.Option(min=1, max=65535, help="port on this machine")]


def ui(
    file: File,
    sets: Set = None,
    out: Out = None,
    port: Port = 5000,
    debug: Debug = False,
) -> None:
    """Start MLflow's pages for a sweep, on this machine only.  Ctrl-C ends them."""
    with errors(debug):
        from engine.tracking.recorder import uri_of

        sweep = load(file, sets, out)
        uri, artifacts = uri_of(sweep, open_store(sweep))
        _servable(uri, file, port)
        assert uri is not None
        if uri.startswith(("http://", "https://")):
            console().print(f"this sweep is tracked at {uri}: open it there")
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

    terminal = console()
    terminal.print("starting MLflow, which takes about 20 s; Ctrl-C ends it")
    while server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                terminal.print(
                    Text.assemble(
                        "open ", (f"http://127.0.0.1:{port}{page(uri, name)}", "bold cyan")
                    ),
                    soft_wrap=True,
                )
                return
        time.sleep(0.2)
