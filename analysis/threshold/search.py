"""`ouro threshold` without its command line: lineages proposed one by one to wherever a place is
free, until enough is known.

A search is asked by Tune (or by a plain loop) for the next lineage and hears of every one that
ended; no round is waited for. The only file of analysis that imports the engine's sweep.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from analysis.threshold.workflows import Workflow, read, sentence
from engine.console.tables import NARROW, duration, show_end, table
from engine.files import write_atomically
from engine.lineage.history import Looking, history
from engine.lineage.recipe import path
from engine.names import Names
from engine.outcome.summary import History
from engine.planning.preflight import look
from engine.running.doctor import cpus_here, preflight
from engine.running.restart import Restarts
from engine.running.session import (
    ENVIRONMENT,
    FAILED,
    OK,
    EnvironmentProblem,
    Options,
    exit_code,
    folder_of,
    log_file,
    logs,
    own_fd,
    prints_to,
    refuse_lacks,
)
from engine.running.signals import Interrupt
from engine.running.worker import Job, run_local
from engine.settings import is_kept
from engine.spec import LineageSpec, Sweep
from engine.store.store import Store
from engine.tracking.recorder import Recorder

QUIET_SECONDS = 5.0  # a pipe gets a line of one workflow this often


def search(sweep: Sweep, console: Console, options: Options) -> int:
    """Runs lineages until every workflow is known well enough; the exit code.

    Raises store.Busy and EnvironmentProblem.
    """
    store, interrupt = Looking(sweep.out), Interrupt()
    interrupt.terminal = own_fd(console)
    if problem := preflight(store):
        raise EnvironmentProblem(problem)
    with (
        store.hold(f"ouro threshold {sweep.source}"),
        log_file(logs(sweep, store)),
        interrupt.listening(),
    ):
        return Search(sweep, store, console, options, interrupt).whole()


def look_up(sweep: Sweep, console: Console, as_json: bool) -> int:
    """Says what the store knows already."""
    found = list(read(sweep, Looking(sweep.out)).values())
    if as_json:
        print(json.dumps(report(sweep, found)))
    else:
        say(console, sweep, found)
    return OK


class Search:
    """One `ouro threshold`: supplies lineages, hears of them, and says what is known."""

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
        self.workflows = read(sweep, store)
        self.specs = {
            spec.id: spec for own in self.workflows.values() for spec in own.specs.values()
        }
        self.recorder = Recorder(sweep, store)
        self.recorder.specs.update(self.specs)
        self.begun, self.there = time.monotonic(), len(self.specs)
        self.shown = Shown(console, list(self.workflows.values()), options.silent)
        self.restarts = Restarts(options.command, store)

    def whole(self) -> int:
        """From what the store knows to the answer."""
        if not self.over and not self.options.address:
            refuse_lacks(look(self.sweep).refusal)
        self.recorder.start()
        dead = ""
        with self.shown:
            if not self.over:
                dead = self._work()
        return self._sum_up(dead)

    # ---- what Tune (or the loop) asks ----

    @property
    def over(self) -> bool:
        return all(own.enough and not own.running for own in self.workflows.values())

    def next(self) -> Job | None:
        """From the workflow of which least has been run, so that all get their share of the
        machines.
        """
        for own in sorted(self.workflows.values(), key=lambda w: (len(w.running), len(w.specs))):
            if (spec := own.next()) is not None:
                self.specs[spec.id] = self.recorder.specs[spec.id] = spec
                self.store.forget_failure(spec.id)
                self.shown.tick()
                return Job.of(self.sweep, self.store, spec, self.sweep.generations)
        return None

    # ---- what the watch hears ----

    def row(self, lineage: str, *_: Any) -> None:
        self.recorder.changed(lineage)

    def ended(self, lineage: str, _: str) -> None:
        spec = self.specs[lineage]
        own = self.workflows[spec.workflow]
        past = history(self.sweep, self.store, spec)
        own.ended(past)
        if past.status != "failed":
            self._prune(spec)
        self.shown.changed(own)

    def note(self, text: str) -> None:
        self.shown.note(text)

    def died(self, why: str) -> None:
        """Ray died: may start this process anew."""
        self.restarts.begin(why, self.shown)

    def tick(self) -> None:
        self.shown.tick()

    def _prune(self, spec: LineageSpec) -> None:
        """Removes what the keep rule does not keep of a lineage that ended, and no running one
        needs.
        """
        if self.sweep.keep == "all":
            return
        mine = path(spec, self.sweep.generations)
        running = [self.specs[i] for own in self.workflows.values() for i in own.running]
        used = {
            key
            for other in running
            for node in path(other, self.sweep.generations)
            for key in _keys(node)
        }
        stays = {
            key for n in mine if is_kept(n.t, self.sweep.keep) or n is mine[-1] for key in _keys(n)
        }
        self.store.refresh()
        self.store.prune(stays, {key for node in mine for key in _keys(node)} - used)

    # ---- running ----

    def _work(self) -> str:
        """Runs until all is known, or an interrupt; why Ray died, or ''."""
        if self.options.local:
            while not self.interrupt and (job := self.next()) is not None:
                run_local([job], self, lambda: bool(self.interrupt))
            return ""
        if (
            self.options.address is None and "RAY_AUTH_MODE" not in os.environ
        ):  # Ray reads both when it is imported
            os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        from engine.running.ray_tune import RayDied, Unsatisfiable, run_sweep

        kinds = [
            Job.of(self.sweep, self.store, w.template, self.sweep.generations)
            for w in self.workflows.values()
        ]
        cpus = self.options.cpus or cpus_here()
        try:
            with prints_to(logs(self.sweep, self.store)):
                run_sweep(
                    kinds,
                    self.store,
                    self,
                    self.interrupt,
                    address=self.options.address,
                    cpus=cpus,
                    supply=self,
                )
        except RayDied as died:
            return str(died)
        except Unsatisfiable as lack:
            raise EnvironmentProblem(str(lack)) from None
        return ""

    # ---- the end ----

    def _sum_up(self, dead: str) -> int:
        """Answer, threshold.json, MLflow's end states."""
        found = list(self.workflows.values())
        pasts = {spec.id: history(self.sweep, self.store, spec) for spec in self.specs.values()}
        code = self._code(pasts, dead)
        place = folder_of(self.sweep, self.store) / "threshold.json"
        said = report(self.sweep, found)
        write_atomically(place, json.dumps(said, indent=1) + "\n")
        numbers = {
            f"threshold/{w.label}": w.answer.estimate
            for w in found
            if w.answer.estimate is not None
        }
        state = "FINISHED" if code == OK else "KILLED" if self.interrupt else "FAILED"
        self.recorder.finish(pasts, state, numbers, [place])
        if self.options.silent:
            print(json.dumps({**said, "exit": code}))
        say(self.console, self.sweep, found)
        places = [
            ("numbers", str(place)),
            ("again", f"ouro threshold {self.options.file or self.sweep.source}"),
        ]
        show_end(self.console, list(self._end(pasts, code, dead)), places)
        return code

    def _code(self, pasts: dict[str, History], dead: str) -> int:
        if not all(w.enough for w in self.workflows.values()):
            if self.interrupt.signal is not None:
                return 128 + self.interrupt.signal
            if dead:
                return ENVIRONMENT
        return exit_code(pasts.values(), self.interrupt.signal, bool(dead)) if pasts else FAILED

    def _end(self, pasts: dict[str, History], code: int, dead: str) -> Iterator[tuple[str, str]]:
        names = Names(self.sweep.lineages)
        for past in pasts.values():
            if past.status == "failed":
                yield "red", f"{names.lineage(past.spec)}: {past.reason}"
        if dead or self.interrupt:
            yield "yellow", f"{dead or 'interrupted'}; the state is saved; the same command goes on"
        new, seconds = len(self.specs) - self.there, duration(time.monotonic() - self.begun)
        yield (
            ("green" if code == OK else "yellow"),
            f"{len(self.specs)} lineages, {new} of them new, after {seconds}",
        )


