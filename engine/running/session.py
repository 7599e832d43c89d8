"""A session: one `ouro run` or `ouro threshold`, from the held output to how it ended.

It runs what its supply gives, shows it on its display, records it in the tracker, prunes behind it,
and says what happened.  It prints nothing itself.
"""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, replace
from functools import partial

from engine import _cache as cache
from engine.commands import permitting
from engine.commands import refuse as refuse_lines
from engine.console.live import Display
from engine.console.tables import duration, failures, number
from engine.experiment.kept import keep
from engine.files import cache_folder
from engine.lineage.history import History, lineage_of
from engine.names import names_of
from engine.planning.preflight import parts_with_commands
from engine.running._at_work import DEATHS, AtWork, Death, place_in
from engine.running._joining import unreachable
from engine.running.doctor import preflight
from engine.running.failure import exit_code
from engine.running.job import Job
from engine.running.logs import LOGS, beside, folder_of, log_file, log_of, prints_to
from engine.running.provenance import elsewhere
from engine.running.prune import Pruner
from engine.running.restart import Restarts
from engine.running.signals import AGAIN, Interrupt
from engine.running.supply import Summary, Supply
from engine.running.worker import run_local
from engine.spec import LineageSpec, Sweep
from engine.status import EnvironmentProblem, ExitCode, Status
from engine.store import stages
from engine.store.outputs import forget, has_rows, is_output
from engine.store.store import Store
from engine.tracking.recorder import Recorder
from engine.tracking.tracker import address_of, lack

MOST_NAMED = 5  # damaged files
# read by Ray when it is imported: it then keeps the address 127.0.0.1, where it would look up the
# machine's own and listen there, for a cluster that we do not want
ONE_MACHINE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


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
    quiet: bool = False  # nothing but how it ended
    verbose: bool = False  # also a line for every generation


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
    begun, before = is_output(store), frozenset(store.names(""))
    folder = folder_of(sweep, store).absolute()
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        yield
    except EnvironmentProblem:
        if not begun and not has_rows(store):
            forget(store, before)
            if LOGS not in before:
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
        Store(store.url).tidy()
        self.damaged_cache = set(cache.set_aside())
        self.at_work = AtWork(beside(sweep, store).below(LOGS), store)
        self.restarts = Restarts(options.command, store)
        self.names = names_of(sweep)
        self.looked = time.monotonic()  # for what workers say of generations that last

    def run(self) -> Ending:
        """Run from what the store has to the summary.  Raises EnvironmentProblem."""
        started, dead = time.monotonic(), ""
        cache.remove_staged()
        keep(self.sweep, Store(self.store.url), self.supply.specs)
        self.recorder.specs.update(self.supply.specs)
        self.recorder.start()
        with self.display:
            self.supply.start(self.display)
            if not self.supply.finished:
                if remark := elsewhere(self.sweep, self.supply.continued):
                    self.display.note(remark)
                if self.at_work.died is not None:
                    self.display.note(self._obituary(self.at_work.died))
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
        if self.options.verbose and new:
            self.display.say(self._generation(lineage, t, last, seconds))
        self.recorder.changed(lineage)

    def _generation(self, lineage: str, t: int, last: float, seconds: float) -> str:
        """What --verbose says of a generation that was made."""
        text = f"{self.names.lineage(self.supply.specs[lineage])}: generation {t}"
        if not math.isnan(last):
            text += f", {self.sweep.headline} {number(last)}"
        return f"{text}, after {duration(seconds)}"

    def ended(self, lineage: str, status: Status) -> None:
        self.supply.ended(lineage)
        self.display.ended(lineage, status)
        if status is not Status.FAILED:
            self.pruner.ended(lineage)

    def note(self, text: str) -> None:
        self.display.note(text)

    def tick(self) -> None:
        if time.monotonic() - self.looked >= stages.every(self.store):
            self.looked = time.monotonic()
            self.display.told(stages.told(self.store, self.supply.specs))
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
        if not self.options.local:
            self.at_work.forget()
            return self._work_on_ray()
        self.interrupt.leaving.append(self.at_work.forget)
        with self.at_work.noted(faults=bool(self.options.command)):
            run_local(iter(self._next_here, None), self, lambda: bool(self.interrupt))
        return ""

    def _next_here(self) -> Job | None:
        """The next job, for this process; one of which too many have died is recorded as failed."""
        job = self.next()
        if job is None:
            return None
        rows = partial(self._rows_of, job.spec)
        times = self.at_work.begin(job.spec.id, lambda: place_in(self.store, rows()))
        if self.at_work.died is not None and times >= DEATHS:
            self.store.fail(job.spec.id, self.at_work.died.failure(times, rows()))
        return job

    def _rows_of(self, spec: LineageSpec) -> int:
        """How many generations of a lineage are committed."""
        return len(lineage_of(self.sweep, self.store, spec).rows())

    def _obituary(self, death: Death) -> str:
        """What is said of the last run, where it died in the middle."""
        spec, at = self.supply.specs.get(death.note.lineage), ""
        if spec is not None:
            at = f" at {self.names.lineage(spec)}, generation {self._rows_of(spec)}"
        return f"the run before this one died{at}: {death.how}; what is committed is kept"

    def _work_on_ray(self) -> str:
        if self.options.address is not None:
            refuse(unreachable(self.options.address))
        else:
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
        summary = self.supply.summary(found, beside(self.sweep, self.store), seconds)
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
        for failure in failures(found.values(), self.names):
            yield "red", failure
        left = sum(not history.finished for history in found.values())
        if dead:
            yield "red", f"{dead}; {AGAIN}"
        elif self.interrupt and (left or not self._all_asked):
            unfinished = f"{left} of {len(found)} lineages unfinished"
            yield "yellow", f"interrupted with {unfinished}; {AGAIN}"
        for text in () if self.options.quiet else summary.lines:
            yield "dim", text
        if summary.count:
            yield "green" if code == ExitCode.OK else "yellow", summary.count
        if damaged := set(self.store.names("damaged")) - self.damaged:
            yield "yellow", _aside("damaged files", "damaged/", damaged)
        if damaged := set(cache.set_aside()) - self.damaged_cache:
            yield "yellow", _aside("files of the cache", str(cache_folder() / cache.ASIDE), damaged)
        if self.recorder.trouble:
            yield "yellow", self.recorder.trouble

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


def _aside(what: str, where: str, names: Set[str]) -> str:
    """Say which files were set aside; their names there begin with the time."""
    named = ", ".join(name.partition("-")[2] for name in sorted(names)[:MOST_NAMED])
    more = ", ..." if len(names) > MOST_NAMED else ""
    return f"{len(names)} {what} were set aside in {where} and made again: {named}{more}"
