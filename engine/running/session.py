"""A session: one `ouro run` or `ouro threshold`, from the held output to how it ended.

It runs what its supply gives, shows it on its display, records it in the tracker, prunes behind it,
and says what happened.  It prints nothing itself.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from engine.commands import permitting
from engine.commands import refuse as refuse_lines
from engine.console.live import Display
from engine.console.tables import failures
from engine.experiment.kept import keep
from engine.lineage.history import History
from engine.names import names_of
from engine.planning.preflight import parts_with_commands
from engine.running.doctor import preflight
from engine.running.failure import exit_code
from engine.running.job import Job
from engine.running.logs import LOGS, folder_of, log_file, log_of, prints_to
from engine.running.provenance import elsewhere
from engine.running.prune import Pruner
from engine.running.restart import Restarts
from engine.running.signals import AGAIN, Interrupt
from engine.running.supply import Summary, Supply
from engine.running.worker import run_local
from engine.spec import Sweep
from engine.status import ExitCode, Status
from engine.store.outputs import forget, has_rows, is_output
from engine.store.store import Store
from engine.tracking.recorder import Recorder
from engine.tracking.tracker import address_of, lack

MOST_NAMED = 5  # damaged files
# read by Ray when it is imported: it then keeps the address 127.0.0.1, where it would look up the
# machine's own and listen there, for a cluster that we do not want
ONE_MACHINE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


class EnvironmentProblem(Exception):
    """Something about this machine, not about the experiment."""


@dataclass(frozen=True)
class Options:
    """How to run, apart from what."""

    only: tuple[str, ...] = ()  # lineage ids, or their beginnings
    local: bool = False
    address: str | None = None
    cpus: int | None = None
    silent: bool = False  # --json: nothing but the summary at the end
    file: str = (
        ""  # the file as later commands must name it, with --out and --set where they were given
    )
    command: tuple[str, ...] = ()  # of this process, see engine/running/restart.py
    allow_commands: bool = False  # command lines of the experiment may be run


@dataclass(frozen=True)
class Ending:
    """How a session ended."""

    code: int
    summary: Summary
    sentences: tuple[tuple[str, str], ...]  # what happened, as (style, sentence)
    places: tuple[tuple[str, str], ...]  # where to look, as (what, where)
    dead: str = ""  # why Ray died
    signal: int | None = None  # that interrupted it


@contextlib.contextmanager
def hold(
    sweep: Sweep, store: Store, command: str, terminal: int, exits: bool = True
) -> Iterator[Interrupt]:
    """Hold the output (lock) and listen to signals; libraries write to its log.

    terminal: the file descriptor to say last words to; exits: see Interrupt.  Raises store.Busy,
    and EnvironmentProblem when the output cannot be written or the tracker's package is not
    installed.
    """
    interrupt = Interrupt(exits)
    interrupt.terminal = terminal
    refuse(lack(address_of(sweep, store)))
    with nothing_left_of_a_refusal(sweep, store):
        refuse(preflight(store))
        with (
            store.hold(f"ouro {command} {sweep.source}"),
            log_file(log_of(sweep, store)),
            interrupt.listening(),
        ):
            yield interrupt


@contextlib.contextmanager
def nothing_left_of_a_refusal(sweep: Sweep, store: Store) -> Iterator[None]:
    """Where this machine refuses before anything is committed, an output that was none before is
    none after.
    """
    begun, folder = is_output(store), folder_of(sweep, store).absolute()
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        yield
    except EnvironmentProblem:
        if not begun and not has_rows(store):
            forget(store)
            shutil.rmtree(folder / LOGS, ignore_errors=True)
            for place in missing:
                with contextlib.suppress(OSError):
                    place.rmdir()
        raise


def refuse(problem: str) -> None:
    """Raise EnvironmentProblem where there is one, before anything is trained."""
    if problem:
        raise EnvironmentProblem(problem)


def permit(sweep: Sweep, options: Options) -> None:
    """Raise NotAllowed for a sweep with command lines that nobody has allowed to be run."""
    with permitting(options.allow_commands):
        for part in parts_with_commands(sweep):
            refuse_lines(part.kind, part.name, part.command_lines)


class Session:
    """Runs what a supply gives, inside `hold`; the watch of the lineages that run."""

    def __init__(
        self,
        sweep: Sweep,
        store: Store,
        options: Options,
        interrupt: Interrupt,
        *,
        supply: Supply,
        display: Display,
        recorder: Recorder,
        pruner: Pruner,
    ) -> None:
        self.sweep, self.store, self.options, self.interrupt = sweep, store, options, interrupt
        self.supply, self.display, self.recorder, self.pruner = supply, display, recorder, pruner
        permit(sweep, options)
        self.damaged = set(store.names("damaged"))  # before this session
        self.restarts = Restarts(options.command, store)

    def run(self) -> Ending:
        """Run from what the store has to the summary.  Raises EnvironmentProblem."""
        started, dead = time.monotonic(), ""
        keep(self.sweep, self.store, self.supply.specs)
        self.recorder.specs.update(self.supply.specs)
        self.recorder.start()
        with self.display:
            self.supply.start(self.display)
            if not self.supply.finished:
                if remark := elsewhere(self.sweep, self.supply.continued):
                    self.display.note(remark)
                try:
                    dead = self._work()
                except EnvironmentProblem:
                    self.recorder.finish({}, "FAILED", {}, [])
                    raise
        return self._end(dead, time.monotonic() - started)

    # ---- what the scheduler asks ----

    @property
    def finished(self) -> bool:
        return self.supply.finished

    def next(self) -> Job | None:
        found = self.supply.next()
        job = None if found is None else self._permitted(found)
        if job is not None and self.supply.adaptive:
            self.recorder.specs[job.spec.id] = job.spec
            self.pruner.begin(job.spec)
        self.display.tick()
        return job

    def _permitted(self, job: Job) -> Job:
        return replace(job, allow_commands=self.options.allow_commands)

    @property
    def _all_asked(self) -> bool:
        """Whether the lineages that are known are all that there will be."""
        return self.supply.finished or not self.supply.adaptive

    # ---- what the watch hears ----

    def row(
        self, lineage: str, t: int, last: float, start: float, new: int, seconds: float, going: bool
    ) -> None:
        self.display.row(lineage, t, last, start, new, seconds, going)
        self.recorder.changed(lineage)

    def ended(self, lineage: str, status: Status) -> None:
        self.supply.ended(lineage)
        self.display.ended(lineage, status)
        if status is not Status.FAILED:
            self.pruner.ended(lineage)

    def note(self, text: str) -> None:
        self.display.note(text)

    def tick(self) -> None:
        self.display.tick()

    def died(self, why: str) -> None:
        """Ray died: may start this process anew."""
        self.restarts.begin(why, self.display)

    # ---- the work ----

    def _work(self) -> str:
        """Run until nothing is left, or an interrupt; why Ray died, or ''."""
        if not self.supply.adaptive:
            for lineage in {job.spec.id: job.spec for job in self.supply.jobs()}.values():
                self.pruner.begin(lineage)
        if self.options.local:
            run_local(iter(self.next, None), self, lambda: bool(self.interrupt))
            return ""
        return self._work_on_ray()

    def _work_on_ray(self) -> str:
        if self.options.address is None:
            os.environ |= ONE_MACHINE
            if "RAY_AUTH_MODE" not in os.environ:
                token = secrets.token_hex(32)
                os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
        from engine.running.ray_health import RayDied
        from engine.running.ray_tune import Unsatisfiable, run_sweep

        try:
            with prints_to(log_of(self.sweep, self.store)):
                run_sweep(
                    [self._permitted(job) for job in self.supply.jobs()],
                    self.store,
                    self,
                    self.interrupt,
                    address=self.options.address,
                    cpus=self.options.cpus,
                    source=self if self.supply.adaptive else None,
                )
        except RayDied as died:
            return str(died)
        except Unsatisfiable as lacking:
            raise EnvironmentProblem(str(lacking)) from None
        return ""

    # ---- the end ----

    def _end(self, dead: str, seconds: float) -> Ending:
        """Sum up, say what was found, and record it with the true end states."""
        if self.store.local:
            self.store.disk.make(self.store.root)  # nothing to sum up in an output that is gone
        found = self.supply.found()
        asked = self.supply.asked(found)
        stopped = self.interrupt.signal
        code = exit_code(asked, stopped, bool(dead), self._all_asked)
        summary = self.supply.summary(found, folder_of(self.sweep, self.store), seconds)
        self.display.results(found)
        state = "FINISHED" if code == ExitCode.OK else "KILLED" if self.interrupt else "FAILED"
        files = [place.path for place in summary.places]
        self.recorder.finish(found, state, dict(summary.numbers), files)
        sentences = tuple(self._sentences(found, summary, code, dead))
        return Ending(code, summary, sentences, tuple(self._places(summary)), dead, stopped)

    def _sentences(
        self, found: Mapping[str, History], summary: Summary, code: int, dead: str
    ) -> Iterator[tuple[str, str]]:
        """Say what happened, as (style, sentence)."""
        for failure in failures(found.values(), names_of(self.sweep)):
            yield "red", failure
        left = sum(not history.finished for history in found.values())
        if dead:
            yield "red", f"{dead}; {AGAIN}"
        elif self.interrupt and (left or not self._all_asked):
            unfinished = f"{left} of {len(found)} lineages unfinished"
            yield "yellow", f"interrupted with {unfinished}; {AGAIN}"
        if summary.count:
            yield "green" if code == ExitCode.OK else "yellow", summary.count
        if damaged := sorted(set(self.store.names("damaged")) - self.damaged):
            named = ", ".join(name.partition("-")[2] for name in damaged[:MOST_NAMED])
            more = ", ..." if len(damaged) > MOST_NAMED else ""
            aside = "damaged files were set aside in damaged/ and made again"
            yield "yellow", f"{len(damaged)} {aside}: {named}{more}"
        if self.recorder.trouble:
            yield "yellow", f"{self.recorder.trouble}; the same command fills the gap"

    def _places(self, summary: Summary) -> Iterator[tuple[str, str]]:
        """Say where to look, as (what, where)."""
        source = self.options.file or self.sweep.source
        for place in summary.places:
            yield place.what, f"{place.path} ({place.about})" if place.about else str(place.path)
        yield "report", f"ouro report {source}"
        if self.recorder.address:
            yield "curves", f"ouro ui {source}"
        yield "again", f"ouro {self.supply.again} {source}"
        log = log_of(self.sweep, self.store)
        if log.exists() and log.stat().st_size:
            yield "log", str(log)
