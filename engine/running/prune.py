"""Pruning: weights and samples that the keep rule does not keep go once no lineage needs them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from engine.lineage.recipe import Node, path
from engine.planning.plan import Paths
from engine.settings import is_kept
from engine.spec import LineageSpec, Sweep
from engine.store.store import Kind, Store

Key = tuple[Kind, str]


class Pruner:
    """Prunes behind the lineages that end.

    known: the generations of lineages whose kept files stay, whether they run or not.
    """

    def __init__(self, sweep: Sweep, store: Store, known: Paths | None = None) -> None:
        self.sweep, self.store, self.known = sweep, store, dict(known or {})
        self.kept: set[Key] = set()
        self.users = Counter[Key]()  # how many unfinished lineages need it
        if sweep.keep != "all":
            for nodes in self.known.values():
                self.kept |= self._kept(nodes)

    def begin(self, spec: LineageSpec) -> None:
        """Note that a lineage is unfinished: what it needs stays until it ends."""
        if self.sweep.keep == "all":
            return
        if spec.id not in self.known:
            self.known[spec.id] = path(spec, self.sweep.generations)
            self.kept |= self._kept(self.known[spec.id])
        self.users.update(_keys(self.known[spec.id]))

    def ended(self, lineage: str) -> None:
        """Prune what nobody needs of a lineage that has its last generation."""
        if self.sweep.keep == "all":
            return
        mine = _keys(self.known[lineage])
        self.users.subtract(mine)
        self.store.refresh()  # others committed it
        self.store.prune(self.kept, {key for key in mine if self.users[key] <= 0})

    def _kept(self, nodes: Sequence[Node]) -> set[Key]:
        stays = [node for node in nodes if is_kept(node.t, self.sweep.keep)]
        return _keys([*stays, nodes[-1]])


def _keys(nodes: Iterable[Node]) -> set[Key]:
    found: set[Key] = set()
    for node in nodes:
        found |= {("model", node.model), ("draw", node.draw)}
    return found
