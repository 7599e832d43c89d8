"""Parts of one's own on a real Ray with two workers, from a folder with an `engine` of its own; and
what is said of a worker that dies.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from engine.running._deaths import why
from tests.support import own
from tests.support.ouro import environment

NOTING = """    def fit(self, data, rng):
        Path(os.environ["SEEN"], str(os.getpid())).touch()
        until = time.monotonic() + 60
        while len(os.listdir(os.environ["SEEN"])) < 2 and time.monotonic() < until:
            time.sleep(0.01)
"""
LEAVING = """    def fit(self, data, rng):
        os._exit(3)
"""


def jitter(fit: str) -> str:
    """The generator with another beginning of its fit."""
    text = own.JITTER.replace("    def fit(self, data, rng):\n", fit)
    return text.replace(
        "import numpy",
        "import os\nimport sys\nimport time\nfrom pathlib import Path\n\nimport numpy",
    )


def run(folder: Path, *words: str, **parts: str) -> subprocess.CompletedProcess[str]:
    """`ouro run` in a folder whose `engine` and `analysis` are somebody else's, as the installed
    command does it: without that folder on its own search path.
    """
    own.folder(folder / "parts", **parts)
    (folder / "own.yaml").write_text(own.EXPERIMENT)
    (folder / "seen").mkdir()
    for name in ("engine", "analysis"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("")
    command = [sys.executable, "-P", "-m", "engine.cli", "run", "own.yaml", "--parts", "parts"]
    settings = {**environment(), "SEEN": str(folder / "seen"), "COLUMNS": "1000"}
    return subprocess.run(
        [*command, *words], cwd=folder, env=settings, capture_output=True, text=True, timeout=240
    )


@pytest.mark.slow
def test_own_parts_reach_two_workers_past_a_folder_called_engine(tmp_path: Path) -> None:
    ran = run(tmp_path, "--cpus", "2", "--json", jitter=jitter(NOTING))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert json.loads(ran.stdout)["exit"] == 0
    assert len(list((tmp_path / "seen").iterdir())) >= 2, "two workers had work at once"


@pytest.mark.faults
def test_a_part_that_leaves_its_worker_ends_its_lineage_at_once(tmp_path: Path) -> None:
    ran = run(tmp_path, "--cpus", "2", "--set", "seeds=1", jitter=jitter(LEAVING))
    assert ran.returncode == 1
    assert "LeftByExit: a part called os._exit(3); let it raise an error" in ran.stdout
    assert "jitter.py:" in ran.stdout and "tries" not in ran.stdout


RAY = """The actor died unexpectedly before finishing this task.
\tpid: 4711
Worker exit type: SYSTEM_ERROR Worker exit detail: Worker exits with code 2. End of file. Some \
common causes include: much"""
STDERR = {
    "segv": """:job_id:01
*** SIGSEGV received at time=1 on cpu 1 ***
PC: @ 0x7f (unknown) kill
[2026-11-29 23:49:19,110 E 1 1] logging.cc:474: *** SIGSEGV received ***
Fatal Python error: Segmentation fault

Stack (most recent call first):
  File "parts/generators/jitter.py", line 13 in fit
  File "engine/lineage/loop.py", line 165 in _model_row
""",
    "exit": ":job_id:01\n:actor_name:LineageActor\ngoodbye\n*** left by os._exit(7)\n",
    "kill": ":job_id:01\n",
}
FATAL = "Fatal Python error: Segmentation fault | File "
SAID = {
    "segv": f'signal SIGSEGV); its last words: {FATAL}"parts/generators/jitter.py", line 13 in fit',
    "exit": "exit code 7); its last words: goodbye",
    "kill": "Worker exits with code 2. End of file) without a word on stderr: killed from outside, "
    "perhaps for its memory",
}


@pytest.mark.parametrize("end", STDERR)
def test_why_a_process_died_is_said_in_a_line(end: str, tmp_path: Path) -> None:
    (tmp_path / "worker-abc-01-4711.err").write_text(STDERR[end])
    (tmp_path / "worker-abc-01-11.err").write_text("another's\n")
    assert why(RAY, tmp_path) == f"its process died ({SAID[end]}"
    assert why("no such", None).startswith("its process died (unexpectedly)")
