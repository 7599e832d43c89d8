"""A lineage that kills the process it runs in (`--local`): the next run says what happened, loses
nothing, and does not die of it for ever.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.experiment.sources import load
from engine.running._at_work import DEATHS, KILLED, NAME, AtWork, place_in
from engine.running.failure import failure_of
from engine.running.logs import LOGS, Folder
from engine.store.store import Store
from tests.support import own
from tests.support.commands import GAUSSIANS, ouro
from tests.support.zygote import Ended, Zygote

EXPERIMENT = """
base: {dataset: {name: ring, replicates: 2}, n_real: 20, policy: replace}
grid: {generator: [{name: kde, bandwidth: 0.3}, jitter, gaussian]}
seeds: 1
generations: 2
metrics: [spread]
tracking: none
"""
FATAL = {
    "fault": "import ctypes; ctypes.string_at(0)",
    "kill": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
}
DIED = {"fault": -signal.SIGSEGV, "kill": -signal.SIGKILL}
HOW = {"fault": "segmentation fault (", "kill": KILLED}


@pytest.fixture(scope="module")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    with Zygote(tmp_path_factory.mktemp("zygote")) as zygote:
        yield zygote


@pytest.mark.faults
@pytest.mark.parametrize("how", FATAL)
def test_a_run_that_was_killed_by_a_lineage_is_named_and_the_third_fault_recorded(
    how: str, zygote: Zygote, tmp_path: Path
) -> None:
    """The lineage before it has an outcome from the first run on, the one behind it at the end; who
    is killed from outside has failed at nothing.
    """
    mortal = own.JITTER.replace("        self.x_ = data.x\n", f"        {FATAL[how]}\n")
    parts, file = own.folder(tmp_path / "parts", jitter=mortal), tmp_path / "e.yaml"
    file.write_text(EXPERIMENT)
    out = tmp_path / "out"
    words = (str(file), "--parts", str(parts), "--out", str(out))

    def run() -> Ended:
        return zygote.ouro("run", *words, "--local", settings={"COLUMNS": "400"})

    def statuses() -> dict[str, str]:
        said = json.loads(zygote.ouro("status", *words, "--json").text)
        return {each["label"]: each["status"] for each in said["lineages"].values()}

    for times in range(DEATHS):
        ended = run()
        assert ended.code == DIED[how] and (out / LOGS / NAME).exists(), ended
        said = "the run before this one died at jitter, seed 0, generation 0: "
        assert (said + HOW[how] in ended.text) == (times > 0), ended.text
        assert statuses() == {"kde": "ok", "jitter": "unfinished", "gaussian": "unfinished"}
    ended = run()
    if how == "kill":
        assert ended.code == DIED[how] and statuses()["jitter"] == "unfinished"
        return
    assert ended.code == 1 and not (out / LOGS / NAME).exists(), ended.text
    assert f"its process died {DEATHS} times at this generation ({HOW[how]}" in ended.text
    assert "jitter.py:" in ended.text
    assert statuses() == {"kde": "ok", "jitter": "failed", "gaussian": "ok"}


def test_a_lineage_that_kills_a_third_time_is_recorded_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the note that its last process has left: nothing dies here."""
    monkeypatch.chdir(tmp_path)
    Path("sweep.yaml").write_text(GAUSSIANS)
    first, second = [spec.id for spec in load("sweep.yaml").lineages]
    place = tmp_path / "runs" / "sweep" / LOGS / NAME
    place.parent.mkdir(parents=True)
    note = {"lineage": first, "place": "0 0", "times": DEATHS - 1}
    place.write_text(f"{json.dumps(note)}\nFatal Python error: Aborted\n")
    ran = ouro("run", "sweep.yaml", "--local")
    out = " ".join(ran.out.split())
    said = "the run before this one died at replace 1, seed 0, generation 0: aborted"
    assert ran.code == 1 and said in out and "ProcessDied: its process died 3 times" in out, out
    ended = ouro("status", "sweep.yaml", "--json").json["lineages"]
    assert {key: ended[key]["status"] for key in ended} == {first: "failed", second: "ok"}
    again = ouro("run", "sweep.yaml", "--local")  # as after any failure, it is tried again
    assert again.code == 0 and "died" not in again.out and not place.exists()


