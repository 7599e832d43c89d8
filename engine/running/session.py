"""`ouro run` without its command line: hold the output, run what is missing, record it, sum it up,
say how it ended.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from engine.console.live import Board, Screen, screen
from engine.console.tables import duration, failures, show_end, show_plan, show_summary
from engine.files import write_atomically
from engine.lineage.history import Looking, histories, lineage_of
from engine.lineage.recipe import Node
from engine.names import Names
from engine.outcome.summary import History, drift, headline, summarise, to_json
from engine.planning import plan as planning
from engine.planning.preflight import lacking
from engine.running import provenance as machines
from engine.running.doctor import cpus_here, preflight
from engine.running.restart import Restarts
from engine.running.signals import Interrupt
from engine.running.worker import Job, run_local
from engine.settings import is_kept
from engine.spec import Sweep
from engine.store.store import Store
from engine.tracking.recorder import Recorder

OK, FAILED, BAD_INPUT, BUSY, ENVIRONMENT, DAMAGED = range(6)


class EnvironmentProblem(Exception):
    """Something about this machine, not about the experiment."""


def refuse_lacks(problem: str) -> None:
    """Before anything is trained; on a cluster the other machines may have what this one lacks."""
    if problem:
        raise EnvironmentProblem(problem)


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


def exit_code(found: Iterable[History], signal: int | None = None, dead: bool = False) -> int:
    """From what is planned and what is committed; never from what Ray says."""
    found = list(found)
    statuses = {h.status for h in found}
    if any(h.reason.startswith("NotReproduced") for h in found):
        return DAMAGED
    if any(
        h.reason.startswith(("FileNotFoundError", "ModuleNotFoundError", "Unwritable"))
        for h in found
    ):
        return ENVIRONMENT
    if "" in statuses and signal is not None:
        return 128 + signal
    if "" in statuses and dead:
        return ENVIRONMENT
    return FAILED if statuses & {"", "failed"} else OK


class Keeper:
    """Removes weights and samples that the keep rule does not keep, once no unfinished lineage
    needs them.
    """

    def __init__(
        self, sweep: Sweep, store: Store, known: planning.Paths, unfinished: set[str]
    ) -> None:
        self.store, self.known, self.all = store, known, sweep.keep == "all"
        self.kept = {
            key
            for nodes in known.values()
            for key in _keys((*(n for n in nodes if is_kept(n.t, sweep.keep)), nodes[-1]))
        }
        self.users = Counter(key for lineage in unfinished for key in _keys(known[lineage]))

    def ended(self, lineage: str) -> None:
        """A lineage has its last generation."""
        if not self.all:
            mine = _keys(self.known[lineage])
            self.users.subtract(mine)
            self.store.refresh()  # others committed it
            self.store.prune(self.kept, {key for key in mine if self.users[key] <= 0})


def _keys(nodes: Iterable[Node]) -> set[tuple[str, str]]:
    return {pair for node in nodes for pair in (("model", node.model), ("draw", node.draw))}


class Watch:
    """Hears what happens and tells screen, recorder and keeper."""

    def __init__(
        self, shown: Screen, recorder: Recorder, keeper: Keeper, died: Callable[[str], None]
    ) -> None:
        self.shown, self.recorder, self.keeper, self.died = shown, recorder, keeper, died
        self.note, self.tick = shown.note, shown.tick

    def row(self, lineage: str, *report: Any) -> None:
        self.shown.row(lineage, *report)
        self.recorder.changed(lineage)

    def ended(self, lineage: str, status: str) -> None:
        self.shown.ended(lineage, status)
        if status != "failed":
            self.keeper.ended(lineage)


# ---- one run -------------------------------------------------------------------------------------


def run(sweep: Sweep, console: Console, options: Options) -> int:
    """Runs what the store lacks; the exit code.  Raises store.Busy and EnvironmentProblem."""
    store, interrupt = Looking(sweep.out), Interrupt()
    interrupt.terminal = own_fd(console)
    if problem := preflight(store):
        raise EnvironmentProblem(problem)
    with (
        store.hold(f"ouro run {sweep.source}"),
        log_file(logs(sweep, store)),
        interrupt.listening(),
    ):
        return Run(sweep, store, console, options, interrupt).whole()


class Run:
    """One `ouro run`, from the plan to the summary."""

    def __init__(
        self, sweep: Sweep, store: Store, console: Console, options: Options, interrupt: Interrupt
    ) -> None:
        self.sweep, self.store, self.console, self.options, self.interrupt = (
            sweep,
            store,
            console,
            options,
            interrupt,
        )
        self.known = planning.paths(sweep)
        self.plan = planning.make_plan(sweep, store, options.cpus or cpus_here(), self.known)
        self.damaged = set(store.names("damaged"))
        self.begun: list[History] = []  # what there was of lineages that lack something
        self.board, self.recorder = Board(sweep, self.plan), Recorder(sweep, store)
        self.restarts = Restarts(options.command, store)

    def whole(self) -> int:
        started = time.monotonic()
        if not self.options.address:
            refuse_lacks(lacking(self.sweep, self.store, self.options.only))
        show_plan(self.console, self.plan, self.sweep)
        if problem := preflight(self.store, self.plan.bytes or 0):
            raise EnvironmentProblem(problem)
        self.recorder.start()
        dead = ""
        with screen(self.console, self.board, self.options.silent) as shown:
            if jobs := self._jobs():
                if said := machines.elsewhere(self.sweep, self.begun):
                    shown.note(said)
                keeper = Keeper(self.sweep, self.store, self.known, {job.spec.id for job in jobs})
                died = partial(self.restarts.begin, shown=shown)
                dead = self._work(jobs, Watch(shown, self.recorder, keeper, died))
        return self._sum_up(dead, time.monotonic() - started)

    def _jobs(self) -> list[Job]:
        """What to do for the lineages that lack something, in order; the board learns what is
        there.
        """
        lacking, only = [], self.options.only
        for history in histories(self.sweep, self.store).values():
            self.board.found(history)
            if only and not history.spec.id.startswith(only):
                continue
            if lineage_of(self.sweep, self.store, history.spec).complete():
                self.board.ended(history.spec.id, history.status)
            else:
                self.store.forget_failure(history.spec.id)
                lacking.append(history.spec)
                self.begun.append(history)
        todo = planning.order(lacking, self.known, self.sweep.generations)
        todo = [(spec, self.sweep.generations) for spec in lacking] if self.options.local else todo
        return [Job.of(self.sweep, self.store, spec, until) for spec, until in todo]

    def _work(self, jobs: list[Job], watch: Watch) -> str:
        """Runs the jobs; why Ray died, or ''."""
        if self.options.local:
            run_local(jobs, watch, lambda: bool(self.interrupt))
            return ""
        if (
            self.options.address is None and "RAY_AUTH_MODE" not in os.environ
        ):  # Ray reads both when it is imported
            os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        from engine.running.ray_tune import RayDied, Unsatisfiable, run_sweep

        try:
            with prints_to(logs(self.sweep, self.store)):
                run_sweep(
                    jobs,
                    self.store,
                    watch,
                    self.interrupt,
                    address=self.options.address,
                    cpus=self.options.cpus,
                )
        except RayDied as died:
            return str(died)
        except Unsatisfiable as lack:
            raise EnvironmentProblem(str(lack)) from None
        return ""

    def _sum_up(self, dead: str, seconds: float) -> int:
        """Summary table, summary.json, film strip, MLflow's end states, and where to look."""
        if self.store.local:
            self.store.disk.make(
                self.store.root
            )  # there is nothing to sum up in an output that is gone
        found = histories(self.sweep, self.store)
        asked = [
            h
            for h in found.values()
            if not self.options.only or h.spec.id.startswith(self.options.only)
        ]
        code, cells = (
            exit_code(asked, self.interrupt.signal, bool(dead)),
            summarise(self.sweep, found),
        )
        summary, strip = (
            folder_of(self.sweep, self.store) / name for name in ("summary.json", "film_strip.png")
        )
        report = to_json(self.sweep, found)
        write_atomically(summary, json.dumps(report, indent=1) + "\n")
        from engine.tracking.pictures import film_strip  # matplotlib: seconds to import

        shown = film_strip(self.store, _most_drifted(self.sweep, found), strip)
        show_summary(self.console, cells, self.sweep)
        self._record(found, code, report, [summary, strip])
        if self.options.silent:
            print(json.dumps({**report, "exit": code}))
        show_end(
            self.console,
            self._end(found, code, dead, seconds),
            self._places(summary, strip if shown else None, shown),
        )
        return code

    def _record(
        self, found: dict[str, History], code: int, report: dict[str, Any], files: list[Path]
    ) -> None:
        counts = {f"lineages/{status}": float(n) for status, n in report["statuses"].items()}
        collapsed = float(sum(cell["collapsed"] or 0 for cell in report["cells"]))
        state = "FINISHED" if code == OK else "KILLED" if self.interrupt else "FAILED"
        self.recorder.finish(found, state, {**counts, "lineages/collapsed": collapsed}, files)

    def _end(
        self, found: dict[str, History], code: int, dead: str, seconds: float
    ) -> list[tuple[str, str]]:
        """What happened, as (style, sentence)."""
        left = sum(not h.status for h in found.values())
        again = "the state is saved; the same command goes on"
        lines = [("red", line) for line in failures(found.values(), Names(self.sweep.lineages))]
        if dead:
            lines.append(("red", f"{dead}; {again}"))
        elif self.interrupt:
            lines.append(
                ("yellow", f"interrupted with {left} of {len(found)} lineages unfinished; {again}")
            )
        elif code == OK:
            lines.append(
                ("green", f"all {len(found)} lineages have an outcome, after {duration(seconds)}")
            )
        if damaged := sorted(set(self.store.names("damaged")) - self.damaged):
            named = ", ".join(name.partition("-")[2] for name in damaged[:5]) + (
                ", ..." if len(damaged) > 5 else ""
            )
            lines.append(
                (
                    "yellow",
                    f"{len(damaged)} damaged files were set aside in damaged/ and made again: "
                    f"{named}",
                )
            )
        if self.recorder.trouble:
            lines.append(
                (
                    "yellow",
                    f"{self.recorder.trouble}; the same command fills the gap",
                )
            )
        return lines

    def _places(
        self, summary: Path, strip: Path | None, shown: History | None
    ) -> list[tuple[str, str]]:
        """Where to look, as (what, where)."""
        source = self.options.file or self.sweep.source
        lines = [("summary", str(summary))]
        if strip is not None and shown is not None:
            lines.append(
                (
                    "film strip",
                    f"{strip} ({Names(self.sweep.lineages).lineage(shown.spec)})",
                )
            )
        lines += [("curves", f"ouro ui {source}")] if self.recorder.address else []
        log = logs(self.sweep, self.store)
        return [
            *lines,
            ("again", f"ouro status {source}"),
            *([("log", str(log))] if log.exists() and log.stat().st_size else []),
        ]


