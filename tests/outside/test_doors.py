"""Parts of one's own through three doors: found, read, made; nothing installed is edited."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import registry
from engine.experiment.reader import SpecError
from engine.experiment.sources import load
from engine.lineage.history import histories
from engine.outside.places import VARIABLE, use
from engine.registry import PartError, adopt, describe, given, make, names
from engine.running.job import Job
from engine.running.worker import run_local
from engine.spec import Part
from engine.store.rows import ModelRow
from engine.store.store import Store
from engine.tracking.tracker import Nop
from tests.support import own
from tests.support.ouro import environment


class Heard(Nop):
    """Hears nothing in particular."""

    def row(self, *_: Any) -> None: ...
    def ended(self, *_: Any) -> None: ...
    def tick(self) -> None: ...


ALL = [("generator", "jitter"), ("metric", "spread"), ("dataset", "ring")]


@pytest.fixture(autouse=True)
def _closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No door is open before a test, nor after it."""
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.setattr(registry, "_classes", {})
    monkeypatch.setattr(registry, "_received", None)
    registry.refresh()
    yield
    monkeypatch.undo()
    registry.refresh()


def opened(folder: Path) -> Path:
    use([folder])
    registry.refresh()
    return folder


# ---- the doors -----------------------------------------------------------------------------------


def test_parts_of_a_folder_are_found_by_their_files(tmp_path: Path) -> None:
    opened(own.folder(tmp_path))
    for kind, name in ALL:
        assert name in names(kind) and describe(kind, name).origin.startswith(str(tmp_path))
    jitter = describe("generator", "jitter")
    assert jitter.parameters["scale"].default == 0.1, "a constant of the file beside it"
    assert jitter.parameters["scale"].words and len(jitter.source) == 16
    made = make("generator", "jitter", scale=0.5)
    assert made.scale == 0.5 and type(made).__name__ == "Jitter"
    assert "_noise" not in names("generator")


def test_folders_of_the_environment_are_looked_through_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = own.folder(tmp_path / "one"), tmp_path / "two"
    (two / "policies").mkdir(parents=True)
    (two / "policies" / "nothing.py").write_text("class Nothing: ...\n")
    monkeypatch.setenv(VARIABLE, os.pathsep.join([str(one), str(two)]))
    assert "jitter" in names("generator") and "nothing" in names("policy")
    use([tmp_path / "one"])
    assert os.environ[VARIABLE] == os.pathsep.join([str(one), str(two)])


@pytest.mark.parametrize("made", [False, True])
def test_a_folder_without_parts_is_refused(tmp_path: Path, made: bool) -> None:
    folder = tmp_path / "parts"
    if made:
        (folder / "generator").mkdir(parents=True)
    with pytest.raises(ValueError if made else NotADirectoryError, match="generators/"):
        use([folder])


def test_parts_of_an_installed_package_are_found_without_importing_it(tmp_path: Path) -> None:
    """In a process of its own, where the package is installed."""
    own.package(tmp_path)
    program = """
import sys
from engine.registry import describe, make, names
for kind, name in (("generator", "jitter"), ("metric", "spread"), ("dataset", "ring")):
    assert name in names(kind) and describe(kind, name).origin == "mylab 1.2"
print("found", file=sys.stderr, flush=True)
print(type(make("generator", "jitter")).__module__, file=sys.stderr)
"""
    command = [sys.executable, "-c", program]
    settings = environment()
    settings["PYTHONPATH"] = os.pathsep.join([settings["PYTHONPATH"], str(tmp_path)])
    ran = subprocess.run(command, env=settings, cwd=tmp_path, capture_output=True, text=True)
    said = ["found", "mylab is imported", "mylab.ouro.generators.jitter"]
    assert ran.stderr.splitlines() == said


def test_an_entry_point_that_leads_nowhere_is_told_and_harms_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own.package(tmp_path)
    (tmp_path / "mylab" / "ouro").rename(tmp_path / "mylab" / "elsewhere")
    monkeypatch.syspath_prepend(tmp_path)
    registry.refresh()
    assert "vae" in names("generator") and "jitter" not in names("generator")
    (fault,) = registry.faults()
    assert "mylab = mylab.ouro" in str(fault) and "mylab 1.2" in str(fault)


