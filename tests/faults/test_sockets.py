"""Who can reach what `ouro` starts: every socket of its whole process tree, while it works."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.support.commands import GAUSSIANS
from tests.support.mirrored import free_port
from tests.support.ouro import environment

pytestmark = pytest.mark.faults
SECONDS = 120.0  # for MLflow's pages, or Ray, to stand
SEARCH = "threshold: {width: 0.05, budget: 60}\n"


def listening(root: psutil.Process) -> dict[tuple[str, int], str]:
    """(address, port) -> process, of this process and of all below it."""
    found: dict[tuple[str, int], str] = {}
    for each in [root, *root.children(recursive=True)]:
        try:
            for line in each.net_connections():
                if line.status == psutil.CONN_LISTEN or (line.laddr and not line.raddr):
                    ip = line.laddr.ip.removeprefix("::ffff:")
                    found[ip, line.laddr.port] = each.name()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def heard(process: subprocess.Popen[bytes], least: int) -> dict[tuple[str, int], str]:
    """All sockets that were seen until there are so many, and a while longer."""
    root, seen = psutil.Process(process.pid), dict[tuple[str, int], str]()
    until = time.monotonic() + SECONDS
    while len(seen) < least and process.poll() is None and time.monotonic() < until:
        seen |= listening(root)
        time.sleep(0.1)
    assert len(seen) >= least, (seen, process.poll())
    return seen | listening(root)


@pytest.mark.parametrize("command", ["threshold", "ui"])
def test_everything_listens_on_loopback_only(command: str, tmp_path: Path) -> None:
    text = GAUSSIANS.replace("tracking: none\n", SEARCH)
    (tmp_path / "e.yaml").write_text(text.replace("generations: 2", "generations: 30"))
    ouro = [sys.executable, "-m", "engine.cli"]
    if command == "ui":
        small = [*ouro, "run", "e.yaml", "--local", "--set", "generations=1"]
        subprocess.run(small, cwd=tmp_path, env=environment(), check=True, capture_output=True)
    words = [*ouro, command, "e.yaml", *(("--port", str(free_port())) if command == "ui" else ())]
    with subprocess.Popen(words, cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL) as one:
        try:
            found = heard(one, 1 if command == "ui" else 6)
        finally:
            one.terminate()
    assert {ip for ip, _ in found} == {"127.0.0.1"}, found


# ---- a program of somebody's ---------------------------------------------------------------------

COMMAND = """
base:
  dataset: {{name: gaussian, d: 2, replicates: 1}}
  generator:
    name: command
    fit: python -S model.py fit {{data}} {{model}}/rows
    sample: python -S model.py sample {{model}}/rows {{out}} {{n}} {{seed}}
    files: [{file}]
    format: jsonl
  n_real: 10
grid: {{policy: [replace]}}
seeds: 1
generations: 0
metrics: [moments]
tracking: none
"""
MODEL = """
import os, shutil, socket, sys, time
stage, there, here = sys.argv[1:4]
heard = socket.create_server(("127.0.0.1", 0)) if {listens} else None
open({place!r} + "/" + stage, "w").close()
while not os.path.exists({place!r} + "/" + stage + ".go"):
    time.sleep(0.01)
shutil.copy(there, here)
"""


@pytest.mark.parametrize("listens", [False, True], ids=["quiet", "one that listens is seen"])
def test_a_program_is_run_without_a_socket(listens: bool, tmp_path: Path) -> None:
    """While it fits and while it draws: neither the run, nor the supervisor, nor the program."""
    (tmp_path / "model.py").write_text(MODEL.format(place=str(tmp_path), listens=listens))
    (tmp_path / "e.yaml").write_text(COMMAND.format(file=tmp_path / "model.py"))
    words = [sys.executable, "-m", "engine.cli", "run", "e.yaml", "--local", "--allow-commands"]
    with subprocess.Popen(words, cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL) as one:
        root, until = psutil.Process(one.pid), time.monotonic() + SECONDS
        for stage in ("fit", "sample"):
            while not (tmp_path / stage).exists() and one.poll() is None:
                assert time.monotonic() < until
                time.sleep(0.02)
            names = [" ".join(each.cmdline()) for each in root.children(recursive=True)]
            found = listening(root)
            (tmp_path / f"{stage}.go").touch()
            assert any("_supervisor.py" in name for name in names), names
            assert {ip for ip, _ in found} == ({"127.0.0.1"} if listens else set()), (stage, found)
    assert one.returncode == 0
