"""Processes of a sweep on Ray are killed or stopped: it ends with the bits of an undisturbed run,
or says why not.

And nothing is left: no process, no scratch folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from engine.running import restart as restarts
from engine.running.restart import NAME, TRIES, Restarts
from engine.status import Status
from engine.store.rows import DrawRow
from engine.store.store import Store
from tests.support.houses import (
    LINEAGES,
    SLOWEST,
    assert_nothing_is_left,
    assert_same,
    begun,
    below,
    built,
    commits,
    ended_as,
    eventually,
    impatient,
    kill,
    run_alone,
    stopped,
    undisturbed,
    wait_for,
)
from tests.support.ouro import environment, ouro
from tests.support.sweeps import files

pytestmark = pytest.mark.timeout(900)
RAYLET, CONTROL = "raylet", "gcs_server"
FIVE_MOMENTS = '''
"""A normal model whose process dies at one moment of a generation, once: a test's own part."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Literal

from engine.generators.gaussian import Gaussian
from engine.store.store import Store
from engine.running.worker import Work

asked, commit, step = "", Store.commit, Work.step


def die(moment):
    mark = Path(os.environ["STUMBLED"]) / moment
    if asked == moment and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def dying_commit(store, rows):
    rows = list(rows)
    if rows[-1].t == 1:
        commit(store, rows[:1])
        die("committing")
    commit(store, rows)


def dying_step(work):
    report = step(work)
    if report["generation"] == 1:
        die("between")
    return report


Store.commit, Work.step = dying_commit, dying_step


class Dying(Gaussian):
    ACCEPTS = ("points",)
    COST = "small"
    TINY = {"when": "never"}

    def __init__(
        self, *, when: Literal["never", "first", "sampling", "committing", "between"]
    ) -> None:
        super().__init__(divisor="n")
        self.when = when

    def fit(self, data, rng):
        global asked
        asked = self.when
        if data.born.max() == -1:
            die("first")
        return super().fit(data, rng)

    def sample(self, n, rng, labels=None, bias=None):
        super().sample(1, rng)
        die("sampling")
        return super().sample(n, rng, labels, bias)
'''

HALF_TRAINED = '''
"""A flow whose process dies when its state was kept for the first time, once: a test's own part."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from engine.generators.flow import Flow
from engine.training.resume import Place

write = Place.write


def write_and_die(place, name, data):
    write(place, name, data)
    mark = Path(os.environ["STUMBLED"]) / "training"
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)


Place.write = write_and_die


class HalfTrained(Flow):
    ACCEPTS = ("points",)
    CONTINUES = False
    COST = "small"
    TINY = {}

    def __init__(self) -> None:
        super().__init__(steps=6, transforms=2, width=8, bins=3)
'''

DYING = """
base:
  dataset: {name: gaussian, replicates: 2}
  n_real: 30
grid:
  generator: [half_trained, {name: dying, when: first}, {name: dying, when: sampling},
              {name: dying, when: committing}, {name: dying, when: between}]
generations: 2
metrics: [moments]
tracking: none
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with impatient(tmp_path_factory.mktemp("house")) as root:
        (root / "engine" / "generators" / "dying.py").write_text(FIVE_MOMENTS)
        (root / "engine" / "generators" / "half_trained.py").write_text(HALF_TRAINED)
        (root / "dying.yaml").write_text(DYING)
        yield root


