"""The experiments that an output was made from: it keeps each as it was run last, so that the
output alone says what is in it and can be continued, wherever it lies.

    <out>/experiments/<name>.yaml

Such a file is as little trusted as any experiment file, and what it says of `out` does not count:
its output is the folder in which it lies.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

from engine.experiment.writer import to_yaml
from engine.spec import Sweep
from engine.store.outputs import identify
from engine.store.store import Store

FOLDER = "experiments"
HEAD = "# As it was run last.  `ouro run` on the folder above continues it.\n"


def keep(sweep: Sweep, store: Store, lineages: Iterable[str]) -> None:
    """Write the experiment of a sweep into its output, before anything runs, by who holds it.

    lineages: the ids of those that are known to be its own.
    """
    identify(store, lineages)
    if not sweep.document:  # not made of a file or of values
        return
    values = {key: value for key, value in sweep.document.items() if key != "out"}
    text = (HEAD + to_yaml(values)).encode()
    path = store.path(FOLDER, f"{sweep.name.replace('/', '-')}.yaml")
    if store.read(path) != text:
        store.write(path, text)


def kept(store: Store) -> list[str]:
    """Return the names of the experiments that an output keeps, sorted."""
    return [name.removesuffix(".yaml") for name in store.names(FOLDER) if name.endswith(".yaml")]


def place(output: str, name: str) -> str:
    """Where an output keeps an experiment: a path or URL."""
    return posixpath.join(output, FOLDER, f"{name}.yaml")