# ---- the note ------------------------------------------------------------------------------------

DUMP = """Fatal Python error: Aborted

Thread 0x00007f7d616ff6c0 (most recent call first):
  File "/engine/running/signals.py", line 148 in _next_signal

Current thread 0x00007f7d699e3b80 (most recent call first):
  File "/lib/python3.11/ctypes/__init__.py", line 519 in string_at
  File "/mine/generators/jit\x1bter.py", line 27 in fit
  File "/engine/lineage/loop.py", line 170 in _model_row

Extension modules: numpy
"""


def at_work(store: Store) -> AtWork:
    return AtWork(Folder.at(store.path(LOGS), store), store)


def left(store: Store, place: str = "0 0", times: int = 0, words: str = "") -> AtWork:
    """What is found after a death."""
    note = {"lineage": "abc", "place": place, "times": times}
    Path(store.root, LOGS).mkdir(parents=True, exist_ok=True)
    Path(store.root, LOGS, NAME).write_text(json.dumps(note) + "\n" + words)
    return at_work(store)


def test_the_thread_that_died_is_named_by_the_line_of_the_part(tmp_path: Path) -> None:
    died = left(Store(str(tmp_path)), words=DUMP).died
    assert died is not None and died.how == r"aborted (/mine/generators/jit\x1bter.py:27)"
    failure = died.failure(3, 2)
    assert (failure.kind, failure.line, failure.t) == ("bug", 27, 2)
    died = left(Store(str(tmp_path)), words="Fatal Python error: Aborted\n").died
    assert died is not None and died.how == "aborted"
    died = left(Store(str(tmp_path))).died
    assert died is not None and died.how == KILLED and not died.faulted


def test_deaths_are_counted_as_long_as_a_lineage_gets_no_further(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    for before, here, lineage, words, times in (
        ("", "0 0", "abc", DUMP, 1),
        ("0 0", "0 0", "abc", DUMP, 5),
        ("0 0", "1 0", "abc", DUMP, 1),
        ("0 0", "0 0", "another", DUMP, 0),
        ("0 0", "0 0", "abc", "", 0),
    ):
        found = left(store, before, 4, words)
        with found.noted(faults=False):
            assert found.begin(lineage, lambda here=here: here) == times
            again = at_work(store).died
            assert again is not None and (again.note.lineage, again.note.times) == (lineage, times)
        assert at_work(store).died is None, "a run that ends has not died"
    before = place_in(store, 2)
    store.write_partial("k-1", b"half a model")
    assert before == "2 0" != place_in(store, 2)


def test_an_end_that_was_recorded_is_no_death(tmp_path: Path) -> None:
    """A watch that has given a generation up ends the process, too."""
    store = Store(str(tmp_path))
    store.fail("abc", failure_of(TimeoutError(), 1))
    assert left(store).died is None


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"lineage": 1}', '{"lineage": "../x", "place": "", "times": -1}'],
)
def test_a_note_of_another_shape_says_nothing(text: str, tmp_path: Path) -> None:
    (tmp_path / LOGS).mkdir()
    (tmp_path / LOGS / NAME).write_text(text)
    assert at_work(Store(str(tmp_path))).died is None


@pytest.mark.parametrize("what", ["link", "folder"])
def test_what_stands_in_its_place_is_neither_followed_nor_in_the_way(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sweep.yaml").write_text(GAUSSIANS)
    outside, place = tmp_path / "mine", tmp_path / "runs" / "sweep" / LOGS / NAME
    outside.write_text('{"lineage": "abc", "place": "", "times": 0}')
    place.parent.mkdir(parents=True)
    if what == "link":
        place.symlink_to(outside)
    else:
        place.mkdir()
    ran = ouro("run", "sweep.yaml", "--local")
    assert ran.code == 0 and "died" not in ran.out
    assert outside.read_text() == '{"lineage": "abc", "place": "", "times": 0}'
    assert not place.exists() and ouro("verify", "sweep.yaml").code == 0
