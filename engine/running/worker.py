"""One lineage at work in this process: opened lazily, advanced in steps, its errors recorded in the
store.

The Ray actor and `--local` both run this.  What is surely a bug ends the lineage with an error
record; what may pass (memory, disk, network) is raised, so that the scheduler tries again
elsewhere; here, where there is no elsewhere, it ends the lineage.
"""

from __future__ import annotations

import errno
import os
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from engine import files
from engine._memory import limit_memory, release_gpu, set_threads, share_gpu
from engine.lineage.loop import ENDS, Lineage
from engine.outcome.summary import value
from engine.running.job import Job, Watch
from engine.running.timeout import limit
from engine.store.disk import Unwritable
from engine.store.store import Row, Store

FOUND_SECONDS = 1.0  # generations that are in the store already are passed in one step for so long
STATUSES = ("ok", "failed", *ENDS, "class_extinct")  # only numbers leave an actor
LONGEST = 2000  # characters of an error's message; of its traceback ten times as many
PASSING = {errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.ESTALE, errno.ENOMEM}


class NotShared(RuntimeError):
    """The output is a local folder that this machine does not see."""


class MayPass(RuntimeError):
    """An error that another try may not meet.

    record: as the store keeps it; the error itself might not travel.
    """

    def __init__(self, message: str, record: dict[str, Any]) -> None:
        super().__init__(message, record)
        self.record = record

    def __str__(self) -> str:
        return str(self.args[0])


_stores: dict[str, Store] = {}


def store_at(url: str) -> Store:
    """The process's store of an output; its cache of rows serves one lineage after the other."""
    if url not in _stores:
        _stores[url] = Store(url)
    return _stores[url]


