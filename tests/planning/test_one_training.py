"""Workers that lack an extractor: one trains it, the others wait and read it; a dead one blocks
nobody; a cache that cannot be shared is said.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from engine.contents import Contents
from engine.distances import extractors, features
from engine.files import exclusive
from engine.registry import make
from engine.samples import Samples
from tests.support.ouro import ROOT, environment

WORKER = """
import sys
import numpy as np
from engine._cache import Kept
from engine.distances import extractors, features
from engine.training import classifiers
from tests.planning.test_one_training import of_images

extractors.TRAINED["lenet"] = extractors.ClassifierTraining("lenet", "tiny", 8, 1, (2, 2))
fit, lock = classifiers.fit, Kept.alone

def counted(*args, **kwargs):
    with open(sys.argv[1], "a") as file:
        file.write("trained\\n")
    return fit(*args, **kwargs)

def after_all_lack_it(kept):  # every worker has looked for the weights, and found none
    print("lacks it", flush=True)
    sys.stdin.readline()
    return lock(kept)

classifiers.fit, Kept.alone = counted, after_all_lack_it
found = features.extract(of_images().training_set(), "lenet", of_images())
print(float(found.sum()), flush=True)
"""


def of_images() -> Any:
    """A small labelled data set of pictures."""
    x = np.random.default_rng(0).integers(0, 256, (24, 8, 8, 1)).astype(np.uint8)
    real = Samples(x, np.arange(24) % 3)
    return SimpleNamespace(GIVES="images", CLASSES=3, training_set=lambda: real)


def tiny(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setenv("OUROBOROS_CACHE", str(cache))
    training = extractors.ClassifierTraining("lenet", "tiny", 8, 1, (2, 2))
    monkeypatch.setitem(extractors.TRAINED, "lenet", training)


def start(count: Path, cache: Path) -> subprocess.Popen[str]:
    settings = {**environment(), "OUROBOROS_CACHE": str(cache)}
    command = [sys.executable, "-c", WORKER, str(count)]
    return subprocess.Popen(command, cwd=ROOT, env=settings, stdin=-1, stdout=-1, text=True)


@pytest.mark.slow
def test_of_two_processes_that_lack_an_extractor_one_trains_it(tmp_path: Path) -> None:
    workers = [start(tmp_path / "count", tmp_path / "cache") for _ in range(2)]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "lacks it\n"
    for worker in workers:  # all at once
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    answers = [worker.communicate(timeout=120)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    assert (tmp_path / "count").read_text() == "trained\n"
    assert answers[0] == answers[1] and np.isfinite(float(answers[0]))


def test_a_dead_holder_of_the_lock_blocks_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny(monkeypatch, tmp_path)
    lock = tmp_path / f"tiny-{features.digest(of_images())[:32]}.safetensors.lock"
    program = (
        "import sys; from pathlib import Path; from engine.files import exclusive\n"
        "with exclusive(Path(sys.argv[1])) as held:\n"
        "    print(held, flush=True); sys.stdin.readline()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(lock)], cwd=ROOT, env=environment(), stdin=-1, stdout=-1
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"True\n"
    with open(lock) as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert features.real_classifier(of_images()) is not None
    assert lock.with_suffix("").exists(), "it must have been trained and kept"


def test_a_cache_that_cannot_be_written_trains_for_itself_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    tiny(monkeypatch, tmp_path / "file" / "cache")
    with caplog.at_level(logging.WARNING):
        assert features.real_classifier(of_images()) is not None
    assert "cannot be shared" in caplog.text and "lenet is trained by this process" in caplog.text
    assert "no cache" in caplog.text and "OUROBOROS_CACHE" in caplog.text


def test_a_file_system_without_locks_trains_for_itself_and_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    tiny(monkeypatch, tmp_path)
    monkeypatch.setattr(fcntl, "flock", none)
    with caplog.at_level(logging.WARNING):
        features.real_classifier(of_images())
    assert "lenet is trained by this process for itself" in caplog.text
    assert len(list(tmp_path.glob("tiny-*.safetensors"))) == 1


def test_an_error_in_the_locked_part_is_its_own(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="disk full"), exclusive(tmp_path / "lock") as held:
        assert held
        raise OSError(errno.ENOSPC, "disk full")


# ---- what the next plan knows of it --------------------------------------------------------------


def test_a_training_is_noted_by_the_files_it_was_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny(monkeypatch, tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8)).astype(np.uint8)
    np.savez(tmp_path / "a.npz", images=images, labels=np.arange(20) % 2)
    dataset = make("dataset", "images", path=str(tmp_path / "a.npz"), size=8)
    assert extractors.known("lenet", dataset.contents()) is None
    features.real_classifier(dataset)
    found = extractors.known("lenet", dataset.contents())
    assert found is not None and found.weights.is_there
    assert found.seconds is not None and found.seconds > 0


def test_a_note_that_was_changed_is_no_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny(monkeypatch, tmp_path)
    about = Contents("it", 1, 1, "", fingerprint="x")
    for text in ("", "[]", '{"data": 3}', '{"data": "../../etc/passwd", "seconds": 1}'):
        extractors.note("lenet", about, "abc", None)
        known = extractors.Known(extractors.trained("lenet", "abc"), None)
        assert extractors.known("lenet", about) == known
        (note,) = (tmp_path / "trained").iterdir()
        note.write_text(text)
        assert extractors.known("lenet", about) is None
