"""A cluster of three nodes on this machine that loses one and gets another; what travels to nodes,
and what does not.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.experiment.sources import load
from engine.registry import make
from engine.running.job import Job
from engine.store.store import Store
from tests.support.houses import SLOWEST, alive, assert_same, built, ended_as, eventually, run_alone
from tests.support.ouro import ROOT, environment

CLUSTER = """
import sys
from ray.cluster_utils import Cluster

cluster, nodes = Cluster(), []

def add(tries=3):
    try:
        memory = 100 * 2**20
        node = cluster.add_node(num_cpus=1, object_store_memory=memory, include_dashboard=False)
    except Exception:  # Ray gives a node 30 s to start, on whatever machine
        return add(tries - 1) if tries else sys.exit("no node")
    nodes.append(node)

def remove():
    cluster.remove_node(nodes.pop(), allow_graceful=False)

for _ in range(3):
    add()
print(cluster.address, flush=True)
for line in sys.stdin:
    {"add": add, "remove": remove}[line.strip()]()
    print("done", flush=True)
"""

COUNTED = """
fitted = Stumbling.fit

def counted(self, data, rng):
    with open(os.environ["FITS"], "a") as file:
        print(int(data.born.max()), os.getppid(), file=file)
    time.sleep(float(os.environ.get("LINGER", "0")))
    return fitted(self, data, rng)

Stumbling.fit = counted
"""


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "house").mkdir()
    with (
        built(tmp_path / "house") as root,
        open(root / "engine" / "generators" / "stumbling.py", "a") as part,
    ):
        part.write(COUNTED)
        part.flush()
        yield root


@contextlib.contextmanager
def cluster(house: Path, fits: Path) -> Iterator[subprocess.Popen[str]]:
    """Three nodes of one CPU; told `add` or `remove` it does so, and says when it is done."""
    words = {
        **environment(house),
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        "FITS": str(fits),
        "LINGER": "1",
    }
    with open(fits.with_suffix(".log"), "w") as log:
        command = [sys.executable, "-c", CLUSTER]
        process = subprocess.Popen(
            command, cwd=house, env=words, stdin=-1, stdout=-1, stderr=log, text=True
        )
        try:
            yield process
        finally:
            process.kill()  # and with it the daemons that it has started
            process.communicate()
            eventually(lambda: not alive(house), 30)


def told(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(f"{word}\n")
    process.stdin.flush()
    assert process.stdout.readline() == "done\n"


def raylets(fits: Path) -> set[str]:
    """The nodes that have trained something."""
    return {line.split()[1] for line in fits.read_text().splitlines()} if fits.exists() else set()


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_a_node_goes_and_another_comes(house: Path, tmp_path: Path) -> None:
    """Every lineage ends with the bits of a run without Ray, and a founder is fitted once for all
    nodes.
    """
    out, fits = tmp_path / "out", tmp_path / "fits"
    with cluster(house, fits) as nodes:
        assert nodes.stdout is not None
        address = nodes.stdout.readline().strip()
        assert address, fits.with_suffix(".log").read_text()
        command = [
            sys.executable,
            "-m",
            "engine.cli",
            "run",
            "slow.yaml",
            "--out",
            str(out),
            "--address",
            address,
        ]
        words = {**environment(house), "RAY_AUTH_MODE": "disabled"}
        process = subprocess.Popen(command, cwd=house, env=words, stdout=-1, stderr=-1, text=True)
        assert eventually(lambda: process.poll() is not None or len(raylets(fits)) == 3, SLOWEST)
        assert process.poll() is None, "it had ended before all three nodes took part"
        told(nodes, "remove")
        told(nodes, "add")
        rc, stdout, stderr = ended_as(process)
        assert rc == 0 and "all 8 lineages have an outcome" in stdout and not stderr, (
            stdout + stderr
        )
        assert not [child for child in alive(house) if child.pid == process.pid]
    assert not alive(house)
    founders = [line for line in fits.read_text().splitlines() if line.startswith("-1 ")]
    assert len(founders) == 2, "one founder per seed, whichever node asks for it"
    os.environ["FITS"] = os.devnull
    assert run_alone(house, "slow.yaml", tmp_path / "whole").returncode == 0
    assert_same(out, tmp_path / "whole")


def test_what_travels_to_a_node_is_small() -> None:
    """No data, no model: what an actor needs it reads from the output and from its own disk."""
    longest = max((ROOT / "experiments").glob("*.yaml"), key=lambda file: file.stat().st_size)
    sweep = load(longest)
    for spec in sweep.lineages:
        assert (
            len(json.dumps(Job.of(sweep, Store(sweep.out), spec, sweep.generations).to_dict()))
            < 10_000
        )


def test_lineages_of_one_process_open_a_dataset_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import sklearn.datasets

    from engine.datasets import digits

    opened, load_digits = list[str](), sklearn.datasets.load_digits

    def counted(**how: Any) -> Any:
        opened.append("digits")
        return load_digits(**how)

    monkeypatch.setattr(sklearn.datasets, "load_digits", counted)
    digits.read_digits.cache_clear()
    for seed in range(3):
        make("dataset", "digits").sample(50, np.random.default_rng(seed))
    assert opened == ["digits"]
