"""The store on S3: one PUT is the commit, leases keep writers apart, and a server that fails
changes nothing but the time.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import fsspec
import pytest

from tests.support.sweeps import GAUSSIAN, lineages, results, run, sweep_of

pytest.importorskip(
    "moto", reason="tests on S3 need moto[server] and s3fs, which requirements-test.txt pins"
)
pytest.importorskip("s3fs")
from engine.store.store import Store
from tests.support.commands import ouro
from tests.support.object_store import BUCKET, Server, serving

pytestmark = pytest.mark.filterwarnings("ignore")  # of boto's and werkzeug's own
SMALL = GAUSSIAN.replace("seeds: 2", "seeds: 1").replace("[0.0, 0.25, 0.5, 0.75]", "[0.5]")
VAE = """
# Question: a test on S3
base: {dataset: digits, generator: {name: vae, steps: 5, width: 8, latent: 4}, n_real: 60}
grid: {policy: [replace, accumulate]}
seeds: 1
generations: 2
metrics: []
"""


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving() as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        fsspec.filesystem("s3", skip_instance_cache=True).mkdir(BUCKET)
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        yield server
        fsspec.get_filesystem_class("s3").clear_instance_cache()


def store(name: str = "out") -> Store:
    return Store(f"s3://{BUCKET}/{name}")


def test_a_sweep_on_s3_is_the_sweep_on_a_disk(tmp_path: Path, s3: Server) -> None:
    sweep = sweep_of(SMALL, tmp_path)
    run(sweep)
    run(sweep, store())
    assert results(sweep, store()) == results(sweep)
    assert sum(chain.fits for chain in run(sweep, store())) == 0
    assert store().verify()[1] == []


def test_python_runs_opens_and_moves_on_s3(tmp_path: Path, s3: Server) -> None:
    import engine

    asked = {"n_real": 20, "generations": 1, "metrics": ["moments"], "tracking": "none"}
    sweep = engine.sweep("gaussian", "gaussian", policy="replace", name="far", **asked)
    there = f"s3://{BUCKET}/far"
    near = engine.run(sweep, out=tmp_path / "near", local=True)
    assert engine.run(sweep, out=there, local=True).frame().equals(near.frame())
    opened = engine.open(there)
    assert opened.frame().equals(near.frame()) and opened.out == there and opened.changed == ()
    assert (opened.samples(t=1).x == near.samples(t=1).x).all()
    assert engine.load(there).plan().missing == 0
    with pytest.raises(FileNotFoundError, match="s3://bucket/nothing"):
        engine.open(f"s3://{BUCKET}/nothing")


def test_a_run_looks_at_the_lineages_of_others_at_once(tmp_path: Path, s3: Server) -> None:
    """Ten thousand of them, one after the other, would take minutes before anything runs."""
    run(sweep_of(SMALL, tmp_path), store())
    row = next(row for row in store().lineages() if row.generations)
    for i in range(8):
        store().write_lineage(replace(row, lineage=f"{i:016x}"))
    four = threading.Barrier(4)

    def until_four_are_asked_for(number: int, method: str, path: str) -> str:
        if method == "GET" and "/lineages/00000" in path:
            four.wait(timeout=30)
        return ""

    s3.fault, found = until_four_are_asked_for, store()
    found.tidy()
    assert not found.damage and not four.broken


@pytest.mark.parametrize("fault", ["busy", "cut", "lost", "slow"])
def test_a_server_that_fails_now_and_then_changes_nothing(
    fault: str, tmp_path: Path, s3: Server
) -> None:
    sweep = sweep_of(VAE, tmp_path, "grid={}", "generations=1")
    run(sweep)
    s3.fault = lambda number, method, path: fault if number % 11 == 3 else ""
    run(sweep, store())
    s3.fault = lambda number, method, path: ""
    assert results(sweep, store()) == results(sweep) and store().verify()[1] == []


def test_without_its_row_a_model_never_happened(
    tmp_path: Path, s3: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = sweep_of(VAE, tmp_path, "grid={}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3.fault = lambda number, method, path: (
        "busy" if method == "PUT" and path.endswith("row.json") else ""
    )
    with pytest.raises(Exception, match=r"(?i)slow|reduce"):
        run(sweep, store())
    s3.fault = lambda number, method, path: ""
    assert list(store().rows()) == []
    run(sweep)
    run(sweep, store())
    assert results(sweep, store()) == results(sweep)


def test_a_damaged_object_is_made_again(tmp_path: Path, s3: Server) -> None:
    sweep = sweep_of(VAE, tmp_path, "grid={}")
    run(sweep, store())
    fs, draws = store().fs, store()
    path = next(p for p in fs.find(f"{BUCKET}/out/draws") if p.endswith("/samples.safetensors"))
    whole = fs.cat_file(path)
    fs.pipe_file(path, whole[:-1] + bytes([whole[-1] ^ 1]))
    run(sweep, draws)
    assert fs.cat_file(path) == whole and len(fs.ls(f"{BUCKET}/out/damaged", refresh=True)) == 1


PROGRAM = """
import sys
there, here, *n = sys.argv[1:]
if n:
    open(here, "w").writelines(open(there + "/rows").readlines()[: int(n[0])])
    print("drew")
