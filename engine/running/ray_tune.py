"""Ray Tune places lineages on machines and restarts what died: one trial = one actor = one lineage;
one step = one generation.

Tune holds no state of ours: its checkpoints and loggers are off, its scratch folder is thrown away,
and every start builds what the store lacks.  The only file that imports ray.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

SETTINGS = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Tune's would end the run without a word
    **dict.fromkeys(("TUNE_GLOBAL_CHECKPOINT_S", "TUNE_WARN_THRESHOLD_S"), "1000000"),
}
for _name, _value in SETTINGS.items():
    os.environ.setdefault(_name, _value)
# else Ray ends this process without a word a minute after its control store fell silent
os.environ |= {"RAY_gcs_rpc_server_reconnect_timeout_s": "1000000"}

import ray  # noqa: E402
from ray import tune  # noqa: E402
from ray.job_config import JobConfig  # noqa: E402
from ray.tune.search import Searcher  # noqa: E402

from engine import files, registry  # noqa: E402
from engine.running._capacity import amounts, lack, places  # noqa: E402
from engine.running._deaths import WorkerDied, error_of, gave_up, tell_exits, why  # noqa: E402
from engine.running._paths import hides  # noqa: E402
from engine.running.failure import NotShared  # noqa: E402
from engine.running.job import Job, Source, Watch  # noqa: E402
from engine.running.ray_health import Heartbeat, ProcessTree, RayDied  # noqa: E402
from engine.running.signals import GENERATION_SECONDS, Interrupt  # noqa: E402
from engine.running.worker import Work, tell  # noqa: E402
from engine.status import Status  # noqa: E402
from engine.store.disk import Unwritable  # noqa: E402
from engine.store.store import Store  # noqa: E402

RETRIES = 3  # of a lineage whose process died
OBJECTS_BYTES = 100 * 2**20  # Ray's shared memory; our data do not go through it
TrialConfig = dict[str, str]  # Tune's, of one lineage: its job as one text
LINEAGES = "ray::LineageActor"  # how Ray names the processes of lineages


class Unsatisfiable(RuntimeError):
    """The machines at hand cannot run this sweep; says what is missing."""


# ---- in the actor --------------------------------------------------------------------------------


class LineageActor(tune.Trainable):
    """One lineage.

    Everything is opened in the first step: `setup` may run twice, in two processes, for one trial.
    """

    def setup(self, config: TrialConfig, own: str = "") -> None:
        """own: the parts that are not the engine's, as texts."""
        tell_exits()
        if own:
            registry.receive(json.loads(own))
        self.job = _job(config)
        self.work: Work | None = None

    def reset_config(self, new_config: TrialConfig) -> bool:
        self.setup(new_config)
        return True

    def step(self) -> dict[str, float]:
        self.work = self.work or Work(self.job)
        try:
            return self.work.step()
        except KeyboardInterrupt as error:  # no terminal reaches an actor: a part has raised it
            return self.work.failed(self.work.failure(error))

    @classmethod
    def default_resource_request(cls, config: TrialConfig) -> tune.PlacementGroupFactory:
        return tune.PlacementGroupFactory([amounts(_job(config).resources)])


def _packed(job: Job) -> str:
    """As one text: Tune copies its whole grid for every lineage of it, and of 10,000 dicts that
    takes half an hour.
    """
    return json.dumps(job.to_dict())


def _job(config: TrialConfig) -> Job:
    return Job.from_dict(json.loads(config["job"]))


class _Paths(JobConfig):
    """Lets workers look for modules where this process stands, but not in a folder whose `engine`
    or `analysis` would hide ours.
    """

    def _get_proto_job_config(self) -> Any:
        mine = [path for path in self._py_driver_sys_path if not hides(Path(path))]
        self._py_driver_sys_path = mine
        return super()._get_proto_job_config()  # type: ignore[no-untyped-call]  # Ray's


# ---- in the driver -------------------------------------------------------------------------------


@dataclass
class _Run:
    """What Tune's callbacks need.

    They are pickled by Tune, so they find it in this module instead of holding it.
    """

    store: Store
    watch: Watch
    interrupt: Interrupt
    heartbeat: Heartbeat
    logs: Path | None = None  # of a Ray of our own, with the stderr of workers
    source: Source | None = None
    announced: bool = False


