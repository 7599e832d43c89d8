"""What can go wrong with MLflow in the middle of a sweep: each adds at most 5 s, and the same
command again fills every gap.

A sweep is recorded to half, the fault begins, the rest is recorded, the sweep ends; then the fault
is over and the sweep is run
again.  MLflow's own history of every metric is compared with the rows of the store.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from werkzeug.serving import BaseWSGIServer, make_server

from engine.lineage.history import histories
from engine.spec import Sweep
from engine.store.store import Store
from engine.tracking import mlflow_rows as mirror
from engine.tracking.recorder import Recorder
from tests.support import mirrored
from tests.support.mirrored import check_mirror
from tests.support.sweeps import run, sweep_of

empty_database = mirrored.empty_database  # fixture
pytestmark = pytest.mark.filterwarnings(
    "ignore"
)  # of MLflow's own libraries, whose server runs in this process
AT_MOST = 5.0 + 2.0  # seconds that MLflow's troubles may add to a sweep, and a busy machine to them
TEXT = """
base: {dataset: {name: gaussian, d: 2, replicates: 3}, generator: gaussian, n_real: 20}
grid: {policy.synthetic_fraction: [0.25, 0.75]}
seeds: 2
generations: 5
metrics: [moments]
"""


# ---- a server with faults ------------------------------------------------------------------------


class Faulty:
    """MLflow's own web application, whose answers come late, are errors, or get lost on the way."""

    def __init__(self, application: Any) -> None:
        self.application, self.fault = application, ""

    def __call__(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        if self.fault == "error 500":
            start("500 Internal Server Error", [])
            return [b"no"]
        if self.fault == "slow" or (
            self.fault == "slow at work" and environ["PATH_INFO"] != "/health"
        ):
            time.sleep(1.6)
        if self.fault == "silent" and environ["PATH_INFO"] != "/health":
            time.sleep(3.5)
        if self.fault == "garbage":
            start("200 OK", [("Content-Type", "application/json")])
            return [b"\x00{'no': json" * 10]
        if self.fault == "drips" or (
            self.fault == "drips at work" and environ["PATH_INFO"] != "/health"
        ):
            self.drip(environ["werkzeug.socket"])
            raise ConnectionAbortedError
        answer = self.application(environ, start)
        if self.fault == "answers lost" and environ["PATH_INFO"] != "/health":
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        return list(answer)

    def drip(self, line: socket.socket) -> None:
        """Begin an answer, byte by byte, that never ends."""
        with contextlib.suppress(OSError):
            while "drips" in self.fault:
                for byte in b"HTTP/1.1 200 OK\r\nX-A: b\r\n":
                    line.sendall(bytes([byte]))
                    time.sleep(0.02)


class Server:
    """In a thread of this process: it starts in milliseconds, and it can be killed and come back at
    its port.
    """

    def __init__(self, application: Faulty) -> None:
        self.application, self.port = application, 0
        self.server: BaseWSGIServer | None = None
        self.start()

    def start(self) -> None:
        self.server = make_server("127.0.0.1", self.port, self.application, threaded=True)
        self.port = self.server.port
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def set(self, fault: str) -> None:
        self.application.fault = fault

    def stop(self) -> None:
        if self.server:
            self.server.shutdown()
            self.server.server_close()
        self.server = None


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[Faulty]:
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(empty_database, folder / "mlflow.db")
    from mlflow.server import app, constants

    uri, artifacts = mirror.local(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(constants.BACKEND_STORE_URI_ENV_VAR, uri)
        patch.setenv(constants.ARTIFACT_ROOT_ENV_VAR, "mlflow-artifacts:/")
        patch.setenv(constants.ARTIFACTS_DESTINATION_ENV_VAR, artifacts)
        patch.setenv(constants.SERVE_ARTIFACTS_ENV_VAR, "true")
        yield Faulty(app)


@pytest.fixture
def server(application: Faulty) -> Iterator[Server]:
    application.fault = ""
    server = Server(application)
    yield server
    server.stop()


# ---- a sweep with a fault in its middle ----------------------------------------------------------


def settle(recorder: Recorder, seconds: float = 10.0) -> None:
    """Waits until the recorder's thread has nothing to do."""
    until = time.monotonic() + seconds
    while (
        (recorder.dirty or not hasattr(recorder.tracker, "uri"))
        and time.monotonic() < until
        and recorder.thread.is_alive()
    ):
        threading.Event().wait(0.02)


def recorded(
    sweep: Sweep, fault: Callable[[], Any] = int, back: Callable[[], Any] = int
) -> tuple[Recorder, float]:
    """Runs what is missing, with the fault from the middle on, and until before the end if there is
    a way back.

    Returns the recorder, and the seconds that it held up the sweep's end: all that MLflow ever
    costs a sweep.
    """
    store = Store(sweep.out)
    recorder = Recorder(sweep, store)
    recorder.start()
    settle(recorder)
    for i, lineage in enumerate(run(sweep, store)):
        if i == len(sweep.lineages) // 2:
            settle(recorder)
            fault()
        recorder.changed(lineage.spec.id)
    settle(recorder, 2.0)
    back()
    started = time.monotonic()
    recorder.finish(histories(sweep, store), "FINISHED", {"lineages/ok": 4.0}, [])
    return recorder, time.monotonic() - started


def sweep_at(uri: str | None, folder: Path) -> Sweep:
    """Its own experiment, because the tests share one server; None: the default, a file beside the
    store.
    """
    return replace(sweep_of(TEXT, folder), name=folder.name, tracking=uri)


def check_fault(sweep: Sweep, begin: Callable[[], Any], end: Callable[[], Any]) -> None:
    recorder, seconds = recorded(sweep, begin)
    assert recorder.trouble
    end()
    again, healthy = recorded(sweep)
    assert not again.trouble
    assert seconds - healthy < AT_MOST, (
        f"the sweep waited {seconds:.1f} s for MLflow, {healthy:.1f} s without the fault"
    )
    check_mirror(sweep)


FAULTS = ["error 500", "answers lost", "slow", "slow at work", "silent", "garbage", "drips"]

# ---- the matrix ----------------------------------------------------------------------------------


@pytest.mark.faults
@pytest.mark.parametrize("fault", [*FAULTS, "drips at work"])
def test_a_server_at_fault(server: Server, fault: str, tmp_path: Path) -> None:
    sweep = sweep_at(server.uri, tmp_path)
    check_fault(sweep, lambda: server.set(fault), lambda: server.set(""))


@pytest.mark.faults
def test_a_server_killed_in_the_middle(server: Server, tmp_path: Path) -> None:
    check_fault(sweep_at(server.uri, tmp_path), server.stop, server.start)


@pytest.mark.faults
def test_a_server_killed_and_back_before_the_end(server: Server, tmp_path: Path) -> None:
    """The run itself fills the gap at its end."""
    sweep = sweep_at(server.uri, tmp_path)
    recorder, _ = recorded(sweep, server.stop, server.start)
    assert not recorder.trouble
    check_mirror(sweep)


@pytest.mark.faults
def test_a_server_that_is_not_there_at_first(server: Server, tmp_path: Path) -> None:
    sweep = sweep_at(server.uri, tmp_path)
    server.stop()
    check_fault(sweep, int, server.start)


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Another process holds the file."""
    program = (
        "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('BEGIN EXCLUSIVE'); "
        "print(flush=True); sys.stdin.read()"
    )
    words = [sys.executable, "-c", program, str(file)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout and other.stdout.readline()
        yield


@contextmanager
def unwritable(file: Path) -> Iterator[None]:
    """Mode 0444; root may write all the same, so there sqlite finds no place for its journal, as in
    a read-only folder.
    """
    journal = Path(f"{file}-journal")
    file.chmod(0o444)
    while os.geteuid() == 0 and not journal.is_dir():
        with suppress(FileExistsError):  # that of a transaction, which ends
            journal.mkdir()
    yield
    file.chmod(0o644)
    if os.geteuid() == 0:
        journal.rmdir()


@pytest.mark.parametrize("fault", [locked, pytest.param(unwritable, marks=pytest.mark.faults)])
def test_a_file_at_fault(
    fault: Any, tmp_path: Path, empty_database: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = beside(tmp_path, empty_database)
    with contextlib.ExitStack() as stack:
        check_fault(sweep_at(None, tmp_path), lambda: stack.enter_context(fault(file)), stack.close)
    assert "Traceback" not in "".join(capfd.readouterr())  # MLflow's own logger would print one


def beside(folder: Path, empty_database: Path) -> Path:
    """The default database of a sweep in this folder, its tables made."""
    (folder / "out").mkdir()
    return Path(shutil.copy(empty_database, folder / "out" / "mlflow.db"))


@pytest.mark.faults
def test_a_file_deleted_in_the_middle(tmp_path: Path, empty_database: Path) -> None:
    """The second command is a process of its own, as a user's is: MLflow keeps its files open."""
    file, sweep = beside(tmp_path, empty_database), sweep_at(None, tmp_path)
    recorder, seconds = recorded(sweep, file.unlink)
    assert seconds < AT_MOST and recorder.trouble
    with multiprocessing.get_context("spawn").Pool(1) as another:
        another.apply(record_again, [sweep])


def record_again(sweep: Sweep) -> None:
    assert not recorded(sweep)[0].trouble
    check_mirror(sweep)