else:
    rows = open(there).read()
    open(here + "/rows", "w").write(rows)
    print("trained")
    if len(rows.splitlines()) > 10:
        sys.exit("too many rows")
"""
COMMAND = """
base:
  dataset: {{name: gaussian, d: 2}}
  generator:
    name: command
    fit: python -S model.py {{data}} {{model}}
    sample: python -S model.py {{model}} {{out}} {{n}} {{seed}}
    files: [{file}]
    format: jsonl
  n_real: 10
grid:
  policy: [replace, accumulate]
seeds: 1
generations: 1
metrics: []
tracking: none
"""


@pytest.mark.slow
def test_what_programs_print_is_kept_on_s3_and_named_where_they_fail(
    tmp_path: Path, s3: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of each generation after the one before, also of the worker before; nothing here."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.py").write_text(PROGRAM)
    (tmp_path / "e.yaml").write_text(COMMAND.format(file=tmp_path / "model.py"))
    out = f"s3://{BUCKET}/prints"
    asked = ("run", "e.yaml", "--local", "--allow-commands", "--out", out)
    said = ouro(*asked)
    assert said.code == 1, said
    status = ouro("status", out, "--json")
    ends = {own["label"]: own for own in status.json["lineages"].values()}
    assert ends["replace 1"]["printed"] == ""
    place = ends["accumulate"]["printed"]
    assert place.startswith("logs/commands/") and "too many rows" in ends["accumulate"]["reason"]
    assert f"what its programs printed: {place}.err and .out" in ouro("status", out).out
    assert printed(f"{place}.err") == ["too many rows"]
    ids = {lineage: own["label"] for lineage, own in status.json["lineages"].items()}
    done = next(lineage for lineage, label in ids.items() if label == "replace 1")
    assert printed(f"logs/commands/{done}.out") == ["trained", "drew"] * 2
    longer = ("generations=2", "grid={}", "base.policy=replace")
    more = ouro(*asked, *(word for change in longer for word in ("--set", change)))
    assert more.code == 0, more
    assert printed(f"logs/commands/{done}.out") == ["trained", "drew"] * 3
    assert not list(tmp_path.glob("runs/*/logs/commands"))


def printed(place: str) -> list[str]:
    """The lines of a log, but for the titles that say when what was run."""
    text = store("prints").fs.cat_file(f"{BUCKET}/prints/{place}").decode()
    return [line for line in text.splitlines() if not line.startswith("#")]


@pytest.mark.slow
def test_two_processes_on_s3_make_every_key_once(tmp_path: Path, s3: Server) -> None:
    sweep = sweep_of(VAE, tmp_path)
    program = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from tests.support.sweeps import *\nfrom pathlib import Path\nfrom "
        "tests.store.test_object_store import VAE, store\n"
        "print(sum(c.fits for c in run(sweep_of(VAE, Path(sys.argv[1])), store())))"
    )
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-c",
        program,
        str(tmp_path),
        str(Path(__file__).parents[2]),
    ]
    root = str(Path(__file__).parents[2])
    both = [
        subprocess.Popen(command, stdout=-1, text=True, env={**os.environ, "PYTHONPATH": root})
        for _ in range(2)
    ]
    fits = [int(p.communicate(timeout=120)[0]) for p in both]
    chains = lineages(sweep, store())
    assert sum(fits) == len({node.model for chain in chains for node in chain.path})
    assert all(chain.complete() for chain in chains)


@pytest.mark.slow
def test_ouro_run_on_s3_with_faults_and_again(tmp_path: Path, s3: Server) -> None:
    """The command line with Ray's actors as further clients, on a server that refuses every 20th
    request.
    """
    from tests.support.ouro import ouro as process

    (tmp_path / "f.yaml").write_text(VAE)
    s3.fault = lambda number, method, path: "busy" if number % 20 == 3 else ""
    words = ("run", "f.yaml", "--set", f"out=s3://{BUCKET}/cli", "--set", "tracking=none")
    first = process(*words, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    again = process(*words, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    s3.fault = lambda number, method, path: ""
    sweep = sweep_of(VAE, tmp_path)
    run(sweep)
    assert results(sweep, store("cli")) == results(sweep)
