"""A part of one's own that changes its process harms its own lineage only: what it changes is put
back after the call, and whatever it raises or leaves by ends that lineage alone.
"""

from __future__ import annotations

import locale
import logging
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer

from engine import registry
from engine._memory import set_threads
from engine.cli.options import leave
from engine.lineage.history import histories
from engine.outside.places import VARIABLE, use
from engine.running.job import Job
from engine.running.worker import run_local
from engine.seams.kept import LeftByExit, kept
from engine.store.store import Store
from tests.parts.test_bad_parts import Heard
from tests.support import own
from tests.support.sweeps import sweep_of

ROOT = Path(__file__).parents[2]
TEXT = """
base: {dataset: {name: ring, replicates: 2}, n_real: 12, generator: jitter}
grid: {policy: [replace, accumulate]}
generations: 2
metrics: [spread]
tracking: none
"""


def pending() -> bool:
    """Whether an alarm is set."""
    return signal.getitimer(signal.ITIMER_REAL)[0] > 0


def spoil() -> None:
    """All that a part may do to its process by mistake."""
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    torch.set_grad_enabled(False)
    torch.set_num_threads(3)
    torch.use_deterministic_algorithms(True)
    torch.set_printoptions(precision=1)
    torch.backends.cudnn.benchmark = True
    for seed in (torch.manual_seed, random.seed, np.random.seed):
        seed(7)  # type: ignore[operator]  # three signatures
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, lambda *_: None)
    if not pending():  # of pytest
        signal.alarm(3600)
    os.chdir("/")
    os.umask(0o077)
    os.environ["SPOILT"] = "1"
    os.environ.pop("HOME", None)
    warnings.simplefilter("error")
    np.seterr(all="raise")
    np.set_printoptions(precision=1)
    sys.setrecursionlimit(200_000)
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    socket.setdefaulttimeout(0.001)
    logging.disable(logging.CRITICAL)
    logging.getLogger().handlers.clear()
    locale.setlocale(locale.LC_ALL, "C")


def state() -> list[Any]:
    """What `spoil` changes, as it is now."""
    streams = torch.get_rng_state().sum().item(), random.getstate()
    return [
        *(torch.get_default_dtype(), str(torch.get_default_device()), torch.is_grad_enabled()),
        *(torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()),
        *(str(torch.tensor(1 / 3)), torch.backends.cudnn.benchmark, streams),
        np.random.get_state()[1].tobytes(),  # type: ignore[index,union-attr]  # noqa: NPY002
        *(signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT), pending()),
        *(os.getcwd(), os.umask(0o022), dict(os.environ), list(warnings.filters), np.geterr()),
        *(str(np.float64(1 / 3) * np.ones(1)), sys.getrecursionlimit(), sys.stdout),
        *(socket.getdefaulttimeout(), logging.root.manager.disable, logging.getLogger().handlers),
        locale.setlocale(locale.LC_ALL),
    ]


@pytest.fixture(autouse=True)
def _closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(VARIABLE, "")
    yield
    monkeypatch.undo()
    registry.refresh()


def test_whatever_is_set_inside_is_put_back_and_named() -> None:
    os.umask(0o022)
    before = state()
    with kept() as changed:
        spoil()
    assert state() == before
    assert {"os.environ", "handlers of signals", "torch's default type"} <= changed
    with kept() as changed:
        np.zeros(3)
    assert not changed


