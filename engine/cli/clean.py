"""`ouro clean OUTPUT`: what no experiment of an output needs any more, listed, and removed after a
yes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.options import (
    Debug,
    File,
    Json,
    Out,
    Set,
    load,
    open_output,
    print_json,
    store_at,
    words,
)
from engine.console.errors import errors
from engine.console.text import console, line

if TYPE_CHECKING:
    from rich.console import Console

    from engine.lineage.leftovers import Leftover, Needed
    from engine.spec import Sweep
    from engine.store.store import Store

WHO = "ouro clean"

Yes = Annotated[bool, typer.Option("--yes", help="remove without asking")]


@dataclass(frozen=True)
class _Found:
    """experiments: which an output keeps; earlier: its lineages that no kept experiment names, as
    versions that kept none left them.
    """

    experiments: list[str]
    earlier: int
    leftovers: list[Leftover]

    @property
    def bytes(self) -> int:
        return sum(leftover.bytes for leftover in self.leftovers)


def clean(
    file: File,
    sets: Set = None,
    out: Out = None,
    yes: Yes = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List what no experiment of an output needs any more, with sizes; remove it after a yes."""
    with errors(debug):
        store = _output(file, sets, out)
        found, terminal = _look(store), console(as_json)
        _show(terminal, store, found)
        agreed = bool(found.leftovers) and (yes or (not as_json and _agrees()))
        freed = _remove(store, found.leftovers) if agreed else 0
        if as_json:
            print_json(_to_json(found, freed))
        elif agreed:
            terminal.print(f"removed; {_size(freed)} are free")
        elif found.leftovers:
            again = words(file, sets, out)
            terminal.print(line(f"nothing was removed: `ouro clean {again} --yes` does"))


def _output(file: str, sets: Sequence[str] | None, out: str | None) -> Store:
    """The output itself, or that of an experiment."""
    from engine.store.outputs import is_output

    if out is None and ("://" in file or Path(file).is_dir()) and is_output(store_at(file)):
        return store_at(file)
    return open_output(load(file, sets, out), words(file, sets, out))


def _agrees() -> bool:
    """Whether somebody at a terminal says yes."""
    return sys.stdin.isatty() and typer.confirm("remove them?")


def _look(store: Store) -> _Found:
    """What is to be had while nobody else works there.  Raises Busy."""
    from engine.experiment.kept import kept
    from engine.lineage.leftovers import leftovers

    with store.hold(WHO):
        store.refresh()
        earlier = _earlier(store)
        return _Found(kept(store), len(earlier), leftovers(store, _needed(store, earlier)))


def _remove(store: Store, agreed: Sequence[Leftover]) -> int:
    """Remove of what was agreed to all that is a leftover still.  Raises Busy."""
    from engine.lineage.leftovers import leftovers, remove

    with store.hold(WHO):
        now = set(leftovers(store, _needed(store, _earlier(store))))
        return remove(store, [leftover for leftover in agreed if leftover in now])


def _needed(store: Store, earlier: Iterable[str]) -> Needed:
    """What the kept experiments reach, and what lineages of earlier versions name.

    SpecError when a kept experiment cannot be read, Damaged when such a lineage cannot.
    """
    from engine.experiment.kept import kept, place
    from engine.lineage.leftovers import Needed
    from engine.lineage.recipe import path
    from engine.store.seal import Damaged
    from engine.store.store import Kind

    keys: set[tuple[Kind, str]] = set()
    lineages = set(earlier)
    for name in kept(store):
        sweep = _searched(load(place(store.url, name), None, None), store)
        for spec in sweep.all_lineages:
            lineages.add(spec.id)
            for node in path(spec, sweep.generations):
                keys |= {("model", node.model), ("draw", node.draw)}
    for lineage in earlier:
        row = store.lineage(lineage)
        if row is None:
            raise Damaged(f"lineages/{lineage}.json", "what it needs is not known; run it again")
        for where in row.generations:
            keys.add(("model", where.model))
            if where.draw is not None:
                keys.add(("draw", where.draw))
    return Needed(frozenset(keys), frozenset(lineages))


def _searched(sweep: Sweep, store: Store) -> Sweep:
    """The sweep with the lineages that a search of it has added."""
    if sweep.threshold is None:
        return sweep
    from analysis.threshold.workflows import grown

    found = {s.id: s for s in (*sweep.lineages, *grown(sweep, store).lineages)}
    return sweep.with_lineages(found.values())


def _earlier(store: Store) -> set[str]:
    """The lineages of versions that kept no experiment."""
    from engine.store.outputs import identity

    there = {name.removesuffix(".json") for name in store.names("lineages")}
    known = identity(store)
    return there if known is None else there & set(known.earlier)


# ---- what is said --------------------------------------------------------------------------------


def _size(n_bytes: int) -> str:
    from engine.console.tables import size

    return size(n_bytes)


def _show(terminal: Console, store: Store, found: _Found) -> None:
    from engine.lineage.leftovers import Why

    kept = ", ".join(found.experiments) or "no experiment"
    more = f", and {found.earlier} lineages of earlier versions" if found.earlier else ""
    terminal.print(line(f"{store.url} keeps {kept}{more}"))
    for why in Why:
        mine = [leftover for leftover in found.leftovers if leftover.why is why]
        if mine:
            total = _size(sum(leftover.bytes for leftover in mine))
            terminal.print(line(f"  {total:>8}  {len(mine)} files {why}"))
            examples = ", ".join(leftover.path for leftover in mine[:2])
            terminal.print(line(f"            {examples}{', ...' if mine[2:] else ''}", "dim"))
    if not found.leftovers:
        terminal.print("nothing to remove: all of it is needed")
    else:
        terminal.print(f"{_size(found.bytes)} that nothing needs any more")


def _to_json(found: _Found, freed: int) -> dict[str, object]:
    each = [{"path": x.path, "bytes": x.bytes, "why": x.why.name.lower()} for x in found.leftovers]
    head = {"experiments": found.experiments, "bytes": found.bytes, "freed": freed}
    return {**head, "leftovers": each}
