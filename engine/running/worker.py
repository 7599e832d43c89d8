"""One lineage at work in this process: opened lazily, advanced in steps, its errors recorded in the
store.

The Ray actor and `--local` both run this.  What is surely a bug ends the lineage with an error
record; what may pass (memory, disk, network) is raised, so that the scheduler tries again
elsewhere; here, where there is no elsewhere, it ends the lineage.
"""

from __future__ import annotations

import math
import signal
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from engine import files
from engine._memory import limit_memory, release_gpu, set_threads, share_gpu
from engine.commands import permitting
from engine.lineage.loop import Lineage
from engine.outcome.summary import at_end, at_start
from engine.running._printed import Printed
from engine.running.failure import MayPass, NotShared, failure_of, may_pass
from engine.running.job import Job, Watch
from engine.running.timeout import limit
from engine.status import Status
from engine.store.disk import Unwritable
from engine.store.failures import Failure
from engine.store.rows import Generation
from engine.store.stages import Teller
from engine.store.store import Store
from engine.training import progress

FOUND_SECONDS = 1.0  # generations that are in the store already are passed in one step for so long
STATUSES = tuple(Status)  # only numbers leave an actor


_stores: dict[str, Store] = {}


def store_at(url: str) -> Store:
    """The process's store of an output; its cache of rows serves one lineage after the other."""
    if url not in _stores:
        _stores[url] = Store(url)
    return _stores[url]


class Work:
    """step() -> what there is to report, as floats; `done` is True after the last one."""

    def __init__(self, job: Job, tick: Callable[[], None] = lambda: None) -> None:
        """tick: called now and then inside a generation that lasts."""
        self.job, self.tick = job, tick
        self.store = store_at(job.out)
        if self.store.local and not Path(self.store.root).is_dir():
            raise NotShared(
                f"{self.store.root} is not there on this machine; use a shared folder, or s3:// "
                "or gs://"
            )
        set_threads(job.resources.threads)
        share_gpu(job.resources.gpus)
        limit_memory(job.resources.memory_bytes)
        self.teller = Teller(self.store, job.spec.id)
        self.printed = Printed(self.store, job.spec.id)
        self.lineage: Lineage | None = None
        self.start = float("nan")

    def step(self) -> dict[str, float]:
        """At least one generation further.

        Raises MayPass, and Unwritable when the output is at fault and no part.
        """
        with (
            permitting(self.job.allow_commands, self.printed),
            progress.heard(self._hear),
        ):
            try:
                return self._step()
            finally:
                self.teller.committed()
                self.printed.keep()

    def _hear(self, stage: progress.Stage) -> None:
        self.teller.hear(stage)
        self.tick()

    def _step(self) -> dict[str, float]:
        try:
            if self.lineage is None and (
                known := self.store.failure(self.job.spec.id)
            ):  # its leader failed a moment ago
                return self._report(known.t - 1, Status.FAILED)
            return self._advance()
        except (Unwritable, NotShared, KeyboardInterrupt):
            raise
        except BaseException as error:  # SystemExit and its like, too: others are not ended by it
            failure = self.failure(error)
            if may_pass(error):
                raise MayPass(f"{failure.error}: {failure.message}", failure) from None
            return self.failed(failure)

    def _advance(self) -> dict[str, float]:
        job = self.job
        if self.lineage is None:
            self.lineage = Lineage(
                job.spec, self.store, generations=job.generations, metrics=job.metrics
            )
        lineage, fits, started = self.lineage, self.lineage.fits, time.monotonic()
        rows: list[Generation] = []
        together = (
            job.together if job.spec.generator.constant("COST") == "tiny" and job.until else 0.0
        )
        while (
            not self._has_ended()
            and lineage.fits == fits
            and (not rows or time.monotonic() - started < FOUND_SECONDS)
        ):
            with limit(self._seconds(), self._stuck):
                rows += lineage.advance_for(together)
        release_gpu()
        if math.isnan(self.start):  # of a task it is where the task arrives
            self.start = _or_nan(at_start(rows, job.headline))
        last = _or_nan(at_end(rows, job.headline))
        counts = {
            "new": float(lineage.fits - fits),
            "last": last,
            "seconds": time.monotonic() - started,
        }
        return (
            self._report(lineage.t - 1, lineage.outcome.status)
            | counts
            | {"done": self._has_ended()}
        )

    def _has_ended(self) -> bool:
        assert self.lineage is not None
        return self.lineage.done or self.lineage.t > self.job.until

    def _seconds(self) -> float | None:
        minutes = self.job.resources.timeout_minutes
        return None if minutes is None else 60 * minutes

    def failure(
        self, error: BaseException, frames: traceback.StackSummary | None = None
    ) -> Failure:
        """An error as the store keeps it, with the generation that was to be made, and where to
        read what programs have printed.
        """
        found = failure_of(error, self.lineage.t if self.lineage else 0, frames)
        return replace(found, printed=self.printed.place)

    def failed(self, failure: Failure) -> dict[str, float]:
        """End the lineage by an error."""
        self.store.fail(self.job.spec.id, failure)
        return self._report(failure.t - 1, Status.FAILED)

    def _stuck(self, error: Exception, where: traceback.StackSummary) -> None:
        """Told by the watch, from its thread, just before this process ends; whoever takes over
        finds the record.
        """
        self.printed.keep()
        self.store.fail(self.job.spec.id, self.failure(error, where))

    def _report(self, t: int, status: Status) -> dict[str, float]:
        nothing = {"new": 0.0, "last": float("nan"), "seconds": 0.0, "done": True}
        return {
            "generation": float(t),
            "status": float(STATUSES.index(status)),
            "start": self.start,
            **nothing,
        }


def _or_nan(number: float | None) -> float:
    return float("nan") if number is None else number


def run_local(
    jobs: Iterable[Job], watch: Watch, stopped: Callable[[], bool] = lambda: False
) -> None:
    """Run lineages in this process, one after the other, without Ray;
    `watch` hears what happens.
    """
    files.remove(files.of_dead_processes())
    _stores.clear()  # the output may be another one than at an earlier run of this process
    for job in jobs:
        work, done = Work(job, watch.tick), False
        while not done and not stopped():
            try:
                report = work.step()
            except MayPass as error:  # there is nowhere else to try
                report = work.failed(error.failure)
            except KeyboardInterrupt as error:
                if _is_users(stopped):
                    raise
                report = work.failed(work.failure(error))
            done = bool(report["done"])
            tell(watch, job, report)
        if stopped():
            return


def _is_users(stopped: Callable[[], bool]) -> bool:
    """Whether a KeyboardInterrupt is a Ctrl-C: one that nobody caught before, or that ours heard of
    too; else a part has raised it.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        return True
    time.sleep(0.1)  # who listens in another thread hears of it a moment later
    return stopped()


def tell(watch: Watch, job: Job, report: dict[str, float]) -> None:
    """Pass one report on to the screen."""
    counts = (int(report["new"]), report["seconds"], not report["done"])
    watch.row(job.spec.id, int(report["generation"]), report["last"], report["start"], *counts)
    if report["done"] and job.until == job.generations:
        watch.ended(job.spec.id, STATUSES[int(report["status"])])
    watch.tick()
