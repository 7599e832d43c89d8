"""Sweeps on a real local Ray: one run for most tests here, with parts that raise, diverge, or kill
their process.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine import files
from engine.lineage.history import History, histories
from engine.names import Names
from engine.outcome.summary import Spread, collapsed, drift, summarise
from engine.planning.plan import make_plan, order, paths
from engine.running import worker as work
from engine.running.failure import NotShared, exit_code, failure_of, may_pass
from engine.running.job import Job
from engine.running.prune import Pruner
from engine.running.ray_health import Heartbeat, RayDied
from engine.running.worker import Work, run_local
from engine.settings import CollapseRule
from engine.spec import Sweep
from engine.status import FailureKind, Status
from engine.store.rows import Generation
from engine.store.store import Store
from tests.support.houses import (
    STUMBLING,
    assert_nothing_is_left,
    assert_same,
    built,
    run_alone,
    states,
)
from tests.support.ouro import TINY, ouro
from tests.support.rows import failure, generation
from tests.support.sweeps import results, sweep_of

SWEEP = """
base:
  dataset: {name: gaussian, replicates: 5}
  n_real: 30
grid:
  generator: [gaussian, {name: stumbling, how: raise}, {name: stumbling, how: die},
              {name: stumbling, how: diverge}]
  policy: [replace, accumulate]
