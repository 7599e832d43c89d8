"""Programs as generators, from Python: allowed each time, interrupted, handed over as an object."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

import engine
from engine.generators.command import Command
from engine.running import signals
from tests.run.test_commands import MODEL

LINES = {
    "fit": "python -S model.py {data} {model} {seed}",
    "sample": "python -S model.py {model} {out} {seed} {n}",
    "format": "jsonl",
}
VALUES: dict[str, Any] = {
    "dataset": {"name": "gaussian", "d": 2, "replicates": 3},
    "policy": "replace",
    "n_real": 10,
    "generations": 2,
    "metrics": ["moments"],
    "tracking": "none",
}


def model(folder: Path, text: str = MODEL) -> list[str]:
    (folder / "model.py").write_text(text)
    return [str(folder / "model.py")]


def test_an_object_is_what_its_lines_are_and_each_use_is_allowed_anew(tmp_path: Path) -> None:
    files = model(tmp_path)
    sweep = engine.sweep(generator=Command(**LINES, files=files), **VALUES)
    named = engine.sweep(generator={"name": "command", "files": files, **LINES}, **VALUES)
    assert sweep.lineages[0].id == named.lineages[0].id
    with pytest.raises(PermissionError, match="allow_commands=True in Python"):
        engine.run(sweep, out=tmp_path / "out", local=True)
    result = engine.run(sweep, out=tmp_path / "out", local=True, allow_commands=True)
    assert result.complete and len(result.failures) == 0
    assert len(result.samples(t=2)) == 10, "what is there is read without"
    with pytest.raises(PermissionError, match="allow_commands=True in Python"):
        result.model(t=2)
    rng = np.random.default_rng(0)
    assert len(result.model(t=2, allow_commands=True).sample(4, rng)) == 4


def test_ctrl_c_ends_a_program_that_hangs_and_the_same_call_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program asks for it itself; nothing of it is left, and the next run begins where it
    was.
    """
    monkeypatch.setattr(signals, "LAST_SECONDS", 0.1)
    once = tmp_path / "once"
    hangs = f"import time\nif n and not os.path.exists({str(once)!r}):\n"
    hangs += f"    open({str(once)!r}, 'w').write(str(os.getpid()))\n"
    hangs += f"    os.kill({os.getpid()}, signal.SIGINT)\n    time.sleep(600)\n"
    files = model(tmp_path, MODEL.replace("if not n:", hangs + "if not n:"))
    sweep = engine.sweep(generator=Command(**LINES, files=files), **VALUES)
    with pytest.raises(KeyboardInterrupt):
        engine.run(sweep, out=tmp_path / "out", local=True, allow_commands=True)
    assert not psutil.pid_exists(int(once.read_text()))
    result = engine.run(sweep, out=tmp_path / "out", local=True, allow_commands=True)
    assert result.complete and len(result.failures) == 0
