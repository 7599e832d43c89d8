"""`ouro ui FILE`: the tracker's own pages of a sweep, on this machine only."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.options import Debug, File, Out, Parts, Set, load, open_output, open_store, words
from engine.console.errors import Refused, errors
from engine.console.text import console, line
from engine.status import ExitCode

if TYPE_CHECKING:
    from engine.tracking.tracker import Pages

Port = Annotated[int, typer.Option(min=1, max=65535, help="port on this machine")]


def ui(
    file: File,
    sets: Set = None,
    parts: Parts = None,
    out: Out = None,
    port: Port = 5000,
    debug: Debug = False,
) -> None:
    """Start MLflow's pages for a sweep, on this machine only.  Ctrl-C ends them."""
    with errors(debug):
        from engine.tracking.tracker import address_of, lack, serve

        sweep = load(file, sets, out)
        address = address_of(sweep, open_store(sweep))
        if address is None:
            raise Refused(
                f"{file} says tracking: none, so there is nothing to show", ExitCode.BAD_INPUT
            )
        open_output(sweep, words(file, sets, out))
        if problem := lack(address):
            raise Refused(problem, ExitCode.ENVIRONMENT)
        pages = serve(address, sweep.name, port)
        if not pages.recorded:
            raise Refused(f"nothing is recorded yet; `ouro run {file}` does", ExitCode.BAD_INPUT)
        if not pages.command:
            console().print(line(f"this sweep is tracked at {pages.url()}: open it there"))
            return
        if _answers(port):
            raise Refused(f"port {port} is taken; choose another with --port", ExitCode.ENVIRONMENT)
        _serve(pages, port)


def _serve(pages: Pages, port: int) -> None:
    """Run the server until Ctrl-C or SIGTERM, which end it with its workers; what it says goes to a
    temporary file.
    """
    with tempfile.TemporaryFile() as log, tempfile.TemporaryDirectory() as private:
        settings = {**os.environ, **pages.environment(Path(private))}
        server = subprocess.Popen(
            pages.command, env=settings, stdout=log, stderr=log, start_new_session=True
        )

        def end(number: int = 0, frame: FrameType | None = None) -> None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, end)
        try:
            _announce(server, pages, port)
        except BaseException:  # it would go on without us
            end()
            server.wait()
            raise
        if server.wait() not in (0, -signal.SIGTERM, -signal.SIGINT):
            log.seek(0)
            said = log.read()[-2000:].decode(errors="replace")
            raise Refused(f"{pages.name} ended: {said}", ExitCode.ENVIRONMENT)


def _announce(server: subprocess.Popen[bytes], pages: Pages, port: int) -> None:
    """Say where it is, once it answers."""
    terminal = console()
    terminal.print(f"starting {pages.name}, which takes about 20 s; Ctrl-C ends it")
    while server.poll() is None:
        if _answers(port):
            terminal.print(line("open ") + line(pages.url(), "bold cyan"), soft_wrap=True)
            return
        time.sleep(0.2)


def _answers(port: int) -> bool:
    """Whether somebody listens on this port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