seeds: 1
generations: 4
metrics: [moments]
collapse: {metric: moments/trace_ratio, below: 0.5}
"""


# ---- one run on Ray ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with built(tmp_path_factory.mktemp("house")) as root:
        (root / "sweep.yaml").write_text(SWEEP)
        yield root


@pytest.fixture(scope="module")
def ran(house: Path) -> subprocess.CompletedProcess[str]:
    """The run, started in a process of its own."""
    return ouro("run", "sweep.yaml", "--cpus", "2", cwd=house, source=house)


def test_a_sweep_goes_on_whatever_its_lineages_do(
    house: Path, ran: subprocess.CompletedProcess[str]
) -> None:
    assert ran.returncode == 1, ran.stdout + ran.stderr
    found = {k: (v["status"], v["t"]) for k, v in states(house).items()}
    assert found == {
        "gaussian, replace 1": ("ok", 4),
        "gaussian, accumulate": ("ok", 4),
        "raise, replace 1": ("failed", 1),
        "raise, accumulate": ("failed", 1),
        "die, replace 1": ("ok", 4),
        "die, accumulate": ("ok", 4),
        "diverge, replace 1": ("diverged", 2),
        "diverge, accumulate": ("diverged", 2),
    }


def test_an_error_is_told_with_file_and_line(
    house: Path, ran: subprocess.CompletedProcess[str]
) -> None:
    line = (
        STUMBLING.splitlines().index('                raise ZeroDivisionError("as it was told to")')
        + 1
    )
    told = f"ZeroDivisionError: as it was told to (engine/generators/stumbling.py:{line})"
    assert states(house)["raise, replace 1"]["reason"] == told
    words = " ".join((ran.stdout + ran.stderr).split())
    assert told in words and "Traceback" not in words
    store = Store(str(house / "runs" / "sweep"))
    failures = [store.failure(Path(name).stem) for name in store.names("failures")]
    assert len(failures) == 2 and all(f and "Traceback" in f.traceback for f in failures)


def test_a_process_that_died_is_replaced(
    house: Path, ran: subprocess.CompletedProcess[str]
) -> None:
    """Its lineage goes on where it was, with the bits it would have had; Ray's words about it are
    in the log.
    """
    assert (house / "die").exists(), "nothing died"
    lonely = house / "lonely"
    lonely.mkdir()
    assert run_alone(house, "sweep.yaml", lonely).returncode == 1
    assert_same(house / "runs" / "sweep", lonely)
    assert "ActorDiedError" in (house / "runs" / "sweep" / "logs" / "sweep.log").read_text()


def test_nothing_is_left_behind(house: Path, ran: subprocess.CompletedProcess[str]) -> None:
    assert_nothing_is_left(house, seconds=5)


def test_the_terminal_is_ours(ran: subprocess.CompletedProcess[str]) -> None:
    """No word of Ray, MLflow or a library: only our plan, progress and summary."""
    assert ran.stderr == ""
    for word in ("ray", "tune", "trial", "actor", "warning", "deprecat", "alembic", "INFO"):
        assert word not in ran.stdout.replace("array", ""), f"{word!r} in:\n{ran.stdout}"


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning"
)  # of MLflow's own libraries, in the test's own client
def test_mlflow_mirrors_the_run(house: Path, ran: subprocess.CompletedProcess[str]) -> None:
    from mlflow import MlflowClient

    from engine.tracking.mlflow_rows import local
    from engine.tracking.mlflow_runs import rows  # takes seconds to import

    uri = local(house / "runs" / "sweep")[0]
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("sweep")
    assert experiment is not None
    runs = {r.info.run_name: r.info.status for r in client.search_runs([experiment.experiment_id])}
    kinds = sorted(runs.values())
    assert (
        len(runs) == 9 and kinds.count("FAILED") == 3 and kinds.count("FINISHED") == 6
    )  # 8 lineages and their parent
    store = Store(str(house / "runs" / "sweep"))
    distinct = {(row["lineage"], row["t"]) for row in rows(uri, "sweep")}
    assert len(distinct) == 4 * 5 + 2 * 2 + 2 * 3 and len(list(store.names("lineages"))) == 8


def test_after_the_repair_the_same_command_ends_well(
    house: Path, ran: subprocess.CompletedProcess[str]
) -> None:
    os.environ["REPAIRED"] = "1"
    try:
        again = ouro("run", "sweep.yaml", "--local", cwd=house, source=house)
    finally:
        del os.environ["REPAIRED"]
    assert again.returncode == 0, again.stdout + again.stderr
    assert {v["status"] for v in states(house).values()} == {"ok", "diverged"}
    assert not list((house / "runs" / "sweep" / "failures").iterdir())


def test_a_tracking_server_that_is_not_there_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(
        TINY.replace("tracking: none", "tracking: 'http://127.0.0.1:9'")
    )
    ran = ouro("run", "tiny.yaml", "--local", "--set", "seeds=1", cwd=tmp_path)
    words = " ".join(ran.stdout.split())
    assert (
        ran.returncode == 0
        and "all 6 lineages have an outcome" in words
        and "MLflow is behind" in words
        and not ran.stderr
    )


@pytest.mark.slow
def test_more_than_the_machine_has_is_refused(house: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    ran = ouro("run", "tiny.yaml", "--set", "resources={cpu: 1, gpu: 99}", cwd=tmp_path)
    assert ran.returncode == 4 and "asks for 99 GPU" in ran.stderr and "Traceback" not in ran.stderr


# ---- what a trial does, in this process ----------------------------------------------------------


def jobs_of(sweep: Sweep) -> list[Job]:
    store = Store(sweep.out)
    return [Job.of(sweep, store, spec, sweep.generations) for spec in sweep.lineages]


class Heard:
    """Remembers what a sweep tells."""

    def __init__(self) -> None:
        self.rows: list[tuple[Any, ...]] = []
        self.ends: dict[str, str] = {}
        self.ticks = 0

    def row(self, *report: Any) -> None:
        self.rows.append(report)

    def ended(self, lineage: str, status: str) -> None:
        self.ends[lineage] = status

    def note(self, text: str) -> None: ...

    def tick(self) -> None:
        self.ticks += 1


def test_without_ray_the_same_lineages_end(tmp_path: Path) -> None:
    sweep = sweep_of(TINY, tmp_path)
    Path(sweep.out).mkdir()
    heard = Heard()
    run_local(jobs_of(sweep), heard)
    assert heard.ends == {spec.id: "ok" for spec in sweep.lineages}
    plan = make_plan(sweep, Store(sweep.out), 2)
    assert plan.missing == 0 and sum(row[4] for row in heard.rows) >= plan.unique
    assert all(h.status == "ok" and h.t == 4 for h in histories(sweep, Store(sweep.out)).values())


def test_run_local_stops_between_generations(tmp_path: Path) -> None:
    sweep = sweep_of(TINY, tmp_path)
    Path(sweep.out).mkdir()
    heard = Heard()
    run_local(jobs_of(sweep), heard, lambda: len(heard.rows) >= 3)
    assert len(heard.rows) == 3 and len(heard.ends) < len(sweep.lineages)


def test_a_leader_stops_at_generation_0(tmp_path: Path) -> None:
    sweep = sweep_of(TINY, tmp_path)
    Path(sweep.out).mkdir()
    spec, store = sweep.lineages[0], Store(sweep.out)
    report = Work(Job.of(sweep, store, spec, 0)).step()
    assert (
        report["done"]
        and report["generation"] == 0
        and report["new"] == 1
        and report["status"] == 0
    )
    assert all(isinstance(v, float | bool) for v in report.values()), "only numbers leave an actor"
    assert histories(sweep, store)[spec.id].t == 0
    last = Work(Job.of(sweep, store, spec, 4))
    while not (report := last.step())["done"]:
        pass
    assert report["generation"] == 4


def test_found_generations_take_one_step(tmp_path: Path) -> None:
    sweep = sweep_of(TINY, tmp_path, "generations=20")
    Path(sweep.out).mkdir()
    run_local(jobs_of(sweep), Heard())
    again = Heard()
    run_local(jobs_of(sweep), again)
    assert len(again.rows) == len(sweep.lineages) and sum(row[4] for row in again.rows) == 0


def test_a_failed_leader_is_not_tried_twice(tmp_path: Path) -> None:
    sweep = sweep_of(TINY, tmp_path)
    Path(sweep.out).mkdir()
    store = Store(sweep.out)
    job = Job.of(sweep, store, sweep.lineages[0], 4)
    store.fail(job.spec.id, failure_of(ValueError("no"), 2))
    report = Work(job).step()
    assert (
        report["done"]
        and work.STATUSES[int(report["status"])] == "failed"
        and report["generation"] == 1
    )


def test_a_job_travels_as_plain_values(tmp_path: Path) -> None:
    for job in jobs_of(sweep_of(TINY, tmp_path)):
        assert Job.from_dict(json.loads(json.dumps(job.to_dict()))) == job


def test_an_output_that_a_machine_does_not_see(tmp_path: Path) -> None:
    job = jobs_of(sweep_of(TINY, tmp_path))[0]
    with pytest.raises(NotShared, match="not there on this machine"):
        Work(job)


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (MemoryError(), True),
        (OSError(errno.ENOSPC, "full"), True),
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA"), True),
        (FileNotFoundError("mnist"), False),
        (ZeroDivisionError(), False),
        (ValueError("n_real"), False),
        (AssertionError(), False),
    ],
)
def test_what_is_worth_another_try(error: Exception, again: bool) -> None:
    assert may_pass(error) == again


def test_threads_are_the_whole_cpus_of_a_lineage(tmp_path: Path) -> None:
    for cpu, expected in ((0.5, 1), (1, 1), (2.5, 2)):
        assert (
            jobs_of(sweep_of(TINY, tmp_path, f"resources={{cpu: {cpu}}}"))[0].resources.threads
            == expected
        )


# ---- order, keeping, ends ------------------------------------------------------------------------


def test_founders_first_and_repeats_last(tmp_path: Path) -> None:
    sweep = sweep_of(TINY, tmp_path)
    known = paths(sweep)
    todo = order(sweep.lineages, known, sweep.generations)
    leaders, rest = todo[:2], todo[2:]
    assert [until for _, until in todo] == [0, 0] + [4] * 12
    assert {known[s.id][0].model for s, _ in leaders} == {
        nodes[0].model for nodes in known.values()
    }
    ends = [known[s.id][-1].draw for s, _ in rest]
    distinct = len(set(ends))
    assert len(set(ends[:distinct])) == distinct < len(ends), "a repeat runs before all originals"
    assert order(sweep.lineages[:1], known, 4) == [(sweep.lineages[0], 4)], (
        "a founder of one lineage needs no leader"
    )


def test_the_keep_rule_waits_for_those_who_need_it(tmp_path: Path) -> None:
    sweep = sweep_of(TINY, tmp_path, "keep=last", "base.generator=kde")
    Path(sweep.out).mkdir()
    run_local(jobs_of(sweep), Heard())
    store, known = Store(sweep.out), paths(sweep)
    samples = {
        key: tmp_path / "out" / "draws" / key / "samples.safetensors"
        for n in known.values()
        for key in [x.draw for x in n]
    }
    stored = {key for key, file in samples.items() if file.exists()}
    pruner = Pruner(sweep, store, known)
    for spec in sweep.lineages:
        pruner.begin(spec)
    first, *others = sweep.lineages
    pruner.ended(first.id)
    needed = {n.draw for s in others for n in known[s.id]}
    assert all(samples[key].exists() for key in stored & needed)
    for spec in others:
        pruner.ended(spec.id)
    last = {nodes[-1].draw for nodes in known.values()}
    assert {key for key, file in samples.items() if file.exists()} == stored & last
    before = results(sweep)
    run_local(jobs_of(sweep), Heard())
    assert results(sweep) == before and all(
        h.status == "ok" for h in histories(sweep, Store(sweep.out)).values()
    )


def row(t: int, status: str = "ok", **values: float) -> Generation:
    return generation("a", t, values, status=status)


def lived(sweep: Sweep, status: str, *fids: float, reason: str = "") -> History:
    """A lineage with these values of fid, the last one under its status."""
    ended = "ok" if status in ("unfinished", "failed") else status
    states = ["ok"] * (len(fids) - 1) + [ended]
    rows = tuple(
        row(t, state, fid=v) for t, (v, state) in enumerate(zip(fids, states, strict=False))
    )
    return History(sweep.lineages[0], rows, Status(status), reason)


def test_exit_codes_come_from_what_is_there(tmp_path: Path) -> None:
    sweep = sweep_of(TINY, tmp_path)
    ok, dead, failed = (
        lived(sweep, "ok", 1.0),
        lived(sweep, "diverged", 1.0),
        lived(sweep, "failed", reason="ValueError: x"),
    )
    unfinished = lived(sweep, "unfinished", 1.0)
    assert exit_code([ok, dead]) == 0
    assert exit_code([ok, failed]) == 1 == exit_code([ok, unfinished])
    assert (
        exit_code([ok, unfinished], signal.SIGINT) == 130
        and exit_code([unfinished], signal.SIGTERM) == 143
    )
    assert exit_code([ok], signal.SIGINT) == 0, (
        "interrupted after the last commit: nothing is missing"
    )
    assert exit_code([ok, unfinished], dead=True) == 4
    kinds = {kind: replace(failed, failure=failure(kind)) for kind in FailureKind}
    assert exit_code([kinds["not_reproduced"], kinds["environment"], ok]) == 5
    assert exit_code([kinds["environment"], kinds["bug"], unfinished], signal.SIGINT) == 4
    assert exit_code([kinds["bug"], ok]) == 1 == exit_code([kinds["passing"], ok])
    said = replace(failed, reason="NotReproduced: FileNotFoundError", failure=failure("bug"))
    assert exit_code([said]) == 1, "what an error says of itself is no exit code"


def test_drift_and_verdict(tmp_path: Path) -> None:
    sweep = sweep_of(TINY, tmp_path)
    above, below = CollapseRule(metric="fid", above=3.0), CollapseRule(metric="fid", below=0.5)
    assert drift(lived(sweep, "ok", 2.0, 3.0, 8.0).rows, "fid") == 4.0
    assert collapsed(lived(sweep, "ok", 2.0, 8.0), above) is True
    assert collapsed(lived(sweep, "ok", 2.0, 6.0), above) is False, "above is strict"
    assert collapsed(lived(sweep, "ok", 2.0, 0.9), below) is True
    assert collapsed(lived(sweep, "diverged", 2.0), above) is True, "a divergence is a collapse"
    assert collapsed(lived(sweep, "quota_unfilled", 2.0), above) is False
    assert collapsed(lived(sweep, "unfinished", 2.0, 8.0), above) is None, (
        "an unfinished lineage has no verdict"
    )
    assert collapsed(lived(sweep, "ok", 0.0, 8.0), above) is None, "nothing is a multiple of zero"
    assert collapsed(lived(sweep, "ok", 2.0, 8.0), None) is None
    later = (*lived(sweep, "ok", 2.0, 8.0).rows, row(2))
    assert drift(later, "fid") == 4.0, "the last generation at which it was due"
    assert Spread.of([None, float("nan")]) is None and Spread.of([1.0, None, 3.0]) == Spread(
        2.0, 1.0, 3.0, 2
    )


KL = "moments/kl"  # what `moments` is judged by


def test_a_cell_is_judged_over_its_seeds(tmp_path: Path) -> None:
    sweep = sweep_of(
        TINY.replace("moments/trace_ratio", "moments"),
        tmp_path,
        "collapse={metric: moments, above: 2.0}",
        "seeds=3",
    )
    values = {0: 1.5, 1: 2.5, 2: 3.5}
    lives = {
        s.id: History(s, (row(0, **{KL: 1.0}), row(4, **{KL: values[s.seed]})), Status.OK)
        for s in sweep.lineages
    }
    cells, names = summarise(sweep, lives), Names(sweep.lineages)
    assert [c.label for c in cells] == list(dict.fromkeys(map(names.cell, sweep.lineages)))
    assert len({c.label for c in cells}) == 6
    assert all((c.verdict, c.drift) == ("collapsed 2/3", Spread(2.5, 1.5, 3.5, 3)) for c in cells)


def test_scratch_folders_of_dead_runs_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert len(str(files.scratch_folder())) < 60, "Ray's socket paths would be too long"
    gone = tmp_path / f"{files.PREFIX}999999999-abc"
    gone.mkdir()
    mine = tmp_path / f"{files.PREFIX}{os.getpid()}-abc"
    mine.mkdir()
    assert [p for p in files.of_dead_processes() if p.parent == tmp_path] == [gone]
    (tmp_path / f"{files.PREFIX}{os.getpid()}-weights-abc").mkdir()
    assert [p for p in files.of_former_self() if p.parent == tmp_path] == [mine], (
        "MLflow's copies of weights are in use"
    )


def test_a_dead_control_store_is_noticed() -> None:
    import socket

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        pulse = Heartbeat(f"127.0.0.1:{server.getsockname()[1]}", None)
        pulse.looked -= 10
        pulse.check()
        assert pulse.dead() == ""
    pulse.heard -= 60
    pulse.looked -= 10
    with pytest.raises(RayDied, match="has not answered"):
        pulse.check()
