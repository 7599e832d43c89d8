"""TensorBoard: what a run leaves in event files is what the store has, once."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorboard")

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from engine.experiment.sources import load
from engine.lineage.history import histories
from engine.spec import Sweep
from engine.store.store import Store
from engine.tracking import tracker
from engine.tracking.mlflow_rows import points
from engine.tracking.tracker import Address, open_tracker, serve
from tests.support.mirrored import OK, PARAMETERS, picture, remeasured, rows_of, spec
from tests.support.ouro import TINY, ouro

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
WORDS = ["tiny.yaml", "--local", "--set", "tracking=tensorboard://boards"]


def scalars(folder: Path) -> dict[tuple[str, int], list[float]]:
    """(key, step) -> values, as TensorBoard reads them."""
    read, found = EventAccumulator(str(folder)), dict[tuple[str, int], list[float]]()
    read.Reload()
    for key in read.Tags()["scalars"]:
        for event in read.Scalars(key):
            found.setdefault((key, event.step), []).append(event.value)
    return found


def check(sweep: Sweep, boards: Path) -> None:
    """Every lineage has exactly the numbers of its rows, each once (event files hold float32)."""
    for history in histories(sweep, Store(sweep.out)).values():
        (folder,) = (boards / sweep.name).glob(f"*{history.spec.id[:8]}")
        expected = {}
        for row in history.rows:
            for key, value in points(row).items():
                expected[key, row.t] = [float(np.float32(value))]
        assert len(history.rows) == sweep.generations + 1
        assert repr(sorted(scalars(folder).items())) == repr(sorted(expected.items()))


def test_a_run_and_a_longer_run_leave_every_number_once(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    for generations in (2, 3):
        words = [*WORDS, "--set", f"generations={generations}", "--set", "seeds=1"]
        ran = ouro("run", *words, cwd=tmp_path)
        assert ran.returncode == 0 and "is behind" not in ran.stdout, ran.stdout + ran.stderr
        out = f"out={tmp_path / 'runs' / 'tiny'}"
        sweep = load(tmp_path / "tiny.yaml", [f"generations={generations}", "seeds=1", out])
        check(sweep, tmp_path / "boards")


def test_rows_made_again_replace_what_was_there(tmp_path: Path) -> None:
    s, address = spec(), Address(f"tensorboard://{tmp_path}")
    (first, again) = (open_tracker(address, "q", "1") for _ in range(2))
    old, new = rows_of(s, 4), rows_of(s, 4)
    for t in (2, 3):
        new[t] = remeasured(replace(new[t], time=new[t].time + 60), {"fid": 7.0})
    assert first.open_sweep("How much?", PARAMETERS, 1) and first.mirror(s, old, picture)
    assert again.mirror(s, new, picture) and again.finish_lineage(s, OK)
    (folder,) = (tmp_path / "q").glob(f"*{s.id[:8]}")
    before = len(list(folder.iterdir()))
    assert again.mirror(s, new) and len(list(folder.iterdir())) == before, "nothing new to write"
    found = scalars(folder)
    assert [found["fid", t] for t in (2, 3)] == [[7.0], [7.0]]
    assert all(len(values) == 1 for values in found.values())
    read = EventAccumulator(str(folder))
    read.Reload()
    assert [image.step for image in read.Images("samples")] == [0, 1, 2, 3]


def test_texts_are_no_markup_there(tmp_path: Path) -> None:
    s, board = spec(), open_tracker(Address(f"tensorboard://{tmp_path}"), "q", "1")
    assert board.open_sweep("How much?", PARAMETERS, 1)
    assert board.mirror(s, rows_of(s, 2), lambda t: f"# no heading {t}\n*nor this*\n")
    (folder,) = (tmp_path / "q").glob(f"*{s.id[:8]}")
    read = EventAccumulator(str(folder))
    read.Reload()
    said = [event.tensor_proto.string_val[0].decode() for event in read.Tensors("samples.txt")]
    assert said == [f"    # no heading {t}\n    *nor this*\n" for t in range(2)]


def test_a_folder_that_cannot_be_written_is_said_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    blocked = open_tracker(Address(f"tensorboard://{tmp_path}/file"), "q", "1")
    assert not blocked.open_sweep("How much?", PARAMETERS, 1) and blocked.behind
    assert "file" in blocked.trouble
    assert not blocked.mirror(spec(), rows_of(spec(), 2)) and not blocked.finish_sweep("FAILED", {})


def test_its_pages_are_served_from_the_folder(tmp_path: Path) -> None:
    pages = serve(Address(f"tensorboard://{tmp_path}"), "a question", 6006)
    assert not pages.recorded and pages.url() == "http://127.0.0.1:6006/"
    assert pages.command[:3] == (sys.executable, "-m", "tensorboard.main")
    assert str(tmp_path / "a question") in pages.command
    assert open_tracker(Address(f"tensorboard://{tmp_path}"), "a question", "1").open_sweep(
        "How much?", PARAMETERS, 1
    )
    assert serve(Address(f"tensorboard://{tmp_path}"), "a question", 6006).recorded


def test_without_the_package_the_extra_is_named_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracker, "find_spec", lambda package: None)
    said = tracker.lack(Address(f"tensorboard://{tmp_path}"))
    assert "needs the package tensorboard" in said and "ouroboros-engine[tensorboard]" in said
    assert tracker.lack(Address("sqlite:///x.db")) == "" == tracker.lack(None)


def test_the_spec_of_a_lineage_can_be_read_back(tmp_path: Path) -> None:
    s, made = spec(), open_tracker(Address(f"tensorboard://{tmp_path}"), "q", "1")
    assert made.open_lineage(s) and made.finish_lineage(s, OK)
    (folder,) = (tmp_path / "q").glob(f"*{s.id[:8]}")
    read = EventAccumulator(str(folder / "about"))
    read.Reload()
    (event,) = read.Tensors("spec")
    assert json.loads(event.tensor_proto.string_val[0]) == s.to_dict()
    assert [e.tensor_proto.string_val[0] for e in read.Tensors("status")] == [b"ok"]