_runs: list[_Run] = []


class _Interrupted(Exception):
    """While Ray was starting."""


class _Watch(tune.Callback):
    """Tells the screen what Tune tells us, and looks several times a second whether Ray is
    alive.
    """

    def on_step_begin(self, iteration: int, trials: list[Any], **_: Any) -> None:
        run = _runs[-1]
        run.watch.tick()
        run.heartbeat.check()

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any
    ) -> None:
        tell(_runs[-1].watch, _job(trial.config), result)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Tune keeps statistics of every number a trial has reported: half of what the driver gains
        per lineage.
        """
        trial.run_metadata.metric_analysis.clear()
        trial.run_metadata.metric_n_steps.clear()

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        _crashed(_runs[-1], _job(trial.config), error_of(trial))


class _Asked(Searcher):
    """Tune's way of asking for one lineage after the other.

    It keeps no state: that is in the store.
    """

    def suggest(self, trial_id: str) -> Any:
        run = _runs[-1]
        assert run.source is not None
        job = None if run.interrupt else run.source.next()
        if job is not None:
            return {"job": _packed(job)}
        return Searcher.FINISHED if run.interrupt or run.source.finished else None

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """The watch has heard of it."""

    def save(self, checkpoint_path: str) -> None:
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Nothing was kept."""


class _Stop(tune.Stopper):
    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        run = _runs[-1]
        if run.interrupt and not run.announced:
            run.announced = True
            seconds = f"{GENERATION_SECONDS:.0f} s for the generations in flight"
            run.watch.note(
                f"stopping, with {seconds}; once more stops at once (either way the state is saved)"
            )
        return bool(run.interrupt)


def _crashed(run: _Run, job: Job, error: Any) -> None:
    """A lineage whose retries are spent: its process died, or memory, disk or network failed."""
    cause = getattr(error, "cause", None) or error
    if isinstance(cause, NotShared):
        raise Unsatisfiable(str(cause))
    if isinstance(cause, Unwritable):
        raise cause
    if isinstance(cause, ray.exceptions.RayActorError):
        cause = WorkerDied(why(str(cause), run.logs))
    run.store.fail(job.spec.id, gave_up(cause, RETRIES + 1))
    run.watch.ended(job.spec.id, Status.FAILED)


def run_sweep(
    jobs: Sequence[Job],
    store: Store,
    watch: Watch,
    interrupt: Interrupt,
    *,
    address: str | None = None,
    cpus: int | None = None,
    source: Source | None = None,
) -> None:
    """Run jobs in order, as many at once as the machines hold, until all are over or `interrupt` is
    set.

    source: asked for jobs instead; `jobs` are then one of each kind that it may ask for.
    address: an existing Ray cluster; None starts Ray on this machine and ends it afterwards.
    Raises RayDied or Unsatisfiable; outcomes are in the store.
    """
    files.remove([*files.of_dead_processes(), *files.of_former_self()])
    elastic = address is not None  # a cluster may grow
    folder, processes = files.scratch_folder(), ProcessTree() if address is None else None
    logs = folder / "session_latest" / "logs" if address is None else None
    interrupt.leaving = [lambda: files.remove([folder])]
    if processes is not None:
        interrupt.hurry, interrupt.leaving = (
            partial(processes.end, LINEAGES),
            [processes.end, *interrupt.leaving],
        )

    def gone(why: str) -> None:
        """A Ray of our own has died: `watch.died` may start this process anew."""
        if processes is not None and not interrupt:
            interrupt.leave_nothing()
            watch.died(why)

    try:
        with _ray(folder, address, cpus, gone), _watched(processes, gone, interrupt) as heartbeat:
            interrupt.listen()
            _satisfiable(jobs, elastic=elastic, watch=watch)
            _runs.append(_Run(store, watch, interrupt, heartbeat, logs, source))
            if not interrupt:
                at_once = (
                    places(jobs, _resources(), elastic=elastic) if source is not None else None
                )
                _tuner(jobs, folder, at_once).fit()
    except (RayDied, _Interrupted):
        if not interrupt:
            raise
    finally:
        _runs.clear()
        interrupt.leave_nothing()