SHIFT = 0.25


def shifted(x: np.ndarray) -> np.ndarray:
    return x + SHIFT


class Shifting:
    """Draws one training point again and again, shifted.

    by  how far, in the data's units
    """

    TINY = {"by": 1.0}
    ACCEPTS = ("points",)

    def __init__(self, *, by: float = SHIFT) -> None:
        self.by = by

    def where(self, x: np.ndarray) -> np.ndarray:
        return shifted(x) + self.by


def test_a_class_is_a_part_by_its_source_and_what_it_uses() -> None:
    assert adopt("generator", Shifting) == "shifting"
    part = describe("generator", "shifting")
    assert part.parameters["by"].default == 0.25 and part.source and "Shifting" in part.origin
    made = make("generator", "shifting", by=1.0)
    assert made.where(np.zeros(1)) == 1.25 and type(made) is not Shifting
    assert given("generator", Shifting(by=2.0)) == {"name": "shifting", "by": 2.0}
    assert given("generator", made) == {"name": "shifting", "by": 1.0}


def test_a_class_of_the_engine_is_the_part_that_it_is() -> None:
    from engine.generators.gaussian import Gaussian

    assert given("generator", Gaussian(divisor="n-1")) == {"name": "gaussian", "divisor": "n-1"}


def test_a_class_written_anew_takes_the_place_of_the_first() -> None:
    def noting(text: str) -> type:
        class Noting:
            def say(self) -> str:
                return text

        return Noting

    adopt("policy", noting("one"))
    first = describe("policy", "noting").source
    adopt("policy", noting("two"))
    assert describe("policy", "noting").source != first
    assert make("policy", "noting").say() == "two"


def test_what_a_constructor_does_not_keep_is_refused_by_name() -> None:
    class Forgetful:
        def __init__(self, *, scale: float = 1.0) -> None:
            self.size = scale

    with pytest.raises(PartError, match=r"does not keep its parameter 'scale'.*self.scale = scale"):
        given("generator", Forgetful())


def test_what_cannot_travel_is_refused_by_name() -> None:
    table = np.zeros(3)

    class Holding:
        def fit(self) -> Any:
            return table

    with pytest.raises(PartError, match="uses table, an object of type ndarray") as error:
        adopt("generator", Holding)
    assert error.value.file == Path(__file__) and error.value.line > 1


# ---- names ---------------------------------------------------------------------------------------


def test_a_name_of_the_engine_is_refused_and_the_engine_keeps_it(tmp_path: Path) -> None:
    theirs = own.JITTER.replace("class Jitter", "class Gaussian")
    (tmp_path / "generators").mkdir()
    (tmp_path / "generators" / "gaussian.py").write_text(theirs)
    opened(tmp_path)
    assert describe("generator", "gaussian").origin == ""
    told = registry.broken("generator")["gaussian"]
    assert "the generator gaussian is there already, in the engine" in str(told)
    assert str(tmp_path / "generators" / "gaussian.py") in str(told)
    file = tmp_path / "uses.yaml"
    file.write_text("base: {dataset: gaussian, generator: gaussian, n_real: 9}\ngenerations: 1\n")
    with pytest.raises(SpecError, match="is there already, in the engine"):
        load(file)


def test_one_name_in_two_folders_is_refused(tmp_path: Path) -> None:
    opened(own.folder(tmp_path / "one"))
    opened(own.folder(tmp_path / "two"))
    assert "is there already, in " in str(registry.broken("metric")["spread"])


def test_an_experiment_alone_runs_no_code(tmp_path: Path) -> None:
    own.folder(tmp_path)
    file = tmp_path / "own.yaml"
    file.write_text(own.EXPERIMENT)
    with pytest.raises(SpecError, match=r"no generator is called 'jitter'.*--parts DIR"):
        load(file)
    opened(tmp_path)
    assert len(load(file).lineages) == 4


# ---- keys ----------------------------------------------------------------------------------------


