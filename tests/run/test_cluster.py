"""Clusters of processes of this machine: cluster.yaml under Ray's autoscaler with its fake
provider; the Jobs API; the token.

Each has its own folder, ports and token, and only its processes are ended, by their ids.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import yaml

from engine.running._capacity import places
from engine.settings import Share
from tests.support.ouro import ROOT, environment, ouro

HEAD = "fffffffffffffffffffffffffffffffffffffffffffffffffff00000"
RAY, OURO = [sys.executable, "-m", "ray.scripts.scripts"], [sys.executable, "-m", "engine.cli"]
SWEEP = """
base:
  dataset: {name: gaussian, replicates: 5}
  generator: gaussian
  n_real: 30
grid:
  policy: [replace, accumulate]
seeds: 2
generations: 3
metrics: [moments]
tracking: none
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def fake_config(port: int) -> dict[str, object]:
    """cluster.yaml with processes in place of AWS's machines."""
    ours = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    types = {
        name: {**node, "node_config": {}} for name, node in ours["available_node_types"].items()
    }
    provider = {
        "type": "external",
        "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
        "gcs_address": f"127.0.0.1:{port}",
        "launch_multiple": True,
        "head_node_id": HEAD,
    }
    none = {name: [] for name in ours if name.endswith("_commands")} | {
        "auth": {},
        "docker": {},
        "file_mounts": {},
    }
    return {**ours, **none, "available_node_types": types, "provider": provider}


@dataclass
class Cluster:
    address: str
    jobs: str
    settings: dict[str, str]
    folder: Path

    def run(self, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
        own = {**environment(), **self.settings, **settings}
        return subprocess.run(
            words,
            cwd=self.folder,
            env=own,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )


@contextlib.contextmanager
def head(folder: Path, port: int, words: list[str], **more: str) -> Iterator[Cluster]:
    """`ray start --head`, asking for a token."""
    pytest.importorskip("aiohttp_cors", reason="the Jobs API needs ray[default]")
    dashboard, log = free_port(), folder / "ray.log"
    (folder / "sweep.yaml").write_text(SWEEP)
    (folder / "token").touch(0o600)
    (folder / "token").write_text("0123456789abcdef" * 4)
    settings = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    with tempfile.TemporaryDirectory(prefix="o-", dir="/tmp") as own, open(log, "wb") as out:
        command = [
            *RAY,
            "start",
            "--head",
            "--block",
            f"--port={port}",
            f"--temp-dir={own}",
            "--object-store-memory=100000000",
        ]
        command += [
            "--node-ip-address=127.0.0.1",
            "--dashboard-host=127.0.0.1",
            f"--dashboard-port={dashboard}",
        ]
        command += [f"--dashboard-agent-listen-port={free_port()}", *words]
        process = subprocess.Popen(
            command, cwd=folder, env={**environment(), **settings, **more}, stdout=out, stderr=out
        )
        try:
            _wait(process, dashboard, log)
            yield Cluster(f"127.0.0.1:{port}", f"http://127.0.0.1:{dashboard}", settings, folder)
        finally:
            _end(psutil.Process(process.pid))


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of one machine, with a pretended GPU."""
    with head(
        tmp_path_factory.mktemp("machine"), free_port(), ["--num-cpus=2", "--num-gpus=1"]
    ) as started:
        yield started


@pytest.fixture
def growing(tmp_path: Path) -> Iterator[Cluster]:
    """A head without CPUs, and workers that are started when lineages wait for them."""
    port = free_port()
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(fake_config(port)))
    known = {
        "RAY_CLOUD_INSTANCE_ID": HEAD,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD,
        "RAY_NODE_TYPE_NAME": "ray.head.default",
    }
    fake = {
        "RAY_FAKE_CLUSTER": "1",
        "RAY_enable_autoscaler_v2": "1",
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    }
    words = ["--num-cpus=0", f"--autoscaling-config={tmp_path / 'config.yaml'}"]
    with head(tmp_path, port, words, **known, **fake) as started:
        yield started


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise AssertionError(log.read_text())


def _end(head: psutil.Process) -> None:
    family = [head, *head.children(recursive=True)]
    for process in family:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(family, timeout=10)


@pytest.mark.slow
def test_workers_come_from_none_when_lineages_wait(growing: Cluster) -> None:
    ran = growing.run(
        *OURO, "run", "sweep.yaml", "--address", growing.address, "--set", "resources.gpu=0.5"
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    said = " ".join(ran.stdout.split())
    assert "waiting for the cluster to grow" in said and "all 4 lineages have an outcome" in said


@pytest.mark.slow
def test_a_job_runs_on_the_cluster_and_its_end_is_told(machine: Cluster) -> None:
    """Ray sets RAY_ADDRESS in the job; of any failure of its command it makes exit code 1, and says
    which it was.
    """
    words = [
        *RAY,
        "job",
        "submit",
        "--address",
        machine.jobs,
        "--working-dir",
        ".",
        "--",
        *OURO,
        "run",
        "sweep.yaml",
    ]
    words += [
        "--set",
        "resources.gpu=0.5",
    ]  # pretended there, and not to be had from a Ray of its own
    ran = machine.run(*words, "--out", str(machine.folder / "by-job"))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "all 4 lineages have an outcome" in " ".join(ran.stdout.split())
    wrong = machine.run(*words, "--set", "n_real=-1")
    assert wrong.returncode == 1 and "exit code 2" in " ".join(
        (wrong.stdout + wrong.stderr).split()
    )


@pytest.mark.slow
def test_nobody_joins_without_the_token(machine: Cluster) -> None:
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{machine.jobs}/api/jobs/", timeout=30)
    ran = machine.run(
        *OURO,
        "run",
        "sweep.yaml",
        "--out",
        "other",
        "--address",
        machine.address,
        RAY_AUTH_TOKEN="f" * 64,
    )
    assert ran.returncode == 4 and "cannot join the Ray cluster" in ran.stderr, (
        ran.stdout + ran.stderr
    )


def test_the_address_of_the_jobs_api_is_not_a_cluster_to_join(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    ran = ouro("run", "sweep.yaml", cwd=tmp_path)
    assert ran.returncode == 2 and "ray job submit --address http://127.0.0.1:8265" in " ".join(
        ran.stderr.split()
    )
    assert ouro("run", "sweep.yaml", "--local", cwd=tmp_path).returncode == 0


def test_a_search_asks_a_cluster_without_workers_for_one_lineage_of_each_kind() -> None:
    """Otherwise one would run after the other: Ray starts machines for what waits."""
    jobs: Any = [SimpleNamespace(resources=Share(cpu=1, gpu=gpu)) for gpu in (0.5, 1.0, 0.25)]
    for have, wanted in (({}, (3, 1)), ({"CPU": 8.0, "GPU": 2.0}, (8, 8))):
        assert tuple(places(jobs, have, elastic=elastic) for elastic in (True, False)) == wanted
