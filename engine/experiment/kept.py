"""The experiments that an output was made from: it keeps each as it was run last, so that the
output alone says what is in it and can be continued, wherever it lies.

    <out>/experiments/<name>.yaml

Such a file is as little trusted as any experiment file, and what it says of `out` does not count:
its output is the folder in which it lies.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable

from engine._foreign import escaped, without_passwords
from engine.experiment.writer import to_yaml
from engine.experiment.yaml import MOST_BYTES
from engine.spec import Sweep
from engine.store.outputs import identify
from engine.store.store import Store

FOLDER = "experiments"
HEAD = "# As it was run last.  `ouro run` on the folder above continues it.\n"
FROM = "# Its file, seen from there: "


class NameTaken(Exception):
    """Another experiment file of the same name has the output that goes by this name."""


def keep(sweep: Sweep, store: Store, lineages: Iterable[str]) -> None:
    """Write the experiment of a sweep into its output, before anything runs, by who holds it.

    lineages: the ids of those that are known to be its own.  NameTaken, and nothing is written,
    where its output was chosen by its name alone, and another file has that.
    """
    path = store.path(FOLDER, f"{sweep.name.replace('/', '-')}.yaml")
    text = b""
    with store.whole():
        text = store.read(path, MOST_BYTES) or b""
    there = text.decode(errors="replace")
    other = _file_of(there, store)
    if other and sweep.file and other != sweep.file and os.path.exists(other):
        _refuse_other(sweep, store, there, other)
    identify(store, lineages)
    if not sweep.document:  # not made of a file or of values
        return
    own = sweep.file or other
    head = f"{FROM}{os.path.relpath(own, store.root)}\n" if own and store.local else ""
    now = HEAD + escaped(head) + _values(sweep)
    if there != now:
        store.write(path, now.encode())


def _values(sweep: Sweep) -> str:
    """What the experiment says, but for its place."""
    values = {key: value for key, value in sweep.document.items() if key != "out"}
    if sweep.tracking:
        values["tracking"] = without_passwords(sweep.tracking)
    return to_yaml(values)


def _file_of(text: str, store: Store) -> str:
    """The file that a kept experiment was made from, as far as that was said; or ''."""
    line = text.removeprefix(HEAD).partition("\n")[0]
    seen = line.removeprefix(FROM)
    if seen == line or not store.local:
        return ""
    return os.path.normpath(os.path.join(store.root, seen))


def _refuse_other(sweep: Sweep, store: Store, there: str, other: str) -> None:
    """Two files of one name, of which neither says where to write, would overwrite each other's
    summary and be one sweep to a tracker.
    """
    by_name = sweep.out == os.path.join("runs", sweep.name) and not sweep.document.get("out")
    if by_name and not there.endswith("\n" + _values(sweep)):
        raise NameTaken(
            f"{sweep.out} was made from another file of this name, {other}; give this one its own "
            f"output with --out, or {sweep.source} another name"
        )


def kept(store: Store) -> list[str]:
    """Return the names of the experiments that an output keeps, sorted."""
    return [name.removesuffix(".yaml") for name in store.names(FOLDER) if name.endswith(".yaml")]


def place(output: str, name: str) -> str:
    """Where an output keeps an experiment: a path or URL."""
    return posixpath.join(output, FOLDER, f"{name}.yaml")