@pytest.fixture(scope="module")
def whole(house: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return undisturbed(house, tmp_path_factory.mktemp("whole") / "out")


# ---- actors die ----------------------------------------------------------------------------------


@pytest.mark.faults
def test_actors_die_before_in_and_between_generations(house: Path, tmp_path: Path) -> None:
    """One lineage each: before its first row, in training, in sampling, in a commit, after one; a
    half-trained one goes on.
    """
    ran = ouro(
        "run", "dying.yaml", "--out", str(tmp_path / "out"), "--cpus", "2", cwd=house, source=house
    )
    assert ran.returncode == 0 and not ran.stderr, ran.stdout + ran.stderr
    assert all(
        (house / moment).exists()
        for moment in ("first", "training", "sampling", "committing", "between")
    )
    resumed = [
        row.speed.get("resumed_at_step")
        for row in Store(str(tmp_path / "out")).rows()
        if row.kind == "model"
    ]
    assert resumed.count(1.0) == 1, "nobody went on from a half-trained state"
    assert_nothing_is_left(house, seconds=0)
    assert run_alone(house, "dying.yaml", tmp_path / "whole").returncode == 0
    assert_same(tmp_path / "out", tmp_path / "whole")
    assert files(tmp_path / "out") == files(tmp_path / "whole")


# ---- Ray dies ------------------------------------------------------------------------------------


@pytest.mark.faults
def test_a_dead_ray_is_started_again(
    house: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its local daemon first, then the control store of the next; Ray hangs the driver in a call to
    that one, and would by itself end it without a word.
    """
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "1")
    out, process = tmp_path / "out", begun(tmp_path / "out", house)
    kill(below(process, RAYLET))
    wait_for_rows_by_another_ray(process, out)
    kill(below(process, CONTROL))
    rc, stdout, stderr = ended_as(process)
    assert rc == 0 and not stderr, stdout + stderr
    assert "(raylet) has died); starting it again (1 of 3" in stdout
    assert "(gcs_server) has died); starting it again (1 of 3" in stdout, (
        "there was progress in between"
    )
    assert_nothing_is_left(house, seconds=0)
    assert_same(out, whole)


def wait_for_rows_by_another_ray(process: subprocess.Popen[str], out: Path) -> None:
    before = {each.pid for each in below(process, RAYLET)}
    assert eventually(
        lambda: any(each.pid not in before for each in below(process, RAYLET)), SLOWEST
    )
    assert eventually(lambda: below(process, LINEAGES), SLOWEST)
    wait_for(out, commits(out) + 2, process)


@pytest.mark.faults
def test_a_ray_that_dies_again_and_again_is_given_up(
    house: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if it had been started three times already without a row, with many rows there."""
    monkeypatch.setenv(NAME, f"{TRIES} 1000000")
    process = begun(tmp_path / "out", house)
    kill(below(process, RAYLET))
    rc, stdout, stderr = ended_as(process)
    assert (
        rc == 4
        and "(raylet) has died; the state is saved" in stdout
        and "starting it" not in stdout
        and not stderr
    )
    assert_nothing_is_left(house, seconds=0)
    assert run_alone(house, "slow.yaml", tmp_path / "out").returncode == 0


class Shown:
    """A screen that remembers."""

    def __init__(self) -> None:
        self.said = list[str]()

    def warn(self, text: str) -> None:
        self.said.append(text)

    def __exit__(self, *_: object) -> None:
        self.said.append("closed")


def test_a_new_row_is_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, "0 -1")
    store, shown, started = Store(str(tmp_path)), Shown(), list[str]()
    monkeypatch.setattr(os, "execv", lambda path, words: started.append(os.environ[NAME]))
    again = Restarts(("ouro", "run"), store)

    def dies() -> list[str]:
        again.begin("a cause", shown)
        return started

    assert dies() == ["1 0"] and shown.said == [
        "closed",
        "Ray died (a cause); starting it again (1 of 3 without progress)",
    ]
    assert dies()[1:] == ["2 0"] and dies()[2:] == ["3 0"]
    assert len(dies()) == 3 and len(shown.said) == 6, "a fourth time without a row"
    about = {"key": "d", "t": 0, "status": Status.OK, "reason": "", "seconds": 0.0, "machine": {}}
    store.commit([DrawRow(model="m", n=1, report={}, metrics={}, **about)])  # type: ignore[arg-type]
    assert dies()[3:] == ["1 1"]
    Restarts((), store).begin("a cause", shown)
    assert len(started) == 4, "a process that is not ours was replaced"
    os.close(again.terminal)


def test_the_next_process_has_this_ones_command(tmp_path: Path) -> None:
    (tmp_path / "engine").symlink_to(Path(restarts.__file__).parent)
    program = (
        "import os, sys; from engine.running.restart import own_command\n"
        "print(sys.argv[1:], flush=True)\n"
        "if 'AGAIN' not in os.environ: os.environ['AGAIN'] = '1'; os.execv(own_command()[0], "
        "own_command())"
    )
    words = [sys.executable, "-c", program, "run", "a file.yaml", "--set", "x=[1, 2]"]
    told = subprocess.run(
        words, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True
    ).stdout
    assert told.splitlines() == ["['run', 'a file.yaml', '--set', 'x=[1, 2]']"] * 2


# ---- who can reach it, and somebody is stopped for a while ---------------------------------------


def listening(process: subprocess.Popen[str]) -> list[str]:
    """The addresses at which a process and all below it can be reached."""
    driver = psutil.Process(process.pid)
    sockets = [
        found
        for each in [driver, *driver.children(recursive=True)]
        for found in each.net_connections()
    ]
    return [
        found.laddr.ip.removeprefix("::ffff:")
        for found in sockets
        if found.status == psutil.CONN_LISTEN
    ]


def token_of(process: subprocess.Popen[str]) -> str:
    """The one token that all below a driver know; Ray's dashboard has no pages there."""
    tree = psutil.Process(process.pid).children(recursive=True)
    for words in (each.cmdline() for each in tree if "dashboard.py" in " ".join(each.cmdline())):
        assert "--disable-frontend" in words and "--modules-to-load=UsageStatsHead" in words
    (token,) = {each.environ().get("RAY_AUTH_TOKEN", "") for each in tree} - {""}
    return token


@pytest.mark.faults
def test_processes_that_are_stopped_for_a_while(house: Path, whole: Path, tmp_path: Path) -> None:
    """An actor and the driver go on where they were; a daemon of Ray that stays silent is as good
    as dead.  Before that, a Ray of our own listens on loopback only, to whoever has its token,
    which is written nowhere.
    """
    out, process = tmp_path / "out", begun(tmp_path / "out", house, rows=2)
    heard, token = listening(process), token_of(process)
    assert len(heard) > 5 and {*heard} == {"127.0.0.1"}
    for asleep in (below(process, LINEAGES)[:1], [psutil.Process(process.pid)]):
        with stopped(*asleep):
            time.sleep(5)
    with stopped(*below(process, CONTROL)):
        wait_for_rows_by_another_ray(process, out)
    rc, stdout, stderr = ended_as(process)
    assert rc == 0 and stdout.count("starting it again") == 1 and not stderr, stdout + stderr
    assert "(gcs_server) has been stopped for 3 s" in stdout
    written = [file for file in out.rglob("*") if file.is_file()]
    assert len(token) == 64 and token not in stdout
    assert not [file for file in written if token.encode() in file.read_bytes()]
    assert_nothing_is_left(house, seconds=0)
    assert_same(out, whole)


@pytest.mark.soak
@pytest.mark.parametrize("name", [RAYLET, CONTROL, LINEAGES, ""])
def test_a_minute_of_sleep(name: str, tmp_path: Path) -> None:
    """With the constants as they are."""
    (tmp_path / "house").mkdir()
    with built(tmp_path / "house") as house:
        out, process = (
            tmp_path / "out",
            begun(tmp_path / "out", house, "--set", "generations=40", rows=2),
        )
        with stopped(*(below(process, name) if name else [psutil.Process(process.pid)])):
            time.sleep(70)
        rc, stdout, stderr = ended_as(process)
        assert rc == 0 and not stderr, stdout + stderr
        assert ("starting it again" in stdout) == (name in (RAYLET, CONTROL))
        assert_nothing_is_left(house, seconds=0)
        (house / "slow.yaml").write_text(
            (house / "slow.yaml").read_text().replace("generations: 4", "generations: 40")
        )
        assert run_alone(house, "slow.yaml", tmp_path / "whole").returncode == 0
        assert_same(out, tmp_path / "whole")
