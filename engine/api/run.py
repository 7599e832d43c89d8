"""Running an experiment, and opening what an output has of one.

result = engine.run(sweep, out="runs/mine", local=True)    # or address="ray://..." or cpus=8
result = engine.open("runs/mine")
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine._memory import borrowed
from engine.api import show
from engine.api.arguments import named
from engine.api.experiment import Sweep, load, open_store
from engine.api.outputs import recorded
from engine.api.result import Result
from engine.experiment.given import Overrides
from engine.experiment.kept import kept, place
from engine.experiment.sources import load as read_source
from engine.lineage.recorded import changes
from engine.running.session import Options
from engine.running.signals import AGAIN
from engine.status import EnvironmentProblem
from engine.store.outputs import NoOutput, existing, reached
from engine.store.store import Store

if TYPE_CHECKING:
    from rich.console import Console


@named
def run(
    sweep: Sweep | str | Path,
    out: str | Path | None = None,
    *,
    local: bool = False,
    address: str | None = None,
    cpus: int | None = None,
    only: Sequence[str] = (),
    allow_commands: bool = False,
    progress: bool | None = None,
) -> Result:
    """Run what an output lacks of an experiment, and return what it has then.

    sweep: an experiment or its file; out: the output, None: its own.  local: in this process, one
    lineage after the other; address: of a Ray cluster; neither: Ray on this machine, with `cpus`
    CPUs (None: all this process may use).  only: ids of lineages, or their beginnings.
    allow_commands: run the programs that the experiment has command lines of.  progress: whether
    to say on stderr (in a notebook: stdout) how it goes; None: in a terminal and a notebook.

    A lineage that fails is a row of the result.  Ctrl-C ends it with KeyboardInterrupt, after the
    generations in flight or a few seconds, and the same call goes on.  Raises SpecError, Busy
    (another process writes this output), EnvironmentProblem, and PermissionError for command lines
    that are not allowed.
    """
    wanted = at_once(sweep, out)
    options = Options(tuple(only), local, address, cpus, allow_commands=allow_commands)
    return Result(wanted, work(wanted, options, progress))


def work(
    sweep: Sweep, options: Options, progress: bool | None, search: bool = False
) -> tuple[str, ...]:
    """Run or search, and return what behind the output's rows had changed; raises what `run`
    does.
    """
    from engine.api.work import Work

    open_store(sweep.spec)
    changed: list[str] = []

    def say(store: Store) -> None:
        changed.extend(changes(sweep.spec, store))
        for line in changed:
            terminal.print(line, style="yellow", markup=False, soft_wrap=True)

    with borrowed() if options.local else nullcontext():
        # the output keeps the experiment: it is what later commands are given
        options = replace(options, file=sweep.out, silent=not _is_wanted(progress))
        terminal = _terminal(_is_wanted(progress))
        job = Work(sweep.spec, terminal, options, exits=False, said=say)
        ending = job.search() if search else job.run()
    if ending.signal is not None:
        raise KeyboardInterrupt(AGAIN)
    if ending.dead:
        raise EnvironmentProblem(ending.dead)
    return tuple(changed)


def at_once(sweep: Sweep | str | Path, out: str | Path | None, overrides: Overrides = ()) -> Sweep:
    """The experiment as it is now: what its parts name on disk may have changed since it was
    read.
    """
    given = sweep if isinstance(sweep, Sweep) else load(sweep)
    return given.afresh(overrides).at(out)


def _is_wanted(progress: bool | None) -> bool:
    return (sys.stderr.isatty() or _in_notebook()) if progress is None else progress


def _in_notebook() -> bool:
    """Whether this is a kernel of a notebook."""
    shell = sys.modules.get("IPython")
    own = shell.get_ipython() if shell is not None else None
    return own is not None and hasattr(own, "kernel")


def _terminal(speaks: bool) -> Console:
    """stderr, or nowhere; in a notebook stdout (what is on stderr looks like an error there), and
    no terminal: what it calls one cannot redraw a table, so it gets lines.
    """
    from engine.console.text import Plain

    if not speaks:
        return Plain(file=io.StringIO(), quiet=True)
    if _in_notebook():
        width = show.COLUMNS
        return Plain(file=sys.stdout, width=width, force_terminal=False, force_jupyter=False)
    return Plain(stderr=True, force_jupyter=False)


@named
def open(folder: str | Path, *, experiment: str | None = None) -> Result:
    """Return what an output has, by its folder or URL; nothing runs and nothing is written.

    experiment: which of those that it keeps, where it keeps several.  An output of an earlier
    version keeps none: then all its lineages are shown, as far as they went, without a collapse
    rule.  FileNotFoundError where there is no output; LookupError for an experiment that it does
    not keep, or where one must be chosen; EnvironmentProblem where nobody lets us look.
    """
    try:
        store = existing(reached(str(folder)))
    except NoOutput as error:
        raise FileNotFoundError(str(error)) from None
    store.refresh()
    there = kept(store)
    if experiment is None and not there:
        return Result(Sweep(recorded(store)))
    chosen = there[0] if experiment is None and len(there) == 1 else experiment
    if chosen not in there:
        said = "keeps several experiments" if chosen is None else f"keeps no {chosen!r}"
        raise LookupError(f"{folder} {said}; there are: {', '.join(there) or 'none'}")
    return Result(Sweep(read_source(place(str(folder), chosen), out=str(folder))))
