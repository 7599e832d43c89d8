"""MLflow's server on Postgres, for real: two commands record into it at once, and it has exactly
the rows of their stores.

Needs Postgres's programs (on PATH, or where Debian puts them); starts a database of its own on
loopback and throws it away.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from engine.experiment.sources import load
from tests.support.mirrored import check_mirror, free_port, server
from tests.support.ouro import start

psycopg2 = pytest.importorskip("psycopg2")
pytestmark = [pytest.mark.faults, pytest.mark.filterwarnings("ignore::DeprecationWarning")]
TEXT = """
base: {{dataset: {{name: gaussian, d: 2, replicates: 3}}, generator: gaussian, n_real: 20}}
grid: {{policy: [{policy}], policy.synthetic_fraction: [0.25, 0.75]}}
seeds: 2
generations: 5
metrics: [moments]
"""


def programs() -> Path:
    found = shutil.which("initdb")
    folders = (
        [Path(found).parent]
        if found
        else sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    )
    if not folders:
        pytest.skip("Postgres is not installed here")
    return folders[0]


def unprivileged() -> list[str]:
    """Postgres refuses to run as root: then as nobody."""
    if os.geteuid():
        return []
    nobody = pwd.getpwnam("nobody")
    return ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]


@contextmanager
def postgres() -> Iterator[str]:
    """A database server of our own; its URI."""
    as_user, bin_folder, port = unprivileged(), programs(), free_port()
    with tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as name:
        if as_user:
            shutil.chown(name, "nobody")
        cluster = [
            *as_user,
            str(bin_folder / "initdb"),
            "-D",
            f"{name}/data",
            "-U",
            "ouroboros",
            "--auth=trust",
            "--no-sync",
        ]
        subprocess.run(cluster, check=True, capture_output=True, cwd=name)
        options = [
            "-p",
            str(port),
            "-k",
            name,
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "fsync=off",
        ]
        command = [*as_user, str(bin_folder / "postgres"), "-D", f"{name}/data", *options]
        process = subprocess.Popen(
            command, cwd=name, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            yield listening(f"postgresql://ouroboros@127.0.0.1:{port}/postgres", process)
        finally:
            process.send_signal(signal.SIGQUIT)  # at once: nothing in it is kept
            process.wait()


def listening(uri: str, process: subprocess.Popen[bytes]) -> str:
    until = time.monotonic() + 60
    while True:
        try:
            psycopg2.connect(uri).close()
            return uri
        except psycopg2.OperationalError:
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.1)


def test_two_commands_record_into_a_server_on_postgres(tmp_path: Path) -> None:
    with (
        postgres() as database,
        server(
            tmp_path, free_port(), database.replace("postgresql:", "postgresql+psycopg2:")
        ) as uri,
    ):
        running = []
        for policy in ("replace", "accumulate"):
            (folder := tmp_path / policy).mkdir()
            (folder / f"{policy}.yaml").write_text(
                TEXT.format(policy=policy) + f"tracking: {uri}\n"
            )
            running.append(start("run", f"{policy}.yaml", "--local", cwd=folder))
        for process in running:
            out, err = process.communicate(timeout=240)
            assert process.returncode == 0 and "MLflow is behind" not in out, out + err
        for policy in ("replace", "accumulate"):
            sweep = load(tmp_path / policy / f"{policy}.yaml")
            check_mirror(replace(sweep, out=str(tmp_path / policy / sweep.out)))
