"""Command lines of an experiment file run only where a person has said so, here and on Ray."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from engine.cli import main as cli
from engine.running import worker
from engine.store.store import Store
from tests.support.ouro import ouro

TEXT = """
base:
  dataset: {{name: gaussian, d: 2, replicates: 3}}
  generator:
    name: command
    fit: python -S model.py {{data}} {{model}} {{seed}}
    sample: python -S model.py {{model}} {{out}} {{seed}} {{n}}
    files: [{file}]
    format: jsonl
  n_real: 10
grid:
  policy: [replace, accumulate]
seeds: {seeds}
generations: 2
metrics: [moments]
tracking: none
"""
MODEL = """
import os, random, shutil, signal, sys
there, here, seed, *n = sys.argv[1:]
if not n:
    shutil.copy(there, here + "/rows")
else:
    rows = open(there + "/rows").readlines()
    open(here, "w").writelines(random.Random(int(seed)).choices(rows, k=int(n[0])))
"""


def written(folder: Path, seeds: str = "2", model: str = MODEL) -> Path:
    (folder / "model.py").write_text(model)
    file = folder / "e.yaml"
    file.write_text(TEXT.format(file=folder / "model.py", seeds=seeds))
    return file


@pytest.mark.parametrize("command", ["run", "threshold"])
def test_without_permission_nothing_is_run(command: str, tmp_path: Path) -> None:
    file = written(tmp_path, model=f"open({str(tmp_path / 'ran')!r}, 'w')")
    rule = "collapse: {metric: moments/trace_ratio, below: 0.5}\nthreshold: {width: 0.4}\n"
    file.write_text(file.read_text().replace("[replace, accumulate]", "[replace]") + rule)
    end = ouro(command, "e.yaml", "--local", cwd=tmp_path, columns=300)
    assert end.returncode == 2, end.stdout + end.stderr
    assert "the generator command would run programs on this computer" in end.stderr
    assert "python -S model.py {data} {model} {seed}" in end.stderr
    assert "--allow-commands" in end.stderr
    assert not (tmp_path / "ran").exists() and not (tmp_path / "runs").exists()


def test_a_file_cannot_give_itself_the_permission(tmp_path: Path) -> None:
    file = written(tmp_path)
    for line in ("allow_commands: true", "resources: {allow_commands: true}"):
        file.write_text(written(tmp_path).read_text() + line + "\n")
        end = ouro("run", "e.yaml", "--local", cwd=tmp_path)
        assert end.returncode == 2 and "unknown key 'allow_commands'" in end.stderr
    assert not (tmp_path / "runs").exists()


def test_a_plan_shows_what_would_run(tmp_path: Path) -> None:
    written(tmp_path)
    end = ouro("plan", "e.yaml", cwd=tmp_path, columns=300)
    assert end.returncode == 0
    assert "command, fit: python -S model.py {data} {model} {seed}" in end.stdout
    assert "only with --allow-commands" in end.stdout
    lines = json.loads(ouro("plan", "e.yaml", "--json", cwd=tmp_path).stdout)["commands"]
    assert lines[0]["sample"] == "python -S model.py {model} {out} {seed} {n}"


def here(*words: str) -> tuple[int, str]:
    """Exit code and text of a command in this process, without what it remembers."""
    worker._stores.clear()
    end = CliRunner().invoke(cli.app, list(words))
    return end.exit_code, end.output


@pytest.mark.slow
def test_it_is_needed_again_to_go_on_and_not_to_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, seeds="1")
    code, said = here("run", "e.yaml", "--local", "--allow-commands")
    assert code == 0, said
    out = tmp_path / "runs" / "e"
    assert "fit: python -S model.py" in next(out.glob("logs/commands/*.out")).read_text()
    for command in ("status", "report", "verify", "export"):
        code, said = here(command, "e.yaml")
        assert code == 0, (command, said)
    longer = ("run", "e.yaml", "--local", "--set", "generations=3")
    code, said = here(*longer)
    assert code == 2 and "--allow-commands" in said
    assert here(*longer, "--allow-commands")[0] == 0
    # what is lost is made again by the program that made it, and must have the same bits
    lost = [*out.glob("draws/*/samples.safetensors"), *out.glob("models/*/weights/model/rows")]
    for file in lost:
        file.unlink()
    further = ("run", "e.yaml", "--local", "--set", "generations=4", "--allow-commands")
    code, said = here(*further)
    assert code == 0 and len(lost) > 4, said
    assert any(file.exists() for file in lost)


OWN = '''
"""Rows of the training set again, by a program whose lines stand here."""

from engine.generators.command import Command
from engine.parts import OnDisk, PositiveInt


class Again(Command):
    """Draws training rows again.

    script  the program.
    copies  of each row that it keeps.
    """

    TINY = {"script": "SCRIPT"}
    ACCEPTS = ("points",)
    CONDITIONAL = False

    def __init__(self, *, script: OnDisk, copies: PositiveInt = 1) -> None:
        super().__init__(
            fit="python -S model.py {data} {model} {seed}",
            sample="python -S model.py {model} {out} {seed} {n} {bias}",
            files=[script],
            format="jsonl",
        )
        self.script, self.copies = script, copies
'''


def test_a_class_with_fixed_lines_needs_no_permission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a person hands over as a folder of parts is run anyway."""
    monkeypatch.chdir(tmp_path)
    file = written(tmp_path, seeds="1")
    (tmp_path / "mine" / "generators").mkdir(parents=True)
    text = OWN.replace("SCRIPT", str(tmp_path / "model.py"))
    (tmp_path / "mine" / "generators" / "again.py").write_text(text)
    lines = file.read_text().splitlines()
    begin, end = lines.index("  generator:"), lines.index("  n_real: 10")
    own = "  generator: {name: again, script: model.py}"
    file.write_text("\n".join([*lines[:begin], own, *lines[end:]]))
    code, said = here("run", "e.yaml", "--local", "--parts", "mine")
    assert code == 0 and "2 of 2 lineages" in said, said
    code, said = here("parts", "check", "mine")
    assert code == 0, said


@pytest.mark.slow
def test_on_ray_one_program_fails_one_is_killed_and_the_others_go_on(tmp_path: Path) -> None:
    """Two workers: the permission reaches them, and an error of one lineage is its own."""
    model = MODEL.replace(
        "if not n:",
        "if n and len(open(there + '/rows').readlines()) == 30:\n"
        "    print('too many rows', file=sys.stderr)\n"
        "    sys.exit(9) if int(seed) % 2 else os.kill(os.getpid(), signal.SIGKILL)\n"
        "if not n:",
    )
    written(tmp_path, seeds="4", model=model)
    end = ouro("run", "e.yaml", "--cpus", "2", "--allow-commands", cwd=tmp_path, columns=300)
    assert end.returncode == 1, end.stdout + end.stderr
    store = Store(str(tmp_path / "runs" / "e"))
    failed = [store.failure(row.lineage) for row in store.lineages() if store.failure(row.lineage)]
    found = {each.message.split(", after")[0] for each in failed if each}
    assert len(failed) == 4 and found == {
        "command: the sample line ended with exit code 9",
        "command: the sample line was killed by SIGKILL",
    }
    assert all(each and each.t == 2 and "too many rows" in each.message for each in failed)
    assert sorted(p.suffix for p in (tmp_path / "runs/e/logs/commands").iterdir()) == (
        [".err"] * 8 + [".out"] * 8
    )