def test_torch_that_is_imported_inside_has_its_own_defaults() -> None:
    program = (
        "from engine.seams.kept import kept\n"
        "with kept():\n"
        "    import torch\n"
        "    torch.set_default_dtype(torch.float64); torch.set_grad_enabled(False)\n"
        "    torch.set_default_device('meta'); torch.manual_seed(1)\n"
        "print(torch.get_default_dtype(), torch.is_grad_enabled(), torch.ones(1).device,\n"
        "      torch.rand(1).item())\n"
        "torch.manual_seed(67280421310721); print(torch.rand(1).item())\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr
    said, fresh = ran.stdout.splitlines()
    assert said == f"torch.float32 True cpu {fresh}"


def test_a_fork_of_a_part_ends_with_the_call() -> None:
    child, here = 0, os.getpid()
    with kept():
        child = os.fork()
    assert os.getpid() == here
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_only_who_is_asked_is_kept_from_leaving() -> None:
    with kept(), pytest.raises(LeftByExit, match=r"called os\._exit\(3\); let it raise an error"):
        os._exit(3)
    assert os._exit.__module__ != "engine.seams.kept"


ENDINGS = {
    "os._exit": ("import os; os._exit(3)", "LeftByExit: a part called os._exit(3)"),
    "sys.exit": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "a base": ("raise type('Stop', (BaseException,), {})('now')", "Stop: now"),
    "Ctrl-C": ("raise KeyboardInterrupt('mine')", "KeyboardInterrupt: mine"),
    "a generator's": ("raise GeneratorExit('over')", "GeneratorExit: over"),
    "spoils": ("from tests.seams.test_kept import spoil; spoil(); raise ValueError(1)", "ValueErr"),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_lineage_that_ends_so_ends_alone(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    statement, said = ENDINGS[ending]
    fit = f"        if data.born.max() >= 0 and len(data) == 12:\n            {statement}\n"
    text = own.JITTER.replace("        self.x_ = data.x\n", f"{fit}        self.x_ = data.x\n", 1)
    use([own.folder(tmp_path / "parts", jitter=text)])
    registry.refresh()
    sweep = sweep_of(TEXT, tmp_path)
    Path(sweep.out).mkdir()
    set_threads(1)
    store, before = Store(sweep.out), state()
    listening = signal.signal(signal.SIGINT, lambda *_: None)  # as a session does
    try:
        run_local([Job.of(sweep, store, s, sweep.generations) for s in sweep.lineages], Heard())
    finally:
        signal.signal(signal.SIGINT, listening)
    first, second = histories(sweep, store).values()
    assert first.status == "failed" and first.reason.startswith(said), first.reason
    assert "jitter.py:" in first.reason and second.status == "ok", second.reason
    assert state() == before


def test_a_ctrl_c_of_the_user_stays_one(tmp_path: Path) -> None:
    text = own.JITTER.replace("return {}", "raise KeyboardInterrupt")
    use([own.folder(tmp_path / "parts", jitter=text)])
    registry.refresh()
    sweep = sweep_of(TEXT, tmp_path)
    Path(sweep.out).mkdir()
    store = Store(sweep.out)
    jobs = [Job.of(sweep, store, s, sweep.generations) for s in sweep.lineages]
    heard = [False]
    with pytest.raises(KeyboardInterrupt):  # nobody listens: Python's own handler raised it
        run_local(jobs, Heard())
    listening = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_local(jobs, Heard(), lambda: heard.pop() if heard else True)
    finally:
        signal.signal(signal.SIGINT, listening)
    assert all(h.status == "unfinished" for h in histories(sweep, store).values())


def test_threads_that_a_part_leaves_keep_no_command_from_ending() -> None:
    program = """
import sys, threading
threading.Thread(target=threading.Event().wait).start()
sys.argv = ["ouro", *sys.argv[1:]]
from engine.cli.main import main
main()
"""
    for words, code in ((["--version"], 0), (["status", "nowhere.yaml"], 2)):
        command = [sys.executable, "-c", program, *words]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert ended.returncode == code and (ended.stdout or ended.stderr), ended


def test_a_command_in_somebody_s_process_does_not_end_it() -> None:
    ended = threading.Event()
    thread = threading.Thread(target=ended.wait)
    thread.start()
    try:
        with pytest.raises(typer.Exit):
            leave(0)
    finally:
        ended.set()
        thread.join()
