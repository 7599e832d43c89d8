"""The store on S3: one PUT is the commit, leases keep writers apart, and a server that fails
changes nothing but the time.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from tests.support.sweeps import GAUSSIAN, lineages, results, run, sweep_of

pytest.importorskip(
    "moto", reason="tests on S3 need moto[server] and s3fs, which requirements-test.txt pins"
)
pytest.importorskip("s3fs")
from engine.store.store import Store
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
    from tests.support.ouro import ouro

    (tmp_path / "f.yaml").write_text(VAE)
    s3.fault = lambda number, method, path: "busy" if number % 20 == 3 else ""
    words = ("run", "f.yaml", "--set", f"out=s3://{BUCKET}/cli", "--set", "tracking=none")
    first = ouro(*words, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    again = ouro(*words, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    s3.fault = lambda number, method, path: ""
    sweep = sweep_of(VAE, tmp_path)
    run(sweep)
    assert results(sweep, store("cli")) == results(sweep)
