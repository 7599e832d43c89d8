"""Running from Python: again and again in one process, interrupted, failing, silent."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import types
from pathlib import Path
from typing import Any

import pytest

import engine
from engine.generators.gaussian import Gaussian
from engine.store.store import Store
from tests.api.conftest import VALUES

TINY: dict[str, Any] = {**VALUES, "grid": None, "metrics": ["moments"], "seeds": 2}


@pytest.fixture
def tiny() -> engine.Sweep:
    return engine.sweep(**TINY)


def test_a_run_goes_on_from_what_is_there(tiny: engine.Sweep, tmp_path: Path) -> None:
    first = engine.run(tiny, out=tmp_path, local=True).frame()
    longer = engine.sweep(**{**TINY, "generations": 5})
    assert longer.plan(out=tmp_path).present == 8
    second = engine.run(longer, out=tmp_path, local=True).frame()
    both = second[second["t"] <= 3].reset_index(drop=True)
    assert both.equals(first[both.columns]) and len(second) == 12


def test_an_output_that_was_replaced_meanwhile_is_read_anew(
    tiny: engine.Sweep, tmp_path: Path
) -> None:
    before = engine.run(tiny, out=tmp_path / "out", local=True).frame()
    shutil.rmtree(tmp_path / "out")
    assert tiny.plan(out=tmp_path / "out").present == 0
    again = engine.run(tiny, out=tmp_path / "out", local=True)
    assert again.frame().equals(before) and again.complete
    assert len(list(Store(str(tmp_path / "out")).lineages())) == 2


def test_nothing_is_printed_unless_asked(
    tiny: engine.Sweep, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    engine.run(tiny, out=tmp_path / "a", local=True)
    assert capfd.readouterr() == ("", "")
    engine.run(tiny, out=tmp_path / "b", local=True, progress=True)
    said = capfd.readouterr()
    assert said.out == "" and "lineages" in said.err


def test_a_notebook_is_told_in_lines_that_are_no_errors(
    tiny: engine.Sweep, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shell = types.SimpleNamespace(get_ipython=lambda: types.SimpleNamespace(kernel=None))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "IPython", shell)
        patch.setattr(sys.stdout, "isatty", lambda: True)  # as a kernel's stream has it
        engine.run(tiny, out=tmp_path, local=True)
    said = capfd.readouterr()
    assert said.err == "" and said.out.count("waiting") == 0 and "lineages" in said.out


def test_a_failed_lineage_is_a_row(
    tiny: engine.Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = Gaussian.fit

    def stumble(self: Gaussian, data: engine.Samples, rng: Any) -> Any:
        if data.born.max() == 1:
            raise ZeroDivisionError("as it was told to")
        return fit(self, data, rng)

    monkeypatch.setattr(Gaussian, "fit", stumble)
    result = engine.run(tiny, out=tmp_path, local=True)
    frame = result.frame()
    assert list(frame["status"]) == ["ok", "ok", "failed"] * 2
    assert list(frame["t"]) == [0, 1, 2] * 2 and frame["moments/w2"].isna().sum() == 2
    assert list(result.failures["error"]) == ["ZeroDivisionError"] * 2
    assert "ZeroDivisionError" in result._repr_html_()
    monkeypatch.undo()
    assert len(engine.run(tiny, out=tmp_path, local=True).failures) == 0


def test_ctrl_c_ends_it_after_the_generation_in_flight_and_the_same_call_goes_on(
    tiny: engine.Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit, mine = Gaussian.fit, signal.getsignal(signal.SIGINT)

    def interrupted(self: Gaussian, data: engine.Samples, rng: Any) -> Any:
        if data.born.max() == -1:
            os.kill(os.getpid(), signal.SIGINT)
        return fit(self, data, rng)

    monkeypatch.setattr(Gaussian, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt, match="the same command goes on"):
        engine.run(tiny, out=tmp_path, local=True)
    assert signal.getsignal(signal.SIGINT) is mine
    assert len(engine.open(tmp_path).frame()) > 0
    monkeypatch.undo()
    assert engine.run(tiny, out=tmp_path, local=True).complete


def test_a_thread_that_is_not_the_main_one_can_run(tiny: engine.Sweep, tmp_path: Path) -> None:
    found: list[engine.Result] = []

    def work() -> None:
        found.append(engine.run(tiny, out=tmp_path, local=True))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert found and found[0].complete


def test_an_output_that_another_holds_is_busy(tiny: engine.Sweep, tmp_path: Path) -> None:
    with Store(str(tmp_path)).hold("a test"), pytest.raises(engine.Busy, match="a test"):
        engine.run(tiny, out=tmp_path, local=True)


def test_what_this_machine_lacks_is_said_before_anything_runs(tmp_path: Path) -> None:
    values = {**TINY, "dataset": {"name": "images", "path": "no_such_pictures"}, "metrics": []}
    absent = engine.sweep(**{**values, "generator": "vae", "collapse": None})
    with pytest.raises(engine.EnvironmentProblem, match="no_such_pictures"):
        engine.run(absent, out=tmp_path, local=True)
    with pytest.raises(engine.EnvironmentProblem, match="cannot open the output"):
        engine.run(engine.sweep(**TINY), out="nosuch://place", local=True)


def test_threads_and_memory_of_the_caller_stay_as_they_were(
    tiny: engine.Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import resource

    import torch

    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    before = torch.get_num_threads(), resource.getrlimit(resource.RLIMIT_DATA)
    torch.set_num_threads(2)
    engine.run(tiny, out=tmp_path, local=True)
    assert torch.get_num_threads() == 2 and os.environ["OMP_NUM_THREADS"] == "2"
    assert resource.getrlimit(resource.RLIMIT_DATA) == before[1]
    torch.set_num_threads(before[0])