def _most_drifted(sweep: Sweep, found: dict[str, History]) -> list[History]:
    """Lineages to draw: those that went furthest, and of them the one that drifted most, first."""
    metric = headline(sweep)
    return sorted(found.values(), key=lambda h: (-len(h.rows), -(drift(h.rows, metric) or 0.0)))


# ---- places --------------------------------------------------------------------------------------


def folder_of(sweep: Sweep, store: Store) -> Path:
    """Where pictures and logs go: the output, or runs/<name> here when that is an object store."""
    return Path(store.root) if store.local else Path("runs") / sweep.name


def logs(sweep: Sweep, store: Store) -> Path:
    return folder_of(sweep, store) / "logs" / "sweep.log"


def own_fd(console: Console) -> int:
    """A file descriptor that stays with the console, whatever is redirected."""
    try:
        return os.dup(console.file.fileno())
    except OSError:  # it writes to no file
        return 1


@contextlib.contextmanager
def log_file(path: Path) -> Iterator[None]:
    """Whatever libraries have to say goes to a file: the terminal is ours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.removeHandler(handler)
        handler.close()


@contextlib.contextmanager
def prints_to(path: Path) -> Iterator[None]:
    """What Ray prints, compiled parts included, goes to the log; our console holds on to the
    terminal itself.
    """
    sys.stderr.flush()
    terminal = os.dup(2)
    with (
        open(path, "a", encoding="utf-8", errors="replace") as file,
        contextlib.redirect_stdout(file),
    ):
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