class Work:
    """step() -> what there is to report, as floats; `done` is True after the last one."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.store = store_at(job.out)
        if self.store.local and not Path(self.store.root).is_dir():
            raise NotShared(
                f"{self.store.root} is not there on this machine; use a shared folder, or s3:// "
                "or gs://"
            )
        set_threads(job.resources.threads)
        share_gpu(job.resources.gpus)
        limit_memory(job.resources.memory_bytes)
        self.lineage: Lineage | None = None
        self.start = float("nan")

    def step(self) -> dict[str, float]:
        """At least one generation further.

        Raises MayPass, and Unwritable when the output is at fault and no part.
        """
        try:
            if self.lineage is None and (
                known := self.store.failure(self.job.spec.id)
            ):  # its leader failed a moment ago
                return self._report(known["t"] - 1, "failed")
            return self._advance()
        except (Unwritable, NotShared):
            raise
        except Exception as error:
            record = self.record(error)
            if passing(error):
                raise MayPass(f"{record['error']}: {record['message']}", record) from None
            return self.failed(record)

    def _advance(self) -> dict[str, float]:
        job = self.job
        if self.lineage is None:
            self.lineage = Lineage(
                job.spec, self.store, generations=job.generations, metrics=job.metrics
            )
        lineage, fits, begun = self.lineage, self.lineage.fits, time.monotonic()
        rows: list[Row] = []
        together = (
            job.together if job.spec.generator.constant("COST") == "tiny" and job.until else 0.0
        )
        while (
            not self._over()
            and lineage.fits == fits
            and (not rows or time.monotonic() - begun < FOUND_SECONDS)
        ):
            with limit(self._seconds(), self._stuck):
                rows += lineage.advance_for(together)
        release_gpu()
        if rows and rows[0]["t"] == 0:
            self.start = _or_nan(value(rows[:1], job.headline))
        last = _or_nan(value(reversed(rows), job.headline))
        counts = {
            "new": float(lineage.fits - fits),
            "last": last,
            "seconds": time.monotonic() - begun,
        }
        return (
            self._report(lineage.t - 1, lineage.outcome["status"]) | counts | {"done": self._over()}
        )

    def _over(self) -> bool:
        assert self.lineage is not None
        return self.lineage.done or self.lineage.t > self.job.until

    def _seconds(self) -> float | None:
        minutes = self.job.resources.timeout_minutes
        return None if minutes is None else 60 * minutes

    def record(self, error: BaseException) -> dict[str, Any]:
        return explained(error, self.lineage.t if self.lineage else 0)

    def failed(self, record: dict[str, Any]) -> dict[str, float]:
        """End the lineage by an error."""
        self.store.fail(self.job.spec.id, record)
        return self._report(record["t"] - 1, "failed")

    def _stuck(self, error: Exception, where: traceback.StackSummary) -> None:
        """Told by the watch, from its thread, just before this process ends; whoever takes over
        finds the record.
        """
        self.store.fail(
            self.job.spec.id, explained(error, self.lineage.t if self.lineage else 0, where)
        )

    def _report(self, t: int, status: str) -> dict[str, float]:
        nothing = {"new": 0.0, "last": float("nan"), "seconds": 0.0, "done": True}
        return {
            "generation": float(t),
            "status": float(STATUSES.index(status)),
            "start": self.start,
            **nothing,
        }


def _or_nan(number: float | None) -> float:
    return float("nan") if number is None else number


def passing(error: BaseException) -> bool:
    """Whether trying again elsewhere may help: memory, disk, network.

    Everything else is a bug, and sure to come again.
    """
    if isinstance(error, ConnectionError | TimeoutError | MemoryError | NotShared | MayPass):
        return True
    return "OutOfMemory" in type(error).__name__ or (
        isinstance(error, OSError) and error.errno in PASSING
    )


def explained(
    error: BaseException, t: int, where: traceback.StackSummary | None = None
) -> dict[str, Any]:
    """An error as the store keeps it: type, message, generation, the line of the part (or of the
    engine) that raised it.
    """
    frames = where or traceback.extract_tb(error.__traceback__)
    ours = [
        f for f in frames if "site-packages" not in f.filename and "/lib/python" not in f.filename
    ] or frames
    file, line = (ours[-1].filename, ours[-1].lineno) if ours else ("?", 0)
    root = str(Path(__file__).parents[2]) + os.sep
    head = {
        "error": type(error).__name__,
        "message": said(error),
        "t": t,
        "file": file.removeprefix(root),
        "line": line,
    }
    return {**head, "traceback": _text(error, where)[-10 * LONGEST :], "time": time.time()}


def said(error: BaseException) -> str:
    """What an error says of itself, of which a part's own error may not be capable."""
    try:
        text = str(error)
    except Exception as second:
        return (
            f"(its message cannot be told: {type(second).__name__} in "
            f"{type(error).__name__}.__str__)"
        )
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... ({len(text):,} characters)"


def _text(error: BaseException, where: traceback.StackSummary | None) -> str:
    """The traceback, as far as it can be told."""
    try:
        return "".join(where.format() if where else traceback.format_exception(error))
    except Exception:
        return "".join(traceback.format_tb(error.__traceback__))


def run_local(
    jobs: Iterable[Job], watch: Watch, stopped: Callable[[], bool] = lambda: False
) -> None:
    """Run lineages in this process, one after the other, without Ray;
    `watch` hears what happens.
    """
    files.remove(files.of_dead_processes())
    for job in jobs:
        work, done = Work(job), False
        while not done and not stopped():
            try:
                report = work.step()
            except MayPass as error:  # there is nowhere else to try
                report = work.failed(error.record)
            except (
                SystemExit
            ) as error:  # a part that calls sys.exit() ends its lineage, not the sweep
                report = work.failed(work.record(error))
            done = bool(report["done"])
            tell(watch, job, report)
        if stopped():
            return


def tell(watch: Watch, job: Job, report: dict[str, float]) -> None:
    """Pass one report on to the screen."""
    counts = (int(report["new"]), report["seconds"], not report["done"])
    watch.row(job.spec.id, int(report["generation"]), report["last"], report["start"], *counts)
    if report["done"] and job.until == job.generations:
        watch.ended(job.spec.id, STATUSES[int(report["status"])])
    watch.tick()