@contextlib.contextmanager
def _ray(
    folder: Path, address: str | None, cpus: int | None, gone: Callable[[str], None]
) -> Iterator[None]:
    """Ray, started or joined, and ended or left."""
    quiet: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
    try:
        if address is None:
            own: dict[str, Any] = {
                "num_cpus": cpus or len(os.sched_getaffinity(0)),
                "object_store_memory": OBJECTS_BYTES,
            }
            ray.init(
                address="local",
                include_dashboard=False,
                job_config=_Paths(),
                _temp_dir=str(folder),
                **own,
                **quiet,
            )
        else:
            ray.init(address=address, **quiet)
    except SystemExit:  # what Ray makes of SIGTERM while it starts
        raise _Interrupted from None
    except Exception as error:  # of Ray's own kind, or of none
        if address is not None:
            raise Unsatisfiable(f"cannot join the Ray cluster at {address}: {error}") from None
        gone(why := f"it did not start: {(str(error).splitlines() or [''])[0]}")
        raise RayDied(f"Ray has died: {why}") from None
    try:
        yield
    finally:
        _shut_down()


@contextlib.contextmanager
def _watched(
    processes: ProcessTree | None, gone: Callable[[str], None], interrupt: Interrupt
) -> Iterator[Heartbeat]:
    """Watched from here and from a thread beside, for the driver may hang."""

    def stalled(why: str) -> None:
        gone(why)
        interrupt.abandon(why)

    heartbeat = Heartbeat(ray.get_runtime_context().gcs_address, processes)
    ended = heartbeat.watch(stalled)
    try:
        yield heartbeat
    except RayDied as died:
        gone(str(died))
        raise
    finally:
        ended.set()


def _shut_down() -> None:
    """ray.shutdown, which can wait for ever when Ray has died."""
    thread = threading.Thread(target=ray.shutdown, daemon=True)
    thread.start()
    thread.join(20)


def _satisfiable(jobs: Sequence[Job], *, elastic: bool, watch: Watch) -> None:
    """Tune would wait for ever for a GPU that is not there: say so instead.

    A cluster may grow, so there it is a remark.
    """
    if text := lack(jobs, _resources()):
        if not elastic:
            mend = "change resources in the file, or use --address of a cluster that has them"
            raise Unsatisfiable(f"{text}; {mend}")
        watch.note(f"{text}; waiting for the cluster to grow")


def _resources() -> dict[str, float]:
    """What the machines have, by Ray's names."""
    have: dict[str, float] = ray.cluster_resources()
    return have


def _actor() -> type[LineageActor]:
    """The actor, which brings the parts that no worker has: their texts, once for all lineages."""
    own = registry.travelling()
    if not own:
        return LineageActor
    actor: type[LineageActor] = tune.with_parameters(LineageActor, own=json.dumps(own))
    actor.__qualname__ = LineageActor.__qualname__  # by which its processes are called
    return actor


def _tuner(jobs: Sequence[Job], folder: Path, at_once: int | None) -> tune.Tuner:
    """at_once: so many, each asked for when a place is free; None: the jobs themselves, as many as
    fit.
    """
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    one_by_one: dict[str, Any] = {
        "search_alg": _Asked(),
        "num_samples": -1,
        "max_concurrent_trials": at_once,
    }
    return tune.Tuner(
        _actor(),
        param_space={} if at_once else {"job": tune.grid_search([_packed(job) for job in jobs])},
        tune_config=tune.TuneConfig(
            reuse_actors=True,
            trial_name_creator=_name_of,
            trial_dirname_creator=_name_of,
            **(one_by_one if at_once else {}),
        ),
        run_config=tune.RunConfig(
            name="sweep",
            storage_path=str(folder / "tune"),
            verbose=0,
            callbacks=[_Watch()],
            stop=_Stop(),
            checkpoint_config=tune.CheckpointConfig(
                checkpoint_frequency=0, checkpoint_at_end=False
            ),
            failure_config=tune.FailureConfig(max_failures=RETRIES),
        ),
    )


def _name_of(trial: Any) -> str:
    return str(trial.trial_id)