def test_the_source_and_what_it_imports_beside_it_is_in_the_digest(tmp_path: Path) -> None:
    def source(folder: Path, name: str = "jitter") -> str:
        registry.refresh()
        return describe("generator", name).source

    folder = opened(own.folder(tmp_path / "one"))
    first = source(folder)
    own.folder(folder, _noise=own.NOISE.replace("2 * 0.05", "2 * 0.06"))
    second = source(folder)
    assert second != first and describe("generator", "jitter").parameters["scale"].default == 0.12
    own.folder(folder, jitter=own.JITTER.replace("smoothed", "rough"))
    assert source(folder) not in (first, second)
    own.folder(folder)
    (folder / "generators" / "_unused.py").write_text("X = 1\n")
    assert source(folder) == first


def test_where_a_folder_lies_is_not_in_the_digest(tmp_path: Path) -> None:
    opened(own.folder(tmp_path / "one"))
    first = describe("generator", "jitter").source
    os.environ[VARIABLE] = ""
    opened(own.folder(tmp_path / "two"))
    assert describe("generator", "jitter").source == first


def test_what_runs_is_the_text_that_the_key_is_of(tmp_path: Path) -> None:
    """Edited after it was read, it is what it was until it is read again; and no bytecode of the
    older text is run, though size and second are the same.
    """
    (tmp_path / "policies").mkdir()
    file = tmp_path / "policies" / "mine.py"
    file.write_text("class Mine:\n    SAYS = 1\n")
    opened(tmp_path)
    first = describe("policy", "mine").source
    file.write_text("class Mine:\n    SAYS = 2\n")
    assert make("policy", "mine").SAYS == 1 and describe("policy", "mine").source == first
    registry.refresh()
    assert make("policy", "mine").SAYS == 2 and describe("policy", "mine").source != first
    assert not list(tmp_path.rglob("__pycache__"))


# ---- other processes -----------------------------------------------------------------------------


def test_parts_travel_as_texts_and_are_the_same_there(tmp_path: Path) -> None:
    opened(own.folder(tmp_path))
    adopt("policy", Shifting)
    before = {address: describe(*address) for address in ALL}
    sent = registry.travelling()
    for file in sorted(tmp_path.rglob("*.py")):
        file.unlink()
    registry.receive(sent)
    assert {address: describe(*address) for address in ALL} == before
    assert make("generator", "jitter").scale == 0.1 and "shifting" in names("policy")


def test_an_installed_part_is_not_run_where_another_version_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own.package(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    registry.refresh()
    sent = registry.travelling()
    registry.receive(sent)
    own.package(tmp_path, _noise=own.NOISE.replace("2 *", "3 *"))
    with pytest.raises(PartError, match=r"mylab/ouro/generators/_noise.py of mylab 1.2 is another"):
        make("generator", "jitter")


# ---- habits of authors ---------------------------------------------------------------------------


def broken_by(folder: Path, **texts: str) -> PartError:
    """What is wrong with the generator mine, of these files."""
    (folder / "generators").mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / "generators" / f"{name}.py").write_text(text)
    opened(folder)
    return registry.broken("generator")["mine"]


def test_an_absolute_import_of_a_neighbour_is_told(tmp_path: Path) -> None:
    error = broken_by(tmp_path, _help="X = 1\n", mine="\nfrom _help import X\nclass Mine: ...\n")
    assert error.line == 2 and error.mend == "write `from ._help import ...`"


def test_a_base_class_and_constants_of_other_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "generators").mkdir()
    (tmp_path / "generators" / "_base.py").write_text(
        "from .._rates import RATE\nclass Base:\n    COST = 'tiny'\n    ACCEPTS = ('points',)\n"
        "    def __init__(self, *, rate: float = 10 * RATE): self.rate = rate\n"
    )
    (tmp_path / "_rates.py").write_text("RATE = 0.5\n")
    text = "from ._base import Base as Other\nclass Mine(Other):\n    KNOWS = ()\n"
    (tmp_path / "generators" / "mine.py").write_text(text)
    opened(tmp_path)
    part = describe("generator", "mine")
    assert part.parameters["rate"].default == 5.0 and part.constants["COST"] == "tiny"
    assert make("generator", "mine").rate == 5.0


