"""A run and a search are one session: what one says, the other says too."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from engine.lineage.history import History
from engine.running.failure import exit_code
from engine.spec import Sweep
from engine.status import ExitCode, Status
from engine.store.store import Store
from tests.support.ouro import ouro
from tests.support.sweeps import GAUSSIAN, sweep_of

TEXT = """
# Question: a test of one session
base:
  dataset: {{name: gaussian, d: 2, replicates: 10}}
  generator: {generator}
  n_real: 30
grid:
  policy: [replace]
  policy.synthetic_fraction: [0.5, 1.0]
seeds: 2
generations: 2
metrics: [moments]
collapse: {{metric: moments/mean_error, above: 3.0}}
threshold: {{width: 0.4, budget: 6}}
keep: {keep}
tracking: {tracking}
"""
COMMANDS = ("run", "threshold")


def written(
    folder: Path, generator: str = "gaussian", tracking: str = "none", keep: str = "all"
) -> Path:
    file = folder / "experiment.yaml"
    file.write_text(TEXT.format(generator=generator, tracking=tracking, keep=keep))
    return file


def ran(command: str, file: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return ouro(command, file.name, "--local", *words, cwd=file.parent, columns=300)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_dead_tracker_is_said_and_stops_nothing(command: str, tmp_path: Path) -> None:
    end = ran(command, written(tmp_path, tracking="'http://127.0.0.1:9'"))
    assert end.returncode == 0 and not end.stderr, end.stdout + end.stderr
    assert "MLflow is behind (" in end.stdout
    assert "the same command fills the gap" in end.stdout
    assert f"ouro ui {tmp_path.name}" not in end.stdout and "ouro ui experiment.yaml" in end.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_damaged_files_are_named_and_made_again(command: str, tmp_path: Path) -> None:
    file = written(tmp_path)
    assert ran(command, file).returncode == 0
    # the last generation of a lineage goes, a model on the way to it is damaged
    out = tmp_path / "runs" / "experiment"
    longer = ["--set", "generations=3"]
    samples = sorted(out.glob("draws/*/samples.safetensors"))
    for place in samples:
        place.write_bytes(b"damaged")
    end = ran(command, file, *longer)
    assert end.returncode == 0, end.stdout + end.stderr
    aside = len(list((out / "damaged").iterdir()))
    assert (
        aside and f"{aside} damaged files were set aside in damaged/ and made again" in end.stdout
    )
    again = ran(command, file, *longer)
    assert again.returncode == 0 and "set aside" not in again.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_going_on_with_another_number_of_threads_is_said(command: str, tmp_path: Path) -> None:
    wgan = "{name: wgan, steps: 2, width: 8, batch: 16, critic_steps: 1}"
    file = written(tmp_path, generator=wgan)
    few = ["--set", "seeds=1", "--set", "threshold.budget=4", "--set", "generations=1"]
    assert ran(command, file, *few).returncode == 0
    more = ["--set", "generations=2", "--set", "resources={generators: {wgan: {cpu: 2}}}"]
    end = ran(command, file, *few[:4], *more)
    assert end.returncode == 0, end.stdout + end.stderr
    assert end.stdout.count("were trained with torch") == 1
    assert "here are torch" in end.stdout and "and 2 threads" in end.stdout


def test_both_prune_by_one_rule(tmp_path: Path) -> None:
    """With `keep: last` a search leaves the samples of last generations alone, as a run does."""
    for command in COMMANDS:
        folder = tmp_path / command
        folder.mkdir()
        assert ran(command, written(folder, "kde", keep="last")).returncode == 0
        out = folder / "runs" / "experiment"
        kept = {file.parent.name for file in out.glob("draws/*/samples.safetensors")}
        store = Store(str(out))
        last = {about.generations[-1].draw for about in store.lineages()}
        assert last and kept == last, command


def test_what_it_takes_to_end_well(tmp_path: Path) -> None:
    sweep = sweep_of(GAUSSIAN, tmp_path)
    ok, left = _history(sweep, Status.OK), _history(sweep, Status.UNFINISHED)
    assert exit_code([ok, ok]) == ExitCode.OK
    assert exit_code([ok, left]) == ExitCode.FAILED == exit_code([ok], finished=False)
    assert exit_code([ok], signal=2, finished=False) == 130 == exit_code([left], signal=2)
    assert exit_code([ok], signal=2) == ExitCode.OK, "interrupted when all was done"
    assert (
        exit_code([ok], dead=True, finished=False)
        == ExitCode.ENVIRONMENT
        == exit_code([left], dead=True)
    )


def _history(sweep: Sweep, status: Status) -> History:
    return History(sweep.lineages[0], (), status)
