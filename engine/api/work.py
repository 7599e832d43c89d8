"""Runs and searches, for the commands and for `engine.run` and `engine.threshold`: one way to hold
an output, refuse what cannot work, and go from what the store has to the end.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.console.boards import SearchBoard, SweepBoard
from engine.console.live import Board, display
from engine.console.tables import show_pairs, show_plan
from engine.lineage.recorded import unknown_files
from engine.planning import plan as planning
from engine.planning.preflight import lacking, look
from engine.running.doctor import cpus_here, preflight
from engine.running.logs import descriptor
from engine.running.prune import Pruner
from engine.running.session import Ending, Options, Session, hold, permit, refuse
from engine.running.signals import Interrupt
from engine.running.supply import Listed, Supply
from engine.spec import Sweep
from engine.store.store import Store
from engine.tracking.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from analysis.threshold.workflows import Workflow


@dataclass(frozen=True)
class Work:
    """One sweep at work, and where it is shown.

    exits  whether the process is ours to end, see engine/running/signals.py.
    said   hears of the output before anything runs, to say what else there is to say of it.
    """

    sweep: Sweep
    terminal: Console
    options: Options
    exits: bool = True
    said: Callable[[Store], object] = lambda store: None

    def run(self) -> Ending:
        """Run what the store lacks.  Raises Busy, EnvironmentProblem, NotAllowed."""
        sweep, options = self.sweep, self.options
        store = Store(sweep.out, repairs=False)
        with self._held(store, "run") as interrupt:
            known = planning.paths(sweep)
            plan = planning.make_plan(sweep, store, options.cpus or cpus_here(), known)
            if not options.address:  # other machines of a cluster may have what this one lacks
                refuse(lacking(sweep, store, options.only))
            refuse(unknown_files(sweep))
            if not options.quiet:
                show_plan(self.terminal, plan, sweep)
            self.said(store)
            refuse(preflight(store, plan.bytes or 0))
            supply = Listed(sweep, store, known, options.only, leaders=not options.local)
            pruner = Pruner(sweep, store, known)
            return self._session(store, interrupt, supply, SweepBoard(sweep, plan), pruner)

    def search(self) -> Ending:
        """Run lineages until every workflow is known well enough.

        Raises Busy and EnvironmentProblem.
        """
        from analysis.threshold.search import Search

        sweep = self.sweep
        store = Store(sweep.out, repairs=False)
        with self._held(store, "threshold") as interrupt:
            refuse(unknown_files(sweep))
            self.said(store)
            supply = Search(sweep, store)
            if not supply.finished and not self.options.address:
                refuse(look(sweep).refusal)
            if not supply.finished and not self.options.quiet:
                show_pairs(self.terminal, sweep.name, supply.outlook())
            board, pruner = search_board(sweep, supply.workflows), Pruner(sweep, store)
            board.progress = supply.progress
            return self._session(store, interrupt, supply, board, pruner)

    def _held(self, store: Store, command: str) -> AbstractContextManager[Interrupt]:
        permit(self.sweep, self.options)
        terminal = descriptor(self.terminal.file) if self.exits else 2
        return hold(self.sweep, store, command, terminal, self.exits)

    def _session(
        self, store: Store, interrupt: Interrupt, supply: Supply, board: Board, pruner: Pruner
    ) -> Ending:
        """Go from what the store has to the end."""
        shown = display(self.terminal, board, self.options.silent, self.options.quiet)
        session = Session(
            self.sweep,
            store,
            self.options,
            interrupt,
            supply=supply,
            display=shown,
            recorder=Recorder(self.sweep, store),
            pruner=pruner,
        )
        return session.run()


def search_board(sweep: Sweep, workflows: Mapping[str, Workflow]) -> SearchBoard:
    """What a search shows while it runs."""
    from analysis.threshold.search import Line

    assert sweep.collapse is not None  # a threshold section needs one
    lines = [Line(workflow) for workflow in workflows.values()]
    rule = f"collapse: {sweep.rule_words()}, generation {sweep.generations}"
    return SearchBoard(lines, rule)