def test_a_helper_that_is_not_python_is_told_by_its_own_line(tmp_path: Path) -> None:
    error = broken_by(
        tmp_path, _help="X = 1\ndef\n", mine="from ._help import X\nclass Mine: ...\n"
    )
    assert error.file.name == "_help.py" and error.line == 2 and "not Python" in error.rule


@pytest.mark.parametrize(
    "text", ["class Yours: ...\n", "class Mine:\n  def __init__(self, n): 0\n"]
)
def test_a_broken_part_leaves_the_others_alone(tmp_path: Path, text: str) -> None:
    own.folder(tmp_path)
    error = broken_by(tmp_path, mine=text)
    assert error.file == tmp_path / "generators" / "mine.py"
    assert "jitter" in registry.readable("generator") and "vae" in registry.readable("generator")
    assert [sent["name"] for sent in registry.travelling()] == ["ring", "jitter", "spread"]


# ---- in keys -------------------------------------------------------------------------------------


def test_a_part_whose_source_changed_after_a_sweep_was_made_is_not_run_for_it(
    tmp_path: Path,
) -> None:
    folder = opened(own.folder(tmp_path))
    part = Part("generator", "jitter")
    assert part.canonical["SOURCE"] == describe("generator", "jitter").source
    own.folder(folder, jitter=own.JITTER.replace("smoothed", "rough"))
    registry.refresh()
    with pytest.raises(PartError, match="changed"):
        part.make()


def test_an_edited_part_is_trained_again_and_old_rows_are_not_shown(tmp_path: Path) -> None:
    folder = opened(own.folder(tmp_path / "parts"))
    file = tmp_path / "own.yaml"
    file.write_text(own.EXPERIMENT)
    sets = [f"out={tmp_path / 'out'}", "seeds=1"]

    def ran() -> tuple[int, int, float]:
        """The generations that were there, then the models of the output, and the last value."""
        sweep = load(file, sets)
        Path(sweep.out).mkdir(exist_ok=True)
        store = Store(sweep.out)
        (before,) = {histories(sweep, store)[spec.id].t for spec in sweep.lineages}
        run_local([Job.of(sweep, store, spec, 3) for spec in sweep.lineages], Heard())
        again = Store(sweep.out)
        rows = histories(sweep, again)[sweep.lineages[-1].id].rows
        models = sum(isinstance(row, ModelRow) for row in again.rows())
        return before, models, rows[-1].measured.values["spread"]

    before, models, value = ran()
    assert before == -1 and ran() == (3, models, value), "nothing was left to do"
    own.folder(folder, _noise=own.NOISE.replace("x + scale", "x - 3 * scale"))
    before, more, other = ran()
    assert before == -1 and more == 2 * models and other != value
    own.folder(folder)
    assert ran() == (3, more, value), "as it was, it is found again"


def test_an_edited_metric_is_measured_again_and_nothing_is_trained(tmp_path: Path) -> None:
    folder = opened(own.folder(tmp_path / "parts"))
    file = tmp_path / "own.yaml"
    file.write_text(own.EXPERIMENT)

    def ran() -> tuple[int, list[float]]:
        """How many models the output holds, and what was measured of the last lineage."""
        sweep = load(file, [f"out={tmp_path / 'out'}", "seeds=1"])
        Path(sweep.out).mkdir(exist_ok=True)
        store = Store(sweep.out)
        run_local([Job.of(sweep, store, spec, 3) for spec in sweep.lineages], Heard())
        again = Store(sweep.out)
        rows = histories(sweep, again)[sweep.lineages[-1].id].rows
        models = sum(isinstance(row, ModelRow) for row in again.rows())
        return models, [row.measured.values["spread"] for row in rows]

    models, values = ran()
    own.folder(folder, spread=own.SPREAD.replace("/ self.real_", "/ self.real_ + 1"))
    assert ran() == (models, pytest.approx([value + 1 for value in values]))
    own.folder(folder)
    assert ran() == (models, values)