def _keys(node: Any) -> tuple[tuple[str, str], tuple[str, str]]:
    return ("model", node.model), ("draw", node.draw)


# ---- saying it -----------------------------------------------------------------------------------


def report(sweep: Sweep, found: list[Workflow]) -> dict[str, Any]:
    """What threshold.json holds."""
    assert sweep.collapse is not None and sweep.threshold is not None
    head = {
        "name": sweep.name,
        "question": sweep.question,
        "generations": sweep.generations,
        "collapse": sweep.collapse.to_dict(),
        "threshold": sweep.threshold.to_dict(),
    }
    return {**head, "workflows": [own.to_dict() for own in found]}


def say(console: Console, sweep: Sweep, found: list[Workflow]) -> None:
    """The answers as sentences."""
    assert sweep.collapse is not None
    console.print()
    console.print(
        Text(
            f"collapse: {sweep.collapse.words()}, generation {sweep.generations}",
            style="dim",
        )
    )
    for own in found:
        console.print(sentence(own))


class Shown:
    """What is known while it is found out: a table that stays in place, or lines in a pipe, or
    nothing.
    """

    def __init__(self, console: Console, found: list[Workflow], silent: bool) -> None:
        self.console, self.found, self.silent = console, found, silent
        self.said: dict[str, float] = {}
        self.notes: list[str] = []
        self.live: Live | None = None

    def __enter__(self) -> Shown:
        if not self.silent and self.console.is_terminal and self.console.width >= NARROW:
            self.live = Live(
                console=self.console,
                get_renderable=self._table,
                refresh_per_second=2,
                transient=True,
            )
            self.live.start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self.live is not None:
            self.live.stop()

    def changed(self, own: Workflow) -> None:
        """A lineage of this workflow has ended."""
        now = time.monotonic()
        if (
            self.live is None
            and not self.silent
            and now - self.said.get(own.label, 0.0) > QUIET_SECONDS
        ):
            self.said[own.label] = now
            self.console.print(sentence(own))

    def note(self, text: str) -> None:
        self.notes.append(text)
        if self.live is None and not self.silent:
            self.console.print(text)

    def tick(self) -> None:
        """Called several times a second; the live table draws itself."""

    def _table(self) -> Table:
        with contextlib.suppress(
            RuntimeError
        ):  # drawn in a thread of its own while a dictionary grows
            return self._rows()
        return Table()

    def _rows(self) -> Table:
        shown = table(
            ("workflow", "left"),
            ("lineages", "right"),
            ("running", "right"),
            ("known so far", "left"),
        )
        for own in self.found:
            shown.add_row(own.label, str(len(own.known)), str(len(own.running)), own.answer.words)
        for text in self.notes[-3:]:
            shown.add_row(Text(text, style="yellow"))
        return shown
