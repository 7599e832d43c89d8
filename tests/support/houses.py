"""A copy of the engine with parts that stumble, for sweeps on a real Ray in processes of their own,
and what is asked of them.

A part is added by writing one file; a constant of the copy is another by a line more at the end of
its file.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from engine.files import PREFIX
from engine.store.rows import ModelRow
from engine.store.store import Store
from tests.support.ouro import ROOT, ouro, start
from tests.support.sweeps import files

SLOWEST = 240  # seconds to wait for what takes ten on a quiet machine
LINEAGES = "ray::LineageActor"  # how their processes are called

STUMBLING = '''
"""A normal model that fails in its second generation, once: a test's own part."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Literal

from engine.generators.gaussian import Gaussian
from engine.parts import Finding, NonNegativeFloat


class Stumbling(Gaussian):
    ACCEPTS = ("points",)
    TINY = {"how": "no"}

    def __init__(
        self, *, how: Literal["no", "raise", "die", "diverge"], seconds: NonNegativeFloat = 0.0
    ) -> None:
        super().__init__(divisor="n")
        self.how, self.seconds = how, seconds

    def fit(self, data, rng):
        time.sleep(self.seconds * float(os.environ.get("PACE", "1")))
        if data.born.max() == 1:
            self.stumble()
        return super().fit(data, rng)

    def stumble(self):
        mark = Path(os.environ["STUMBLED"]) / self.how
        if self.how == "diverge":
            raise Finding("diverged", "as it was told to")
        if self.how in ("raise", "die") and not mark.exists():
            if self.how == "raise" and os.environ.get("REPAIRED"):
                return
            if self.how == "raise":
                raise ZeroDivisionError("as it was told to")
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
'''

SLOW = """
base:
  dataset: {name: gaussian, replicates: 5}
  generator: {name: stumbling, how: "no", seconds: 0.4}
  n_real: 30
grid:
  policy: [replace, accumulate]
  policy.synthetic_fraction: [0.5, 1.0]
seeds: 2
generations: 4
metrics: [moments]
tracking: none
"""


@contextlib.contextmanager
def built(root: Path, **constants: str) -> Iterator[Path]:
    """The copy, where slow.yaml runs, and long.yaml with a minute per generation; constants: lines
    to add, by module.
    """
    shutil.copytree(ROOT / "engine", root / "engine", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(
        ROOT / "analysis", root / "analysis", ignore=shutil.ignore_patterns("__pycache__")
    )
    (root / "engine" / "generators" / "stumbling.py").write_text(STUMBLING)
    (root / "slow.yaml").write_text(SLOW)
    (root / "long.yaml").write_text(SLOW.replace("seconds: 0.4", "seconds: 60"))
    for module, line in constants.items():
        with open(root / "engine" / f"{module}.py", "a") as source:
            source.write(f"\n{line}\n")
    with (
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryDirectory(prefix="o-", dir="/tmp") as own,
    ):
        patch.setenv("STUMBLED", str(root))
        patch.setenv("TMPDIR", own)  # paths of Ray's sockets are limited
        yield root


@contextlib.contextmanager
def impatient(root: Path) -> Iterator[Path]:
    """The copy that keeps half-trained states at once, and does not wait half a minute for who is
    stopped.
    """
    changed = {
        "training/resume": "EVERY_SECONDS = 0.0",
        "running/ray_health": "SILENT_SECONDS = 3.0",
    }
    with built(root, **changed) as house:
        yield house


def undisturbed(house: Path, out: Path) -> Path:
    """The output of the slow sweep, without a fault and not slow."""
    assert run_alone(house, "slow.yaml", out).returncode == 0
    return out


def run_alone(house: Path, file: str, out: Path) -> subprocess.CompletedProcess[str]:
    """The same without Ray, and without a fault."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PACE", "0")
        return ouro(
            "run",
            file,
            "--local",
            "--out",
            str(out),
            "--set",
            "tracking=none",
            cwd=house,
            source=house,
        )


def begun(out: Path, house: Path, *words: str, rows: int = 6) -> subprocess.Popen[str]:
    """A slow sweep that has committed a few generations."""
    process = start(
        "run", "slow.yaml", "--out", str(out), "--cpus", "2", *words, cwd=house, source=house
    )
    wait_for(out, rows, process)
    return process


def wait_for(out: Path, rows: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + SLOWEST
    while commits(out) < rows:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.1)


def commits(out: Path) -> int:
    """How often something was committed."""
    return len(list(out.glob("draws/*/row.json")) + list(out.glob("blocks/*.json")))


def ended_as(process: subprocess.Popen[str], seconds: float = SLOWEST) -> tuple[int, str, str]:
    stdout, stderr = process.communicate(timeout=seconds)
    return process.returncode, " ".join(stdout.split()), stderr


# ---- what holds after every fault ----------------------------------------------------------------


def committed(out: Path) -> dict[str, Any]:
    """What every committed model and draw is, without times and places."""
    found = {}
    for row in Store(str(out)).rows():
        told = row.counts if isinstance(row, ModelRow) else dict(row.metrics)
        found[f"{row.kind} {row.key}"] = (row.t, row.status, told)
    return found


def assert_same(out: Path, whole: Path) -> None:
    """Rows and samples to the bit; of generations committed together only the last one's samples
    are there to compare.
    """
    rows = committed(out)
    assert rows == committed(whole) and rows
    here, there = files(out), files(whole)
    both = here.keys() & there.keys()
    assert [name for name in both if here[name] != there[name]] == []
    lasts = [lineage.generations[-1].draw for lineage in Store(str(out)).lineages()]
    assert {
        f"draws/{draw}/samples.safetensors" for draw in lasts if f"draw {draw}" in rows
    } <= both and both
    assert Store(str(out)).verify()[1] == []


def assert_nothing_is_left(house: Path, seconds: float = 30) -> None:
    """No process of this house after so many seconds, and no scratch folder."""
    assert eventually(lambda: not alive(house), seconds), [
        process.cmdline()[:2] for process in alive(house)
    ]
    left = list(Path(os.environ["TMPDIR"]).glob(f"{PREFIX}*"))
    assert not left, left


def eventually(true: Any, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not (holds := bool(true())) and time.monotonic() < deadline:
        time.sleep(0.1)
    return holds


def alive(house: Path) -> list[psutil.Process]:
    """The processes that run this copy of the engine: ours, and Ray's."""
    every = psutil.process_iter(["environ", "status"])
    mine = [p for p in every if (p.info["environ"] or {}).get("PYTHONPATH") == str(house)]
    return [process for process in mine if process.info["status"] != psutil.STATUS_ZOMBIE]


def below(process: subprocess.Popen[str], name: str) -> list[psutil.Process]:
    """The processes below it whose name or command begins so."""
    found = []
    for each in psutil.Process(process.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if each.name() == name or " ".join(each.cmdline()).startswith(name):
                found.append(each)
    return found


@contextlib.contextmanager
def stopped(*processes: psutil.Process) -> Iterator[None]:
    """Inside, they are as if asleep."""
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.resume()


def states(house: Path, file: str = "sweep.yaml") -> dict[str, dict[str, Any]]:
    """Status, last generation and reason by `how, policy`."""
    found = json.loads(ouro("status", file, "--json", cwd=house, source=house).stdout)["lineages"]
    return {v["label"].replace("stumbling how=", ""): v for v in found.values()}


def kill(processes: list[psutil.Process]) -> None:
    assert processes, "there was nothing to kill"
    for process in processes:
        process.send_signal(signal.SIGKILL)
